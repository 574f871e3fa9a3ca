//! The target that means no harm: a server of Node.js, and a client that counts what it asks of it.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, ensure};
use tempfile::TempDir;

use crate::{
    cgroup::Cgroup,
    http,
    nodejs::program,
    process::{Background, PATIENCE},
};

/// Time between two requests.
const PAUSE: Duration = Duration::from_millis(10);

/// The server and its client.
pub struct Good {
    /// Its cgroup.
    pub cgroup: Cgroup,
    server: Background,
    address: SocketAddr,
    asked: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    client: Option<JoinHandle<Result<()>>>,
}

/// A second server.
pub struct Another {
    /// When it was started.
    pub begun: Instant,
    _server: Background,
    _folder: TempDir,
}

/// Any Node.js with its symbols: that of the distribution has them too.
pub fn node() -> Result<PathBuf> {
    crate::nodejs::executable(20).or_else(|_| Ok(PathBuf::from("/usr/bin/node")))
}

impl Good {
    /// Starts the server; nobody asks it anything yet.
    pub fn start() -> Result<Self> {
        let cgroup = Cgroup::create("good")?;
        let (server, address) = serve(&cgroup, &[node()?], &program("server.js"))?;
        let (asked, stop) = (Arc::default(), Arc::default());
        Ok(Self { cgroup, server, address, asked, stop, client: None })
    }

    /// Begins to ask, a connection for each request.
    pub fn ask(&mut self) {
        let (asked, stop, address) = (Arc::clone(&self.asked), Arc::clone(&self.stop), self.address);
        self.client = Some(thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                let answer = http::get(address, "/api/chat")?;
                ensure!(answer.status == 200, "the good server answered {answer:?}");
                asked.fetch_add(1, Ordering::Relaxed);
                thread::sleep(PAUSE);
            }
            Ok(())
        }));
    }

    /// Stops asking; how often it was asked and answered.
    pub fn stop_asking(&mut self) -> Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        let client = self.client.take().context("nobody asked")?;
        client.join().map_err(|_| anyhow!("the good client panicked"))??;
        Ok(self.asked.load(Ordering::Relaxed))
    }

    /// Another server beside the first, by an executable of Node.js that nobody has seen yet. Its role is `node second`.
    pub fn another(&self) -> Result<Another> {
        self.another_as(|node| vec![node])
    }

    /// Another server by this executable of Node.js.
    pub fn another_by(&self, node: PathBuf) -> Result<Another> {
        self.another_as(|_| vec![node])
    }

    /// The same, as an argument of the dynamic linker.
    pub fn another_by_linker(&self) -> Result<Another> {
        self.another_as(|node| vec![PathBuf::from("/lib64/ld-linux-x86-64.so.2"), node])
    }

    fn another_as(&self, command: impl FnOnce(PathBuf) -> Vec<PathBuf>) -> Result<Another> {
        let folder = TempDir::new().context("cannot make a folder")?;
        let (copy, script) = (folder.path().join("node"), folder.path().join("second.js"));
        fs::copy(node()?, &copy).context("cannot copy Node.js")?;
        fs::copy(program("server.js"), &script).context("cannot copy a script")?;
        let begun = Instant::now();
        let (server, _) = serve(&self.cgroup, &command(copy), &script)?;
        Ok(Another { begun, _server: server, _folder: folder })
    }

    /// Process id of the server.
    pub fn pid(&self) -> u32 {
        self.server.pid()
    }

    /// The label of its series.
    pub fn container(&self) -> String {
        self.cgroup.path().file_name().unwrap_or_default().to_string_lossy().into_owned()
    }
}

fn serve(cgroup: &Cgroup, command: &[PathBuf], script: &Path) -> Result<(Background, SocketAddr)> {
    let (first, rest) = command.split_first().context("no command")?;
    let mut server = Background::start(cgroup.command(first).args(rest).arg(script))?;
    let port = |line: &str| line.strip_prefix("listening ")?.parse().ok();
    let port: u16 = server.wait_for("port", PATIENCE, port)?;
    Ok((server, (Ipv4Addr::LOCALHOST, port).into()))
}
