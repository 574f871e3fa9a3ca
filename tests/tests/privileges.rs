//! Hosts that cannot run the agent, made from this one in mount namespaces and without capabilities.
//! `observer run` refuses before anything is attached, `observer check` lists the same; both say how to mend it.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;
use tests::{
    agent, bpf,
    cgroup::{self, Cgroup},
};

/// Something that a host lacks.
struct Lack {
    /// Starts a command on such a host.
    host: Command,
    /// What was looked at, as `check` names it.
    subject: &'static str,
    /// What is found instead.
    found: &'static str,
    /// How to mend it.
    mend: &'static str,
}

/// A copy of the agent that any user may execute, and a cgroup that it is asked to observe.
struct Bed {
    folder: TempDir,
    cgroup: Cgroup,
}

impl Bed {
    fn new() -> Result<Self> {
        let folder = TempDir::new()?;
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
        let bed = Self { folder, cgroup: Cgroup::create("privileges")? };
        fs::copy(agent::binary()?, bed.agent())?;
        fs::set_permissions(bed.agent(), fs::Permissions::from_mode(0o755))?;
        Ok(bed)
    }

    fn agent(&self) -> PathBuf {
        self.folder.path().join("observer")
    }

    fn file(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.folder.path().join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    /// Lets the agent start, and refuse, on a host that lacks something.
    fn refuses(&self, lack: Lack) -> Result<()> {
        let Lack { mut host, subject, found, mend } = lack;
        let mut check = Command::new(host.get_program());
        check.args(host.get_args()).arg(self.agent()).args(["check", "--docker-socket", ""]);
        let checked = agent::run_to_end(&mut check)?;
        let line = format!("fail  {subject}: ");
        ensure!(checked.status.code() == Some(1), "{subject}: {checked:?}");
        let mut lines = checked.output.lines().skip_while(|text| !text.starts_with(&line));
        let failed = lines.next().with_context(|| format!("no `{line}` in {}", checked.output))?;
        ensure!(failed.contains(found), "`{found}` is not in `{failed}`");
        ensure!(lines.next().is_some_and(|text| text.contains(mend)), "{}", checked.output);
        ensure!(checked.output.contains("pass  kernel object: "), "{}", checked.output);

        host.arg(self.agent()).args(["run", "--listen", "127.0.0.1:0", "--docker-socket", ""]);
        host.args(["--target", &self.cgroup.selector()]);
        let ran = agent::run_to_end(&mut host)?;
        ensure!(ran.status.code() == Some(1), "{subject}: {ran:?}");
        for part in [subject, found, mend, "observer check"] {
            ensure!(ran.output.contains(part), "`{part}` is not in: {}", ran.output);
        }
        ensure!(!ran.output.contains("observing a target"), "it attached: {}", ran.output);
        ensure!(bpf::attached_to(self.cgroup.path())?.is_empty(), "something is attached");
        Ok(())
    }
}

/// Becomes another user, or loses capabilities, and runs what follows.
fn without_rights(arguments: &[&str]) -> Command {
    let mut command = Command::new("setpriv");
    command.args(arguments);
    command
}

/// Changes mounts by a line of shell in a mount namespace of its own, where `$1` is `path`, and runs what follows.
fn with_mounts(script: &str, path: &Path) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-ec"]);
    command.arg(format!("{script}; shift; exec \"$@\"")).arg("sh").arg(path);
    command
}

#[test]
fn an_able_host_passes() -> Result<()> {
    let ended = agent::run_to_end(Command::new(agent::binary()?).args(["check", "--docker-socket", ""]))?;
    ensure!(ended.status.success(), "{ended:?}");
    for subject in ["kernel", "kernel object", "type information", "cgroup v2", "lockdown", "privileges"] {
        ensure!(ended.output.contains(&format!("pass  {subject}: ")), "{subject}: {}", ended.output);
    }
    for program in ["socket_events", "packet_ingress", "packet_egress"] {
        ensure!(ended.output.contains(&format!("pass  program {program}: ")), "{program}: {}", ended.output);
    }
    for subject in ["confinement", "server"] {
        ensure!(ended.output.contains(&format!("pass  {subject}: ")), "{subject}: {}", ended.output);
    }
    ensure!(ended.output.contains("answered with no capabilities"), "{}", ended.output);
    ensure!(!ended.output.contains("fail  "), "{}", ended.output);
    ensure!(ended.output.contains("bounds: rings 1048576 and 4194304 bytes"), "{}", ended.output);
    // Without Docker the agent is able still.
    let without =
        agent::run_to_end(Command::new(agent::binary()?).args(["check", "--docker-socket", "/nonexistent"]))?;
    ensure!(without.status.success() && without.output.contains("warn  docker: /nonexistent"), "{without:?}");
    Ok(())
}

#[test]
fn without_root_or_its_capabilities_it_refuses() -> Result<()> {
    let bed = Bed::new()?;
    let mend = "run as root, or give the unit or container this capability";
    bed.refuses(Lack {
        host: without_rights(&["--reuid=65534", "--regid=65534", "--clear-groups"]),
        subject: "privileges",
        found: "CAP_BPF is missing, to load programs",
        mend,
    })?;
    // CAP_SYS_ADMIN holds what CAP_BPF allows, so it must go too.
    bed.refuses(Lack {
        host: without_rights(&["--bounding-set=-bpf,-sys_admin"]),
        subject: "privileges",
        found: "CAP_BPF is missing, to load programs",
        mend,
    })?;
    bed.refuses(Lack {
        host: without_rights(&["--bounding-set=-net_admin"]),
        subject: "privileges",
        found: "CAP_NET_ADMIN is missing, to attach to cgroups",
        mend,
    })
}

#[test]
fn without_what_the_kernel_must_have_it_refuses() -> Result<()> {
    let bed = Bed::new()?;
    bed.refuses(Lack {
        host: with_mounts("mount -t tmpfs none \"$1\"", Path::new("/sys/kernel/btf")),
        subject: "type information",
        found: "/sys/kernel/btf/vmlinux: No such file",
        mend: "CONFIG_DEBUG_INFO_BTF",
    })?;
    bed.refuses(Lack {
        host: with_mounts("umount -l \"$1\"", &cgroup::root()?),
        subject: "cgroup v2",
        found: "cgroup v2",
        mend: "systemd.unified_cgroup_hierarchy=1",
    })?;
    let old = bed.file("osrelease", "5.4.0-150-generic\n")?;
    bed.refuses(Lack {
        host: with_mounts("mount --bind \"$1\" /proc/sys/kernel/osrelease", &old),
        subject: "kernel",
        found: "Linux 5.4.0-150-generic",
        mend: "Linux 5.10 or newer",
    })?;
    bed.file("lockdown", "none integrity [confidentiality]\n")?;
    bed.refuses(Lack {
        host: with_mounts("mount --bind \"$1\" /sys/kernel/security", bed.folder.path()),
        subject: "lockdown",
        found: "confidentiality: the kernel lets no program read its memory",
        mend: "lockdown=integrity",
    })
}
