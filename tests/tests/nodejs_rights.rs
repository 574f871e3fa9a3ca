//! An executable of Node.js that has another name, and an agent that is an ordinary user with the capabilities of the unit
//! file: it is found by its symbols, and since Linux 6.6 nothing more is needed to probe it.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, process::Command, time::Duration};

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;
use tests::{
    agent::{self, Agent},
    cgroup::Cgroup,
    metrics::Metrics,
    nodejs::{executable, program},
    process::{Background, PATIENCE},
};

/// What `deploy/` grants, as setpriv(1) names them.
const CAPABILITIES: &str = "-all,+bpf,+perfmon,+net_admin,+sys_ptrace,+dac_read_search";
/// `nobody` of every Linux system.
const USER: &str = "65534";

/// The agent at `path` as [`USER`].
fn unprivileged(path: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--reuid", USER, "--regid", USER, "--clear-groups", "--no-new-privs"]);
    for set in ["--inh-caps", "--ambient-caps", "--bounding-set"] {
        command.args([set, CAPABILITIES]);
    }
    command.arg(path);
    command
}

#[test]
#[cfg_attr(not(probe_links), ignore = "this kernel has no links for probes")]
fn an_executable_by_any_name_is_probed_with_the_capabilities_of_the_unit_file() -> Result<()> {
    let folder = TempDir::new().context("cannot make a folder")?;
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
    let (observer, chat) = (folder.path().join("observer"), folder.path().join("chat-backend"));
    fs::copy(agent::binary()?, &observer).context("cannot copy the agent")?;
    fs::copy(executable(22)?, &chat).context("cannot copy Node.js")?;

    let cgroup = Cgroup::create("nodejs-rights")?;
    let mut server = Background::start(cgroup.command(&chat).arg(program("server.js")))?;
    server.wait_for("a listening server", PATIENCE, |line| line.starts_with("listening").then_some(()))?;
    let mut agent =
        Agent::start_by(unprivileged(&observer), ["--docker-socket", "", "--target", &cgroup.selector()])?;
    agent.process().wait_for("probes", Duration::from_mins(1), |line| {
        (line.contains("probing an executable") && line.contains("refused=0")).then_some(())
    })?;
    let turns = |metrics: &Metrics| metrics.sum("chat_nodejs_eventloop_busy_seconds_count", &[]) > 3.5;
    let metrics = agent.scrape_until(PATIENCE, turns)?;
    ensure!(turns(&metrics), "no turns of the event loop are counted");
    agent.stop()?;
    Ok(())
}
