//! What the agent gave up is gone: in each of its threads, most in that which serves, and for whoever makes calls inside.
//! The calls are made by this test's own program, started again and confined as the agent is.

use std::{
    env, fs,
    io::ErrorKind,
    net::{TcpListener, TcpStream, UdpSocket},
    os::unix::net::{UnixListener, UnixStream},
    path::Path,
    process::Command,
    thread,
};

use anyhow::{Context, Result, anyhow, ensure};
use observer::confine;
use tests::{
    agent::Agent,
    cgroup::Cgroup,
    process::{PATIENCE, wait_until},
};

/// Set for the program that is confined: the port of a listener that it may not reach.
const PORT: &str = "CONFINED_PORT";

/// The capabilities that stay, as a mask (include/uapi/linux/capability.h): those of the unit file.
const KEPT: u64 = 1 << 2 | 1 << 12 | 1 << 19 | 1 << 38 | 1 << 39;

/// The thread that talks to the network.
const SERVER: &str = "observer-server";

#[test]
fn each_thread_of_the_agent_has_given_up_what_it_does_not_need() -> Result<()> {
    let first = Cgroup::create("confined")?;
    let pattern = first.selector();
    // Probes in executables need one more, for which see the table in the README.
    let folder = tempfile::TempDir::new()?;
    let file = folder.path().join("observer.toml").display().to_string();
    fs::write(&file, "nodejs.enabled = false\n")?;
    let agent = Agent::start(["--docker-socket", "", "--target", &pattern, "--config", &file])?;
    let tasks = fs::read_dir(format!("/proc/{}/task", agent.pid()))?;
    // What runs the tests may have filters itself.
    let own = fs::read_to_string("/proc/self/status")?;
    let inherited = own.lines().find_map(|line| line.strip_prefix("Seccomp_filters:"));
    let inherited: u32 = inherited.context("no Seccomp_filters")?.trim().parse()?;
    let (mut seen, mut serving) = (0, 0);
    for task in tasks {
        let folder = task?.path();
        let status = fs::read_to_string(folder.join("status"))?;
        let serves = fs::read_to_string(folder.join("comm"))?.trim() == SERVER;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.map(str::trim).with_context(|| format!("no {name} in {status}"))
        };
        let kept = if serves { 0 } else { KEPT };
        for (set, kept) in [("CapEff:", kept), ("CapPrm:", kept), ("CapBnd:", KEPT)] {
            let mask = u64::from_str_radix(field(set)?, 16)?;
            ensure!(mask == kept, "{set} {mask:x} instead of {kept:x}");
        }
        ensure!(u64::from_str_radix(field("CapAmb:")?, 16)? == 0, "{status}");
        ensure!(field("NoNewPrivs:")? == "1" && field("Seccomp:")? == "2", "{status}");
        let filters = field("Seccomp_filters:")?.parse::<u32>()? - inherited;
        ensure!(filters == if serves { 2 } else { 1 }, "{filters} filters of its own: {status}");
        seen += 1;
        serving += u32::from(serves);
    }
    ensure!(seen > 2 && serving == 1, "{seen} threads, {serving} of which serve");
    Ok(())
}

#[test]
fn what_reads_for_the_agent_can_do_nothing_else_and_goes_with_it() -> Result<()> {
    /// `CAP_DAC_READ_SEARCH` and `CAP_SYS_PTRACE`.
    const READING: u64 = 1 << 2 | 1 << 19;

    let agent = Agent::start(["--docker-socket", "", "--target", "cgroup:/of-nobody"])?;
    let pid = agent.pid();
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
    let readers: Vec<&str> = children.split_ascii_whitespace().collect();
    ensure!(readers.len() == 4, "{readers:?}");
    for reader in &readers {
        let status = fs::read_to_string(format!("/proc/{reader}/status"))?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.map(str::trim).with_context(|| format!("no {name} in {status}"))
        };
        for set in ["CapEff:", "CapPrm:"] {
            ensure!(u64::from_str_radix(field(set)?, 16)? == READING, "{set} {}", field(set)?);
        }
        ensure!(field("NoNewPrivs:")? == "1" && field("Seccomp:")? == "2", "{status}");
        // What the agent was started with is not its own; of what it has made, a reader has one socket.
        let descriptors = fs::read_dir(format!("/proc/{reader}/fd"))?.flatten();
        let held: Vec<_> =
            descriptors.filter_map(|descriptor| fs::read_link(descriptor.path()).ok()).collect();
        let is = |kind: &str| held.iter().filter(|held| held.to_string_lossy().starts_with(kind)).count();
        ensure!(is("socket:") == 1 && is("anon_inode:") == 0, "{held:?}");
    }
    let readers: Vec<String> = readers.into_iter().map(str::to_owned).collect();
    agent.stop()?;
    let gone = || Ok(readers.iter().all(|reader| !Path::new(&format!("/proc/{reader}")).exists()));
    wait_until("the readers have ended", PATIENCE, gone)
}

#[test]
fn a_target_that_comes_later_is_still_attached_to() -> Result<()> {
    let parent = Cgroup::create("confined-later")?;
    let agent = Agent::start(["--docker-socket", "", "--target", &format!("{}/later", parent.selector())])?;
    let before = agent.scrape()?.sum("observer_targets", &[("state", "observed")]);
    ensure!(before < 0.5, "{before} targets before there is one");
    let later = parent.path().join("later");
    fs::create_dir(&later)?;
    let observed = agent
        .scrape_until(PATIENCE, |metrics| metrics.sum("observer_targets", &[("state", "observed")]) > 0.5)?;
    ensure!(observed.sum("observer_targets", &[("state", "observed")]) > 0.5, "it was not attached to");
    fs::remove_dir(&later)?;
    Ok(())
}

#[test]
fn forbidden_calls_from_inside_are_refused() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut inside = Command::new(env::current_exe()?);
    inside.args(["--exact", "makes_forbidden_calls", "--ignored", "--nocapture"]);
    let ran = inside.env(PORT, listener.local_addr()?.port().to_string()).output()?;
    let said = String::from_utf8_lossy(&ran.stdout);
    ensure!(ran.status.success(), "{said}{}", String::from_utf8_lossy(&ran.stderr));
    ensure!(said.contains("1 passed"), "it did not run: {said}");
    Ok(())
}

#[test]
#[ignore = "confines its own process; started by the test above"]
fn makes_forbidden_calls() -> Result<()> {
    let port: u16 = env::var(PORT).context("started by another test only")?.parse()?;
    let folder = env::temp_dir();
    let file = folder.join(format!("confined-{}", std::process::id()));
    // What is refused works before, so that it is the confinement that refuses.
    fs::write(&file, "before")?;
    TcpStream::connect(("127.0.0.1", port))?;
    ensure!(Command::new("true").status()?.success(), "`true` fails");
    let socket = folder.join(format!("confined-{}.sock", std::process::id()));
    let _listening = UnixListener::bind(&socket)?;

    confine::give_up_privileges(confine::Plans::default())?;
    confine::refuse_system_calls()?;
    ensure!(fs::read_to_string(&file)? == "before", "reading is not refused");
    let serving = thread::scope(|scope| scope.spawn(|| serves(&file, &socket)).join());
    serving.map_err(|_| anyhow!("the thread panicked"))??;
    ensure!(fs::read_to_string(&file)? == "before", "reading is refused in other threads");
    for (call, error) in [
        ("open for writing", fs::write(&file, "after").err()),
        ("open for appending", fs::OpenOptions::new().append(true).open(&file).err()),
        ("create a folder", fs::create_dir(folder.join("confined")).err()),
        ("connect", TcpStream::connect(("127.0.0.1", port)).err()),
        ("listen", TcpListener::bind("127.0.0.1:0").err()),
        ("a socket of another kind", UdpSocket::bind("127.0.0.1:0").err()),
        ("exec", Command::new("true").status().err()),
    ] {
        let kind = error.with_context(|| format!("{call} is not refused"))?.kind();
        ensure!(kind == ErrorKind::PermissionDenied, "{call}: {kind}");
    }
    ensure!(fs::read_to_string(&file)? == "before", "the file was changed");
    fs::remove_file(&file)?;
    fs::remove_file(&socket)?;
    Ok(())
}

/// What a thread that serves may not do beside that; a thread that it starts has no more rights.
fn serves(file: &Path, socket: &Path) -> Result<()> {
    ensure!(UnixStream::connect(socket).is_ok(), "nobody listens on {}", socket.display());
    let confined = confine::confine_server();
    confined.capabilities?;
    confined.system_calls?;
    // A kernel without Landlock is no error; what follows is refused there all the same.
    confined.domain?;
    let tries = || -> Result<()> {
        for (call, error) in [
            ("open for reading", fs::read(file).err()),
            ("list a folder", fs::read_dir("/").err()),
            ("remove a file", fs::remove_file(file).err()),
            ("connect to a Unix socket", UnixStream::connect(socket).err()),
            ("read another process", fs::read_link("/proc/1/exe").err()),
            ("exec", Command::new("true").status().err()),
        ] {
            let kind =
                error.with_context(|| format!("{call} is not refused where requests are read"))?.kind();
            ensure!(kind == ErrorKind::PermissionDenied, "{call}: {kind}");
        }
        Ok(())
    };
    tries()?;
    let next = thread::scope(|scope| scope.spawn(tries).join());
    next.map_err(|_| anyhow!("the thread panicked"))?
}
