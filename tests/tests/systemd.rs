//! The unit file on a real systemd with Docker: what it grants is enough, also after a reboot, and it grants no more.
//! The machine is systemd-nspawn's, over an overlay of this host's files; nothing of the host changes.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;
use tests::{agent, metrics::Metrics, process::Background};

/// Two boots of some seconds each, with a restart of Docker in both.
const DONE_WITHIN: std::time::Duration = std::time::Duration::from_secs(150);

/// The exposure at which `systemd-analyze security` still says that a service is protected, in tenths.
const MOST_EXPOSED: &str = "30";

/// Requests that the driver of the machine sends to a server at a time.
const REQUESTS: u32 = 7;

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/systemd")
}

fn unit() -> PathBuf {
    deploy().join("observer.service")
}

/// What every target needs.
const PROGRAMS: [&str; 9] = [
    "socket_events",
    "packet_ingress",
    "packet_egress",
    "socket_state",
    "socket_walk",
    "exchange_walk",
    "cgroup_created",
    "cgroup_removed",
    "oom_victim",
];

/// The bits of capabilities in `/proc/PID/status`, include/uapi/linux/capability.h.
const CAPABILITIES: [(&str, u32); 5] = [
    ("CAP_DAC_READ_SEARCH", 2),
    ("CAP_NET_ADMIN", 12),
    ("CAP_SYS_PTRACE", 19),
    ("CAP_PERFMON", 38),
    ("CAP_BPF", 39),
];

#[test]
fn the_unit_is_valid_and_hardened() -> Result<()> {
    let folder = TempDir::new()?;
    let text = fs::read_to_string(unit())?;
    let installed = "/usr/local/bin/observer";
    ensure!(text.contains(installed), "the unit does not start {installed}");
    // The agent is not installed here: the unit is verified with the one that was built.
    let built = agent::binary()?;
    let copy = folder.path().join("observer.service");
    fs::write(&copy, text.replace(installed, &built.display().to_string()))?;
    let verified = Command::new("systemd-analyze").arg("verify").arg(&copy).output()?;
    let said = String::from_utf8_lossy(&verified.stderr);
    ensure!(verified.status.success() && said.is_empty(), "systemd-analyze verify says: {said}");

    let mut security = Command::new("systemd-analyze");
    security.args(["security", "--offline=true", "--threshold", MOST_EXPOSED]).arg(&copy);
    let scored = security.output()?;
    let last = String::from_utf8_lossy(&scored.stdout);
    ensure!(scored.status.success(), "too exposed: {:?}", last.lines().last());
    Ok(())
}

#[test]
fn the_daemon_set_grants_what_the_unit_grants() -> Result<()> {
    let text = fs::read_to_string(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/kubernetes/daemonset.yaml"),
    )?;
    let kinds: Vec<String> = serde_norway::Deserializer::from_str(&text)
        .map(|document| {
            let value = <serde_norway::Value as serde::Deserialize>::deserialize(document)?;
            Ok(value["kind"].as_str().unwrap_or_default().to_owned())
        })
        .collect::<Result<_>>()?;
    ensure!(kinds == ["Namespace", "ConfigMap", "DaemonSet"], "{kinds:?}");
    let last = serde_norway::Deserializer::from_str(&text).last().context("no document")?;
    let set = <serde_norway::Value as serde::Deserialize>::deserialize(last)?;
    let container = &set["spec"]["template"]["spec"]["containers"][0];
    let security = &container["securityContext"];
    ensure!(security["privileged"].as_bool() == Some(false), "it is privileged");
    explains_its_mounts(&text, &set["spec"]["template"]["spec"])?;
    let added = security["capabilities"]["add"].as_sequence().context("no capabilities")?;
    let added: BTreeSet<String> =
        added.iter().filter_map(|name| name.as_str()).map(|name| format!("CAP_{name}")).collect();
    let unit = fs::read_to_string(unit())?;
    for key in ["AmbientCapabilities=", "CapabilityBoundingSet="] {
        let line = unit.lines().find_map(|line| line.strip_prefix(key)).with_context(|| key.to_owned())?;
        let granted: BTreeSet<String> = line.split_whitespace().map(str::to_owned).collect();
        ensure!(granted == added, "{key}: {granted:?}, and the DaemonSet: {added:?}");
        ensure!(granted == CAPABILITIES.iter().map(|(name, _)| (*name).to_owned()).collect(), "{granted:?}");
    }
    Ok(())
}

/// Every mount is of a volume that there is, is not written to, and has a comment above it that says what it is for.
fn explains_its_mounts(text: &str, pod: &serde_norway::Value) -> Result<()> {
    let named = |list: &serde_norway::Value| -> Result<BTreeSet<String>> {
        let names = list.as_sequence().context("no list")?.iter();
        Ok(names.filter_map(|entry| entry["name"].as_str()).map(str::to_owned).collect())
    };
    let mounts = &pod["containers"][0]["volumeMounts"];
    ensure!(named(mounts)? == named(&pod["volumes"])?, "mounts and volumes differ");
    for mount in mounts.as_sequence().context("no mounts")? {
        let name = mount["name"].as_str().context("a mount without a name")?;
        ensure!(mount["readOnly"].as_bool() == Some(true), "{name} may be written to");
        let above = text.lines().take_while(|line| line.trim() != format!("- name: {name}")).last();
        ensure!(above.is_some_and(|line| line.trim().starts_with("# ")), "{name} is not explained");
    }
    Ok(())
}

#[test]
fn the_service_observes_with_what_the_unit_grants_through_restarts_of_docker_and_of_the_machine() -> Result<()>
{
    let results = TempDir::new()?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/systemd/machine.sh");
    let mut machine = Command::new("unshare");
    machine.args(["--mount", "--propagation", "private", "sh"]).arg(script);
    machine.args([agent::binary()?, deploy(), results.path().to_path_buf()]);
    let ended = Background::start(&mut machine)?.finish(DONE_WITHIN)?;
    ensure!(ended.status.success(), "{}", ended.output);
    for boot in 1..=2 {
        let read = |name: &str| {
            let path = results.path().join(format!("{name}-{boot}"));
            let console = || fs::read_to_string(results.path().join(format!("console-{boot}")));
            fs::read_to_string(path).with_context(|| format!("boot {boot}: {:?}", console()))
        };
        let metrics = Metrics::parse(&read("metrics")?)?;
        // The container answers before and after Docker is restarted, and its counters go on.
        for (target, said, times) in [("chat.service", "driver", 1), ("web", "docker", 2)] {
            let answered = read(said)?.lines().filter(|line| *line == "200").count();
            ensure!(answered == REQUESTS as usize * times, "boot {boot}: {target} answered {answered} times");
            let labels = [("container", target), ("status_code", "200")];
            let counted = metrics.sum("chat_http_requests_total", &labels);
            ensure!(
                (counted - answered as f64).abs() < 0.5,
                "boot {boot}: {counted} of {answered} requests of {target}"
            );
        }
        let restarts = metrics.sum("chat_target_restarts_total", &[("container", "web")]);
        ensure!((restarts - 1.0).abs() < 0.5, "boot {boot}: {restarts} restarts of the container");
        // systemd makes Docker's cgroups here, as on most hosts.
        let scope = format!("docker-{}.scope", read("container")?.trim());
        ensure!(read("cgroup")?.contains(&scope), "boot {boot}: the container is in no {scope}");
        for program in PROGRAMS {
            let attached = metrics.sum("observer_program_attached", &[("program", program)]);
            ensure!(attached > 0.5, "boot {boot}: {program} is not attached");
        }
        is_confined(&read("status")?).with_context(|| format!("boot {boot}"))?;
        let journal = read("journal")?;
        ensure!(journal.contains("nothing is attached any more"), "boot {boot}: {journal}");
        for left in ["system calls are not filtered", "keeps what it does not need", "keeps system calls"] {
            ensure!(
                !journal.contains(left),
                "boot {boot}: the unit does not let it confine itself: {journal}"
            );
        }
    }
    Ok(())
}

/// What `/proc/PID/status` of the agent must say.
fn is_confined(status: &str) -> Result<()> {
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.map(str::trim).with_context(|| format!("no {name}"))
    };
    ensure!(!field("Uid:")?.starts_with("0\t"), "it runs as root: {}", field("Uid:")?);
    ensure!(field("NoNewPrivs:")? == "1", "new privileges are allowed");
    ensure!(field("Seccomp:")? == "2", "there is no filter of system calls");
    let granted: u64 = CAPABILITIES.iter().map(|(_, bit)| 1 << bit).sum();
    for set in ["CapEff:", "CapPrm:", "CapBnd:"] {
        let has = u64::from_str_radix(field(set)?, 16)?;
        ensure!(has & !granted == 0, "{set} {has:x} is more than {granted:x}");
    }
    Ok(())
}
