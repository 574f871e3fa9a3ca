//! Socket activation: systemd makes the listening socket, and what is accepted from it belongs to the socket's cgroup,
//! which is not the unit's. Such connections cannot be observed through the unit; here it is told that it is so.

use std::{fs::File, io::Read as _, path::Path};

/// Bytes of a process's environment that are looked at.
const MOST: u64 = 64 << 10;

/// Whether systemd handed listening sockets to this process (`sd_listen_fds(3)`); of one that may not be looked at it is
/// not known.
fn is_activated(proc_root: &Path, pid: u32) -> bool {
    let mut environment = Vec::new();
    let file = File::open(proc_root.join(pid.to_string()).join("environ"));
    let read = file.and_then(|file| file.take(MOST).read_to_end(&mut environment));
    let wanted = format!("LISTEN_PID={pid}");
    read.is_ok() && environment.split(|byte| *byte == 0).any(|variable| variable == wanted.as_bytes())
}

/// A line for a target some of whose processes were handed sockets.
pub fn socket_activated(proc_root: &Path, processes: &[u32]) -> Option<String> {
    let process = processes.iter().find(|pid| is_activated(proc_root, **pid))?;
    Some(format!(
        "process {process} was handed its listening socket by systemd (socket activation): what is accepted there \
         belongs to systemd's cgroup and is not observed; let the service open its own port, without its .socket unit"
    ))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_process_that_was_handed_sockets_is_told_and_its_children_are_not() {
        let root = tempfile::tempdir().unwrap();
        for (pid, environment) in [
            (7, &b"PATH=/bin\0LISTEN_PID=7\0LISTEN_FDS=1\0"[..]),
            // A child has the variable of its parent.
            (8, b"LISTEN_PID=7\0"),
            (9, b"PATH=/bin\0"),
        ] {
            fs::create_dir(root.path().join(pid.to_string())).unwrap();
            fs::write(root.path().join(format!("{pid}/environ")), environment).unwrap();
        }
        let told = socket_activated(root.path(), &[9, 8, 7]).unwrap();
        assert!(told.starts_with("process 7 was handed"), "{told}");
        assert_eq!(socket_activated(root.path(), &[8, 9, 10]), None);
    }
}
