//! The capabilities that the agent keeps, each for the calls that need it, also for targets that are attached to later.
//! The unit file and the `DaemonSet` in `deploy/` grant the same.

use rustix::{
    io::{self, Errno},
    thread::{
        CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set,
        remove_capability_from_bounding_set, set_capabilities,
    },
};

/// What the agent needs, and for what, with the call. All of it is kept.
pub const NEEDED: [(&str, CapabilitySet, &str); 5] = [
    ("CAP_BPF", CapabilitySet::BPF, "to load programs and make maps: bpf()"),
    (
        "CAP_PERFMON",
        CapabilitySet::PERFMON,
        "to attach to tracepoints and executables: bpf(), perf_event_open()",
    ),
    ("CAP_NET_ADMIN", CapabilitySet::NET_ADMIN, "to attach to cgroups: bpf()"),
    (
        "CAP_SYS_PTRACE",
        CapabilitySet::SYS_PTRACE,
        "to see the files and sockets of other users' processes: openat(), readlinkat(), pidfd_getfd()",
    ),
    (
        "CAP_DAC_READ_SEARCH",
        CapabilitySet::DAC_READ_SEARCH,
        "to read other users' entries in /proc, and their executables: openat()",
    ),
];

/// Includes what `CAP_BPF` and `CAP_PERFMON` allow, and is kept where those were not granted.
pub const IN_THEIR_PLACE: CapabilitySet = CapabilitySet::SYS_ADMIN;

/// Kept too where the agent is to listen on a port below 1024.
const LOW_PORT: CapabilitySet = CapabilitySet::NET_BIND_SERVICE;

/// Kept too, where it was granted, while executables of Node.js are to be probed on a kernel before 6.6: `perf_event_open()`
/// asks for it before it makes a uprobe (EACCES with `CAP_PERFMON` alone).
const PERF_PROBES: CapabilitySet = CapabilitySet::SYS_ADMIN;

/// What the configuration asks for beside [`NEEDED`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Plans {
    /// To listen on a port below 1024.
    pub low_port: bool,
    /// To probe executables by perf events.
    pub perf_probes: bool,
}

impl Plans {
    fn capabilities(self) -> CapabilitySet {
        let mut set = CapabilitySet::empty();
        set.set(LOW_PORT, self.low_port);
        set.set(PERF_PROBES, self.perf_probes);
        set
    }
}

/// Gives up all others, also those that a program that this one starts would have.
pub(super) fn drop_others(plans: Plans) -> io::Result<()> {
    let permitted = capabilities(None)?.permitted;
    let kept = kept(permitted, plans);
    for capability in CapabilitySet::all().difference(kept).iter() {
        match remove_capability_from_bounding_set(capability) {
            // One that this kernel does not know; or this user may not, and has none to gain from it.
            Ok(()) | Err(Errno::INVAL | Errno::PERM) => {}
            Err(error) => return Err(error),
        }
    }
    clear_ambient_capability_set()?;
    set_capabilities(
        None,
        CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() },
    )
}

/// Gives up all but what reading files of other users' processes needs.
pub(super) fn keep_reading() -> io::Result<()> {
    let kept = capabilities(None)?.permitted & (CapabilitySet::SYS_PTRACE | CapabilitySet::DAC_READ_SEARCH);
    clear_ambient_capability_set()?;
    set_capabilities(
        None,
        CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() },
    )
}

/// Gives up all, of this thread and of those that it will start.
pub(super) fn drop_all() -> io::Result<()> {
    let none = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })
}

/// Of those that the agent has, what it keeps.
fn kept(permitted: CapabilitySet, plans: Plans) -> CapabilitySet {
    let needed = NEEDED.iter().fold(plans.capabilities(), |set, (_, capability, _)| set | *capability);
    let lacks = !permitted.contains(CapabilitySet::BPF | CapabilitySet::PERFMON);
    permitted & if lacks { needed | IN_THEIR_PLACE } else { needed }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_needed_is_not_kept() {
        let kept_of_all = kept(CapabilitySet::all(), Plans::default());
        assert_eq!(kept_of_all.iter().count(), NEEDED.len());
        assert!(!kept_of_all.contains(CapabilitySet::SYS_ADMIN));
        assert_eq!(
            kept(CapabilitySet::all(), Plans { low_port: true, perf_probes: true }),
            kept_of_all | LOW_PORT | PERF_PROBES
        );
    }

    #[test]
    fn what_was_not_granted_is_not_asked_for() {
        let granted = CapabilitySet::SYS_ADMIN | CapabilitySet::NET_ADMIN | CapabilitySet::CHOWN;
        assert_eq!(kept(granted, Plans::default()), CapabilitySet::SYS_ADMIN | CapabilitySet::NET_ADMIN);
        assert_eq!(
            kept(CapabilitySet::empty(), Plans { low_port: true, perf_probes: true }),
            CapabilitySet::empty()
        );
    }
}
