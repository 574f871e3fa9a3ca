//! Whether this host can run the kernel half: what `observer check` lists and what `observer run` insists on.
//! Nothing is attached; programs are loaded to see whether the kernel takes them, and dropped again.

use std::{fs, path::Path};

use rustix::thread::CapabilitySet;

use super::{
    load::{self, BTF_PATH, Options},
    programs::PROGRAMS,
};
use crate::{
    cgroup::Hierarchy,
    confine::{IN_THEIR_PLACE, NEEDED},
};

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As it should be.
    Pass,
    /// The agent runs, with less.
    Warn,
    /// The agent cannot run.
    Fail,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What was looked at, in two or three words.
    pub subject: String,
    /// How it came out.
    pub verdict: Verdict,
    /// What was found.
    pub found: String,
    /// How to mend it; empty where nothing is to be mended.
    pub mend: String,
}

impl Finding {
    /// As it should be.
    pub fn pass(subject: &str, found: impl Into<String>) -> Self {
        Self { subject: subject.to_owned(), verdict: Verdict::Pass, found: found.into(), mend: String::new() }
    }

    fn fail(subject: &str, found: impl Into<String>, mend: &str) -> Self {
        Self {
            subject: subject.to_owned(),
            verdict: Verdict::Fail,
            found: found.into(),
            mend: mend.to_owned(),
        }
    }

    /// Something without which the agent runs, with less.
    pub fn warn(subject: &str, found: impl Into<String>, mend: &str) -> Self {
        Self {
            subject: subject.to_owned(),
            verdict: Verdict::Warn,
            found: found.into(),
            mend: mend.to_owned(),
        }
    }
}

/// The oldest kernel that has everything the required programs use (socket storage in cgroup programs, the ring
/// buffer, cgroup links).
const OLDEST: (u32, u32) = (5, 10);

/// Looks at the host. `proc_root` is the host's /proc.
pub fn host(proc_root: &Path) -> Vec<Finding> {
    let mut findings = vec![
        kernel_version(proc_root),
        object(),
        types(Path::new(BTF_PATH)),
        hierarchy(proc_root),
        lockdown(Path::new("/sys/kernel/security/lockdown")),
    ];
    findings.extend(capabilities(&proc_root.join("self/status")));
    findings
}

fn kernel_version(proc_root: &Path) -> Finding {
    let path = proc_root.join("sys/kernel/osrelease");
    let release = fs::read_to_string(&path).unwrap_or_default();
    let mut numbers =
        release.split(|c: char| !c.is_ascii_digit()).map_while(|number| number.parse::<u32>().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let found = format!("Linux {}", release.trim());
    if version >= OLDEST {
        Finding::pass("kernel", found)
    } else {
        Finding::fail("kernel", found, "observer needs Linux 5.10 or newer")
    }
}

fn object() -> Finding {
    if load::is_built() {
        Finding::pass("kernel object", "inside this binary")
    } else {
        Finding::fail(
            "kernel object",
            "this binary was built without it",
            "build it with `cargo xtask build`",
        )
    }
}

fn types(path: &Path) -> Finding {
    match fs::metadata(path) {
        Ok(_) => Finding::pass("type information", path.display().to_string()),
        Err(error) => Finding::fail(
            "type information",
            format!("{}: {error}", path.display()),
            "use a kernel built with CONFIG_DEBUG_INFO_BTF, as all large distributions have; in a container, mount \
             the host's /sys",
        ),
    }
}

fn hierarchy(proc_root: &Path) -> Finding {
    match Hierarchy::find(proc_root) {
        Ok(hierarchy) => {
            Finding::pass("cgroup v2", format!("mounted at {}", hierarchy.mount_point().display()))
        }
        Err(error) => Finding::fail(
            "cgroup v2",
            error.to_string(),
            "boot with `systemd.unified_cgroup_hierarchy=1`, or mount it: `mount -t cgroup2 none /sys/fs/cgroup/unified`",
        ),
    }
}

/// Lockdown shows its level in brackets; without the security module there is no file.
fn lockdown(path: &Path) -> Finding {
    let levels = fs::read_to_string(path).unwrap_or_default();
    let level =
        levels.split_once('[').and_then(|(_, rest)| rest.split_once(']')).map_or("none", |(level, _)| level);
    if level == "confidentiality" {
        return Finding::fail(
            "lockdown",
            "confidentiality: the kernel lets no program read its memory",
            "boot with `lockdown=integrity` or without lockdown",
        );
    }
    Finding::pass("lockdown", level)
}

fn capabilities(status: &Path) -> Vec<Finding> {
    let text = fs::read_to_string(status).unwrap_or_default();
    let effective = text
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .map_or(CapabilitySet::empty(), CapabilitySet::from_bits_retain);
    let implied = if effective.contains(IN_THEIR_PLACE) {
        CapabilitySet::BPF | CapabilitySet::PERFMON
    } else {
        CapabilitySet::empty()
    };
    let missing = NEEDED.iter().filter(|(_, capability, _)| !(effective | implied).contains(*capability));
    let findings: Vec<Finding> = missing
        .map(|(name, _, why)| {
            let found = format!("{name} is missing, {why}");
            Finding::fail("privileges", found, "run as root, or give the unit or container this capability")
        })
        .collect();
    if findings.is_empty() { vec![Finding::pass("privileges", "all that are needed")] } else { findings }
}

/// Loads every program and drops it again, where [`host`] found nothing that fails.
pub fn programs() -> Vec<Finding> {
    let options = Options {
        ring_bytes: 4096,
        exchange_ring_bytes: 4096,
        stall_ns: 1,
        peers: 1,
        peers_of_target: 1,
        nodejs_processes: 1,
        nodejs_processes_of_target: 1,
        followed_connections: 1,
        log: false,
    };
    let states = match load::load(options) {
        Ok((.., states)) => states,
        Err(error) => {
            let found = format!("{error:#}");
            return vec![Finding::fail("programs", found, "see the table of kernels in the documentation")];
        }
    };
    let findings = states.iter().map(|state| {
        let subject = format!("program {}", state.name);
        if state.attached {
            return Finding::pass(&subject, "this kernel takes it");
        }
        let without =
            PROGRAMS.iter().find(|program| program.name == state.name).map_or("", |program| program.without);
        Finding::warn(&subject, format!("refused: {}", state.reason), without)
    });
    findings.collect()
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn file(text: &str) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file
    }

    #[test]
    fn old_kernels_fail_and_new_ones_pass() {
        for (release, verdict) in [
            ("5.4.0-150-generic\n", Verdict::Fail),
            ("5.9.16", Verdict::Fail),
            ("5.10.0-28-cloud-amd64\n", Verdict::Pass),
            ("6.18.44", Verdict::Pass),
            ("7.2-rc1", Verdict::Pass),
            ("", Verdict::Fail),
        ] {
            let root = tempfile::tempdir().unwrap();
            fs::create_dir_all(root.path().join("sys/kernel")).unwrap();
            fs::write(root.path().join("sys/kernel/osrelease"), release).unwrap();
            assert_eq!(kernel_version(root.path()).verdict, verdict, "{release}");
        }
    }

    #[test]
    fn only_confidentiality_locks_the_agent_out() {
        assert_eq!(lockdown(file("none [integrity] confidentiality\n").path()).verdict, Verdict::Pass);
        assert_eq!(lockdown(file("none integrity [confidentiality]\n").path()).verdict, Verdict::Fail);
        assert_eq!(lockdown(Path::new("/nonexistent")).found, "none");
    }

    #[test]
    fn each_missing_capability_is_named() {
        let all = NEEDED.iter().fold(0, |mask, (_, capability, _)| mask | capability.bits());
        let status = |mask: u64| file(&format!("Name:\tobserver\nCapEff:\t{mask:016x}\n"));
        assert_eq!(capabilities(status(all).path())[0].verdict, Verdict::Pass);
        let findings = capabilities(status(all & !(1 << 39) & !(1 << 12)).path());
        assert_eq!(findings.len(), 2);
        assert!(findings[0].found.contains("CAP_BPF") && findings[1].found.contains("CAP_NET_ADMIN"));
        assert_eq!(
            capabilities(status((all | IN_THEIR_PLACE.bits()) & !(1 << 39)).path())[0].verdict,
            Verdict::Pass
        );
    }

    #[test]
    fn missing_type_information_says_how_to_mend_it() {
        let finding = types(Path::new("/nonexistent/vmlinux"));
        assert_eq!(finding.verdict, Verdict::Fail);
        assert!(finding.mend.contains("CONFIG_DEBUG_INFO_BTF"));
    }
}
