//! The servers of `fixtures/http`: one app in Node.js, Python's uvicorn and nginx, each as its users run it.
//! Each writes down what it answered; that is read when it has ended.

use std::{
    fs,
    net::{IpAddr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use super::{
    ledger::{Logged, without_query},
    python,
};
use crate::{
    cgroup::Cgroup,
    process::{Background, wait_until},
};

/// How long a server may take to start, on a busy machine.
const LISTENING_WITHIN: Duration = Duration::from_secs(30);

/// How long it may take to end and to write what it answered.
const ENDED_WITHIN: Duration = Duration::from_secs(10);

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Node.js' own module `http`, with these options of `node`.
    Node(&'static [&'static str]),
    /// uvicorn with uvloop and httptools.
    Uvicorn,
    /// nginx with fixed answers and a file.
    Nginx,
}

/// A running server; it is killed when this is dropped.
pub struct Server {
    process: Background,
    address: SocketAddr,
    folder: TempDir,
}

impl Server {
    /// Starts one in `cgroup`, on a free port of `host`, which is to be an address of this network namespace.
    pub fn start(kind: Kind, cgroup: &Cgroup, host: IpAddr) -> Result<Self> {
        Self::start_by(kind, host, |program| cgroup.command(program))
    }

    /// Starts one on a free port of `host` by the command that `inside` makes of its program.
    pub fn start_by(kind: Kind, host: IpAddr, inside: impl FnOnce(&'static str) -> Command) -> Result<Self> {
        let folder = TempDir::new().context("cannot make a folder")?;
        let log = folder.path().join("log");
        let mut command;
        match kind {
            Kind::Node(options) => {
                command = inside("node");
                command.args(options).arg(fixture("app.js")).arg(host.to_string()).arg(&log);
            }
            Kind::Uvicorn => {
                command = inside("python3");
                command.arg(fixture("app.py")).arg(host.to_string()).arg(&log);
                command.env("PYTHONPATH", python::packages()?).env("PYTHONDONTWRITEBYTECODE", "1");
            }
            Kind::Nginx => return Self::nginx(folder, host, inside("nginx")),
        }
        let mut process = Background::start(&mut command)?;
        let port = |line: &str| line.strip_prefix("listening on port ")?.parse().ok();
        let port = process.wait_for("port", LISTENING_WITHIN, port)?;
        Ok(Self { process, address: SocketAddr::new(host, port), folder })
    }

    /// nginx cannot choose a port.
    fn nginx(folder: TempDir, host: IpAddr, mut command: Command) -> Result<Self> {
        let free = TcpListener::bind((host, 0)).with_context(|| format!("cannot listen on {host}"))?;
        let address = free.local_addr().context("cannot read the port")?;
        drop(free);
        let path = folder.path().to_str().context("the folder's name is not UTF-8")?;
        let template = fs::read_to_string(fixture("nginx.conf")).context("cannot read nginx.conf")?;
        let configuration = template
            .replace("HOST", &host.to_string())
            .replace("PORT", &address.port().to_string())
            .replace("FOLDER", path);
        let file = folder.path().join("nginx.conf");
        fs::write(&file, configuration).with_context(|| format!("cannot write {}", file.display()))?;
        fs::create_dir(folder.path().join("files")).context("cannot make a folder")?;
        fs::write(folder.path().join("files/bundle.js"), vec![b'y'; 12_345])
            .context("cannot write a file")?;
        let mut process = Background::start(command.arg("-c").arg(&file).args(["-e", "stderr"]))
            .context("`cargo xtask setup --tests` installs nginx")?;
        wait_until("nginx listens", LISTENING_WITHIN, || {
            if let Some(status) = process.exited()? {
                anyhow::bail!("nginx ended ({status}); it wrote:\n{}", process.output());
            }
            Ok(std::net::TcpStream::connect(address).is_ok())
        })?;
        Ok(Self { process, address, folder })
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Ends it; what it answered, by its own log.
    pub fn answered(mut self) -> Result<Logged> {
        self.process.signal(rustix::process::Signal::TERM)?;
        self.process.wait(ENDED_WITHIN)?;
        let file = self.folder.path().join("log");
        let text = fs::read_to_string(&file).with_context(|| {
            format!("cannot read {}; it wrote:\n{}", file.display(), self.process.output())
        })?;
        let mut answered = Logged::new();
        for line in text.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            ensure!(words.len() == 3, "not a line of a log: {line}");
            let status = words[2].parse().with_context(|| format!("not a status: {line}"))?;
            *answered
                .entry((words[0].to_owned(), without_query(words[1]).to_owned(), status))
                .or_default() += 1;
        }
        Ok(answered)
    }
}

/// A file of `fixtures/http`.
fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/http").join(name)
}
