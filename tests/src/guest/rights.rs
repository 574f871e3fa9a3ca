//! The agent as an ordinary user with the capabilities of the unit file and no others.
//! It must see what root's agent sees: requests, connections older than itself, files of other users' processes.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, process::Command};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use super::{connections, requests, service::Service};
use crate::{
    agent::{self, Agent, run_to_end},
    cgroup::Cgroup,
};

/// What the README and the unit file grant, as setpriv(1) names them.
const CAPABILITIES: [&str; 5] = ["bpf", "perfmon", "net_admin", "sys_ptrace", "dac_read_search"];

/// By its path: busybox has another one with few options, which its shell takes first.
const SETPRIV: &str = "/usr/bin/setpriv";

/// `nobody` of every Linux system.
const USER: &str = "65534";

/// Tries the agent with all of them, and without each.
pub fn test() -> Result<String> {
    let folder = TempDir::new().context("cannot make a folder")?;
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
    let agent = folder.path().join("observer");
    fs::copy(agent::binary()?, &agent).context("cannot copy the agent")?;

    for missing in CAPABILITIES {
        let kept: Vec<&str> = CAPABILITIES.into_iter().filter(|kept| *kept != missing).collect();
        let ended = run_to_end(unprivileged(&agent, &kept).args(["check", "--docker-socket", ""]))?;
        let name = format!("CAP_{} is missing", missing.to_uppercase());
        ensure!(!ended.status.success() && ended.output.contains(&name), "{missing}: {}", ended.output);
    }
    let cgroup = Cgroup::create("rights")?;
    let service = Service::start(&cgroup)?;
    let observer = start(&agent, &cgroup)?;
    requests::compare(&service, &observer)?;
    let files = observer.scrape()?.sum("chat_process_open_fds", &[]);
    ensure!(files > 0.5, "the files of another user's processes are not counted");
    observer.stop()?;
    connections::adopted(|cgroup| start(&agent, cgroup))?;
    Ok(format!("uid {USER} with {}", CAPABILITIES.join(", ")))
}

fn start(agent: &Path, cgroup: &Cgroup) -> Result<Agent> {
    let arguments = ["--docker-socket", "", "--target", &format!("{},app=generic", cgroup.selector())];
    Agent::start_by(unprivileged(agent, &CAPABILITIES), arguments)
}

/// A command that becomes the agent as another user with these capabilities. Kernels before 5.11 count maps as locked
/// memory, so that its limit must go (`LimitMEMLOCK=infinity` in a unit).
fn unprivileged(agent: &Path, capabilities: &[&str]) -> Command {
    let list = |sign: &str| {
        let each = capabilities.iter().map(|capability| format!(",+{capability}"));
        format!("{sign}all{}", each.collect::<String>())
    };
    let mut command = Command::new("sh");
    command.args(["-c", r#"ulimit -l unlimited; exec "$@""#, "sh"]).arg(SETPRIV);
    command.args(["--reuid", USER, "--regid", USER, "--clear-groups", "--no-new-privs"]);
    command.args(["--inh-caps", &list("-"), "--ambient-caps", &list("-"), "--bounding-set", &list("-")]);
    command.arg(agent);
    command
}
