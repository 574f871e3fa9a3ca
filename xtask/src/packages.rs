//! Debian packages: which are missing, and installing those and nothing else.
//! Nothing is ever removed or upgraded for it, and no service is started by it.

use std::{
    process::Command,
    sync::{Mutex, PoisonError},
};

use anyhow::{Result, bail};

use crate::{step, workspace};

/// A tool that the end-to-end tests start.
struct Tool {
    package: &'static str,
    /// The program that makes the package unnecessary; none where only this package will do.
    program: Option<&'static str>,
}

/// Held by whoever installs: apt fails where another apt is at work.
static INSTALLING: Mutex<()> = Mutex::new(());

/// What the end-to-end tests start.
const TEST_TOOLS: &[Tool] = &[
    Tool { package: "docker.io", program: Some("dockerd") },
    // Containers are made from it without a registry, so it must be the static one.
    Tool { package: "busybox-static", program: None },
    Tool { package: "bpftool", program: Some("bpftool") },
    Tool { package: "prometheus", program: Some("prometheus") },
    Tool { package: "curl", program: Some("curl") },
    Tool { package: "nginx-light", program: Some("nginx") },
    Tool { package: "iptables", program: Some("iptables") },
    Tool { package: "iproute2", program: Some("ip") },
    Tool { package: "python3", program: Some("python3") },
    Tool { package: "nodejs", program: Some("node") },
    Tool { package: "npm", program: Some("npm") },
    Tool { package: "wrk", program: Some("wrk") },
    // A machine of its own for the unit file.
    Tool { package: "systemd-container", program: Some("systemd-nspawn") },
    Tool { package: "strace", program: Some("strace") },
    Tool { package: "binutils", program: Some("strip") },
];

/// Whether packages can be installed here at all.
pub(crate) fn available() -> bool {
    workspace::find_program("apt-get").is_some() && workspace::find_program("dpkg-query").is_some()
}

/// Installs the tools of the end-to-end tests that are missing.
pub(crate) fn install_test_tools() -> Result<()> {
    let wanted: Vec<&str> = TEST_TOOLS
        .iter()
        .filter(|tool| tool.program.is_none_or(|program| workspace::find_program(program).is_none()))
        .map(|tool| tool.package)
        .collect();
    if available() {
        return install("setup --tests", &wanted);
    }
    // Elsewhere a package's absence cannot be known; a program's can.
    let programs: Vec<&str> = TEST_TOOLS
        .iter()
        .filter(|tool| wanted.contains(&tool.package))
        .filter_map(|tool| tool.program)
        .collect();
    if programs.is_empty() {
        return Ok(());
    }
    bail!("the tests need these programs, and this is no Debian to install them on: {}", programs.join(", "));
}

/// Installs those of `packages` that are missing, for `cargo xtask <who>`; needs root only where some are.
pub(crate) fn install(who: &str, packages: &[&str]) -> Result<()> {
    let _alone = INSTALLING.lock().unwrap_or_else(PoisonError::into_inner);
    let missing: Vec<&str> = packages.iter().copied().filter(|package| !installed(package)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.join(" ");
    if !workspace::is_root() {
        bail!(
            "cargo xtask {who} needs packages that only root can install: \
             run `sudo apt-get install --no-install-recommends {list}`, then this again"
        );
    }
    let known =
        apt("install").arg("--simulate").args(&missing).output().is_ok_and(|run| run.status.success());
    if !known {
        step::run_quietly("fetching the package lists", &mut apt("update"))?;
    }
    let title = format!("installing {list}");
    let first = step::run_quietly(&title, apt("install").args(&missing));
    if first.is_err() && known {
        // Lists that are older than the mirror name versions that it no longer has.
        step::run_quietly("fetching newer package lists", &mut apt("update"))?;
        return step::run_quietly(&title, apt("install").args(&missing));
    }
    first
}

/// Installs the newest of `packages` that the archive has, also where older ones are installed: package lists that came with
/// a machine may be as old as its image, and name a compiler of that time.
pub(crate) fn install_newest(who: &str, packages: &[&str]) -> Result<()> {
    let list = packages.join(" ");
    if !workspace::is_root() {
        bail!(
            "cargo xtask {who} needs packages that only root can install: run `sudo apt-get update` and \
             `sudo apt-get install --no-install-recommends {list}`, then this again"
        );
    }
    let _alone = INSTALLING.lock().unwrap_or_else(PoisonError::into_inner);
    step::run_quietly("fetching the package lists", &mut apt("update"))?;
    let mut install = apt("install");
    // The last one of two opposite options holds.
    install.arg("--upgrade").args(packages);
    step::run_quietly(&format!("installing {list}"), &mut install)
}

/// Whether dpkg has `package` installed.
pub(crate) fn installed(package: &str) -> bool {
    Command::new("dpkg-query")
        .args(["--show", "--showformat=${db:Status-Abbrev}", package])
        .output()
        .is_ok_and(|query| query.stdout.starts_with(b"ii"))
}

/// An apt-get that asks nothing, removes nothing and starts no service.
fn apt(action: &str) -> Command {
    let mut command = Command::new("apt-get");
    command
        .arg(action)
        .args(["--yes", "--quiet", "--no-install-recommends", "--no-remove", "--no-upgrade"])
        .env("DEBIAN_FRONTEND", "noninteractive")
        // Makes invoke-rc.d and systemctl leave the services of new packages alone (sysvinit-utils' invoke-rc.d(8),
        // systemd's ENVIRONMENT.md): the tests start their own.
        .env("RUNLEVEL", "1")
        .env("SYSTEMD_OFFLINE", "1");
    command
}
