//! `observer targets` by a user who may not look into the processes of others: it says so, rather than that nothing is there.
//! Beside it what waits for a path that does not exist, with what is near.

use std::{fs, net::TcpListener, os::unix::fs::PermissionsExt as _, process::Command};

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;
use tests::{agent, cgroup::Cgroup};

/// nobody
const USER: &str = "65534";

fn targets(mut command: Command, selector: &str) -> Result<String> {
    let output = command.args(["targets", "--docker-socket", "", "--target", selector]).output()?;
    ensure!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).context("it writes text")
}

#[test]
fn who_may_not_look_is_told_so() -> Result<()> {
    let folder = TempDir::new().context("cannot make a folder")?;
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
    let observer = folder.path().join("observer");
    fs::copy(agent::binary()?, &observer).context("cannot copy the agent")?;
    let listener = TcpListener::bind("127.0.0.1:0").context("cannot listen")?;
    let selector = format!("port:{}", listener.local_addr()?.port());
    let mut unprivileged = Command::new("setpriv");
    unprivileged.args(["--reuid", USER, "--regid", USER, "--clear-groups"]).arg(&observer);
    let told = targets(unprivileged, &selector)?;
    ensure!(told.contains("this user may not look into the processes of others"), "{told}");
    let told = targets(Command::new(&observer), &selector)?;
    ensure!(!told.contains("may not look") && !told.contains("nothing matches"), "{told}");
    Ok(())
}

#[test]
fn a_path_that_is_not_there_is_told_with_what_is_near() -> Result<()> {
    let cgroup = Cgroup::create("nearby")?;
    let name = cgroup.path().file_name().context("it has a name")?.to_string_lossy().into_owned();
    let told = targets(Command::new(agent::binary()?), &format!("cgroup:/{name}x"))?;
    ensure!(told.contains("waiting: nothing matches now; / has ") && told.contains(&name), "{told}");
    let whole = format!("cgroup:{}", cgroup.path().display());
    let told = targets(Command::new(agent::binary()?), &whole)?;
    ensure!(told.contains(&format!("  {name} in /{name}\n")), "{told}");
    Ok(())
}
