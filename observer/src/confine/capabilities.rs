//! The capabilities that the agent keeps, each for the calls that need it, also for targets that are attached to later.
//! The unit file and the `DaemonSet` in `deploy/` grant the same.

use rustix::{
    io::{self, Errno},
    thread::{
        CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set,
        remove_capability_from_bounding_set, set_capabilities,
    },
};

/// What is kept, and for which call.
pub const NEEDED: [(&str, CapabilitySet, &str); 5] = [
    ("CAP_BPF", CapabilitySet::BPF, "bpf(): look-ups in maps by their number, programs for probes"),
    ("CAP_PERFMON", CapabilitySet::PERFMON, "bpf(), perf_event_open(): tracing programs and their probes"),
    ("CAP_NET_ADMIN", CapabilitySet::NET_ADMIN, "bpf(): attaching to the cgroup of a new target"),
    (
        "CAP_SYS_PTRACE",
        CapabilitySet::SYS_PTRACE,
        "openat(), readlinkat(), pidfd_getfd(): executables and sockets of other users' processes",
    ),
    (
        "CAP_DAC_READ_SEARCH",
        CapabilitySet::DAC_READ_SEARCH,
        "openat(): other users' entries in /proc, and their executables",
    ),
];

/// Includes what `CAP_BPF` and `CAP_PERFMON` allow, and is kept where those were not granted.
const IN_THEIR_PLACE: CapabilitySet = CapabilitySet::SYS_ADMIN;

/// Kept too where the agent is to listen on a port below 1024.
const LOW_PORT: CapabilitySet = CapabilitySet::NET_BIND_SERVICE;

/// Gives up all others, also those that a program that this one starts would have.
pub(super) fn drop_others(low_port: bool) -> io::Result<()> {
    let permitted = capabilities(None)?.permitted;
    let kept = kept(permitted, low_port);
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

/// Of those that the agent has, what it keeps.
fn kept(permitted: CapabilitySet, low_port: bool) -> CapabilitySet {
    let first = if low_port { LOW_PORT } else { CapabilitySet::empty() };
    let needed = NEEDED.iter().fold(first, |set, (_, capability, _)| set | *capability);
    let lacks = !permitted.contains(CapabilitySet::BPF | CapabilitySet::PERFMON);
    permitted & if lacks { needed | IN_THEIR_PLACE } else { needed }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_needed_is_not_kept() {
        let kept_of_all = kept(CapabilitySet::all(), false);
        assert_eq!(kept_of_all.iter().count(), NEEDED.len());
        assert!(!kept_of_all.contains(CapabilitySet::SYS_ADMIN));
        assert_eq!(kept(CapabilitySet::all(), true), kept_of_all | LOW_PORT);
    }

    #[test]
    fn what_was_not_granted_is_not_asked_for() {
        let granted = CapabilitySet::SYS_ADMIN | CapabilitySet::NET_ADMIN | CapabilitySet::CHOWN;
        assert_eq!(kept(granted, false), CapabilitySet::SYS_ADMIN | CapabilitySet::NET_ADMIN);
        assert_eq!(kept(CapabilitySet::empty(), true), CapabilitySet::empty());
    }
}
