//! A Docker socket that is absent, refuses, answers garbage, comes and dies, while other selectors go on.
//! Docker is played by the test, for what a real one never does; `targets_docker` has the real one.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::Shutdown,
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use serde_json::json;
use tempfile::TempDir;
use tests::{
    agent::Agent,
    cgroup::Cgroup,
    process::{PATIENCE, wait_until},
    puppet::{self, Puppet},
};

/// The program of [`Puppet`].
const PUPPET: &str = env!("CARGO_BIN_EXE_puppet");

/// Something behind Docker's socket; dropping it ends it as a crash would, with all its connections.
struct Behind {
    socket: PathBuf,
    connections: Arc<Mutex<Option<Vec<UnixStream>>>>,
    accepting: Option<JoinHandle<()>>,
}

impl Behind {
    /// Answers every request on `socket` by `answer`, which gets the request's path.
    fn start(
        socket: &Path,
        answer: impl Fn(&str) -> Vec<u8> + Clone + Send + Sync + 'static,
    ) -> Result<Self> {
        match fs::remove_file(socket) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        let listener = UnixListener::bind(socket)?;
        let connections = Arc::new(Mutex::new(Some(Vec::new())));
        let open = Arc::clone(&connections);
        let accepting = thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let Ok(kept) = stream.try_clone() else { return };
                match open.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
                    Some(open) => open.push(kept),
                    None => return,
                }
                let answer = answer.clone();
                thread::spawn(move || serve(stream, &answer));
            }
        });
        Ok(Self { socket: socket.to_owned(), connections, accepting: Some(accepting) })
    }
}

impl Drop for Behind {
    fn drop(&mut self) {
        let open = self.connections.lock().unwrap_or_else(PoisonError::into_inner).take();
        for stream in open.into_iter().flatten() {
            // Fails where the other side was quicker.
            let _ = stream.shutdown(Shutdown::Both);
        }
        // Wakes the thread that accepts, which then finds that it is over.
        drop(UnixStream::connect(&self.socket));
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
        let _ = fs::remove_file(&self.socket);
    }
}

/// Answers the requests of one connection until either side closes it.
fn serve(mut stream: UnixStream, answer: &impl Fn(&str) -> Vec<u8>) {
    let Ok(requests) = stream.try_clone() else { return };
    let mut path = String::new();
    for line in BufReader::new(requests).lines().map_while(Result::ok) {
        if let Some(rest) = line.strip_prefix("GET ") {
            rest.split([' ', '?']).next().unwrap_or_default().clone_into(&mut path);
        } else if line.is_empty() && stream.write_all(&answer(&path)).is_err() {
            return;
        }
    }
}

/// Answers as Docker with one running container (Docker Engine API 1.41).
fn as_docker(id: &str) -> impl Fn(&str) -> Vec<u8> + Clone + Send + Sync + 'static {
    let version = json!({ "Version": "20.10.24", "ApiVersion": "1.41", "MinAPIVersion": "1.12" });
    let containers = json!([{
        "Id": id,
        "Names": ["/trouble-1"],
        "Image": "acme/chat:2.4.1",
        "ImageID": format!("sha256:{id}"),
        "Labels": {},
        "State": "running",
    }]);
    move |path| {
        let body = match path.rsplit('/').next() {
            Some("version") => version.to_string(),
            Some("json") => containers.to_string(),
            // A stream that tells of nothing, and does not end.
            _ => return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec(),
        };
        format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .into_bytes()
    }
}

/// The targets that need no Docker, and how often each was called.
struct Others {
    agent: Agent,
    puppets: Vec<(String, std::net::SocketAddr)>,
    calls: u32,
}

impl Others {
    /// Calls each once more, and each must be counted.
    fn go_on(&mut self) -> Result<()> {
        self.calls += 1;
        for (_, address) in &self.puppets {
            puppet::call(*address, 100)?;
        }
        let name = "chat_tcp_connections_closed_total";
        let calls = f64::from(self.calls);
        for (container, _) in &self.puppets {
            let labels = [("container", container.as_str()), ("direction", "inbound")];
            let counted = |metrics: &tests::metrics::Metrics| metrics.sum(name, &labels) >= calls;
            let metrics = self.agent.scrape_until(PATIENCE, counted)?;
            let closed = metrics.sum(name, &labels);
            ensure!((closed - calls).abs() < f64::EPSILON, "{container}: {closed} of {calls} calls counted");
        }
        Ok(())
    }

    fn lines(&mut self, part: &str) -> Vec<String> {
        let output = self.agent.process().output();
        output.lines().filter(|line| line.contains(part)).map(str::to_owned).collect()
    }

    fn wait_for_line(&mut self, part: &str) -> Result<()> {
        wait_until(part, PATIENCE, || Ok(!self.lines(part).is_empty()))
    }
}

const WARNING: &str = "Docker cannot be reached";
const STILL: &str = "Docker still cannot be reached";

#[test]
fn docker_may_be_absent_refuse_talk_nonsense_come_and_die() -> Result<()> {
    let folder = TempDir::new()?;
    let socket = folder.path().join("docker.sock");
    let groups = [Cgroup::create("docker-a")?, Cgroup::create("docker-b")?, Cgroup::create("docker-c")?];
    let mut puppets =
        groups.iter().map(|group| Puppet::start(PUPPET, group)).collect::<Result<Vec<Puppet>>>()?;
    let addresses = puppets.iter_mut().map(Puppet::listen).collect::<Result<Vec<_>>>()?;
    let id = format!("{:064x}", std::process::id());
    let container = Cgroup::named(id.clone())?;
    let mut in_container = Puppet::start(PUPPET, &container)?;

    let begun = Instant::now();
    let agent = Agent::start([
        "--docker-socket".to_owned(),
        socket.display().to_string(),
        "--log-level".to_owned(),
        "info,observer::targets=debug".to_owned(),
        "--target".to_owned(),
        groups[0].selector(),
        "--target".to_owned(),
        format!("port:{}", addresses[1].port()),
        "--target".to_owned(),
        format!("pid:{}", puppets[2].pid()),
        "--target".to_owned(),
        "container:trouble-*".to_owned(),
    ])?;
    let name = |group: &Cgroup| group.path().file_name().map(|name| name.to_string_lossy().into_owned());
    let names = groups.iter().filter_map(name);
    let mut others = Others { agent, puppets: names.zip(addresses).collect(), calls: 0 };
    ensure!(others.puppets.len() == 3, "three selectors without Docker");

    // Absent.
    others.go_on()?;
    others.wait_for_line(WARNING)?;
    ensure!(others.lines(WARNING)[0].contains("WARN"), "{:?}", others.lines(WARNING));
    ensure!(others.agent.scrape()?.get("observer_targets", &[("state", "waiting")]) == Some(1.0));

    // Refused: a socket whose owner is gone.
    drop(UnixListener::bind(&socket)?);
    others.wait_for_line("Connection refused")?;
    others.go_on()?;

    // Garbage.
    let garbage = Behind::start(&socket, |_| b"\x00\xff\xfe garbage \r\n\r\n".to_vec())?;
    let before = others.lines(STILL).len();
    wait_until("garbage was read", PATIENCE, || Ok(others.lines(STILL).len() > before))?;
    others.go_on()?;
    ensure!(others.lines(WARNING).len() == 1, "one change, one warning: {:?}", others.lines(WARNING));
    drop(garbage);

    // There at last, after pauses of 1, 2, 4, … seconds.
    let docker = Behind::start(&socket, as_docker(&id))?;
    others.wait_for_line("following Docker")?;
    let failures = others.lines(STILL).len() + 1;
    let pauses = Duration::from_secs((1 << failures) - 1);
    ensure!(begun.elapsed() >= pauses, "{failures} attempts failed within {:?}", begun.elapsed());
    let address = in_container.listen()?;
    let up = |metrics: &tests::metrics::Metrics| metrics.sum("chat_target_up", &[]) >= 4.0;
    let metrics = others.agent.scrape_until(PATIENCE, up)?;
    let info = [("container", "trouble-1"), ("image", "acme/chat:2.4.1"), ("runtime", "docker")];
    ensure!(metrics.get("chat_target_info", &info) == Some(1.0), "the container is not observed");
    others.puppets.push(("trouble-1".to_owned(), address));
    for _ in 0..others.calls {
        puppet::call(address, 100)?;
    }
    others.go_on()?;

    // Dies: the one further warning, and what it had said still holds.
    drop(docker);
    wait_until("the second warning", PATIENCE, || Ok(others.lines(WARNING).len() == 2))?;
    others.go_on()?;
    ensure!(others.lines("ERROR").is_empty(), "{:?}", others.lines("ERROR"));
    ensure!(others.agent.stop()?.success(), "it stops cleanly while it waits for Docker");
    Ok(())
}
