//! What a process holds and waits on: its sockets, and those of them that its event loops watch.
//! Read from `/proc/PID/fd` and `fdinfo`, which need the permission to trace the process.

use std::collections::BTreeSet;

use procfs::process::FDTarget;

use super::files::ProcessDirectory;

/// Descriptors looked at per process: an event loop and a listening socket are among the first that a server opens.
const MOST: usize = 1024;

/// Flag of a Unix socket that accepts connections, in the column `Flags` of `net/unix` (`__SO_ACCEPTCON`,
/// include/linux/net.h).
const ACCEPTS: u32 = 1 << 16;

/// Inodes of a process's sockets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Descriptors {
    /// All that it holds.
    pub(super) sockets: BTreeSet<u64>,
    /// Those that an epoll instance of it watches.
    pub(super) watched: BTreeSet<u64>,
    /// Whether it has an epoll instance at all.
    pub(super) polls: bool,
}

impl Descriptors {
    /// Of this process; empty where they may not be read.
    pub(super) fn of(process: &ProcessDirectory) -> Self {
        let mut found = Self::default();
        for (number, target) in process.descriptors(MOST) {
            match target {
                FDTarget::Socket(inode) => drop(found.sockets.insert(inode)),
                FDTarget::AnonInode(kind) if kind == "[eventpoll]" => {
                    found.polls = true;
                    let text = process.bytes(&format!("fdinfo/{number}")).unwrap_or_default();
                    found.watched.extend(watched(&String::from_utf8_lossy(&text)));
                }
                _ => {}
            }
        }
        found.watched.retain(|inode| found.sockets.contains(inode));
        found
    }
}

/// Inodes in the lines `tfd: 3 events: 19 data: 3 pos:0 ino:423c56 sdev:9` of an epoll instance.
pub(super) fn watched(text: &str) -> impl Iterator<Item = u64> {
    let lines = text.lines().filter(|line| line.starts_with("tfd:"));
    lines.filter_map(|line| {
        let inode = line.split_ascii_whitespace().find_map(|word| word.strip_prefix("ino:"))?;
        u64::from_str_radix(inode, 16).ok()
    })
}

/// Inodes of the Unix sockets that accept connections in the process's network namespace.
pub(super) fn accepting_unix(process: &ProcessDirectory) -> BTreeSet<u64> {
    let table = process.bytes("net/unix").unwrap_or_default();
    let accepting = |line: &str| {
        let mut columns = line.split_ascii_whitespace().skip(3);
        let flags = u32::from_str_radix(columns.next()?, 16).ok()?;
        let inode = columns.nth(2)?.parse().ok()?;
        (flags & ACCEPTS != 0).then_some(inode)
    };
    String::from_utf8_lossy(&table).lines().filter_map(accepting).collect()
}

#[cfg(test)]
mod tests {
    use std::{
        net::TcpListener,
        os::{fd::AsRawFd as _, unix::net::UnixListener},
        path::Path,
    };

    use super::*;

    fn own() -> ProcessDirectory {
        ProcessDirectory::open(Path::new("/proc"), "self").unwrap()
    }

    fn inode(socket: &impl std::os::fd::AsRawFd) -> u64 {
        let link = std::fs::read_link(format!("/proc/self/fd/{}", socket.as_raw_fd())).unwrap();
        link.to_str().unwrap().trim_start_matches("socket:[").trim_end_matches(']').parse().unwrap()
    }

    #[tokio::test]
    async fn a_socket_is_held_and_once_the_loop_waits_on_it_watched() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let socket = inode(&listener);
        let found = Descriptors::of(&own());
        assert!(found.sockets.contains(&socket) && !found.watched.contains(&socket), "{found:?}");
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        let found = Descriptors::of(&own());
        assert!(found.polls && found.watched.contains(&socket), "{} {found:?}", listener.as_raw_fd());
    }

    #[test]
    fn unix_sockets_that_accept_are_told_from_connections() {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join("socket")).unwrap();
        let (one, other) = std::os::unix::net::UnixStream::pair().unwrap();
        let found = accepting_unix(&own());
        assert!(found.contains(&inode(&listener)));
        assert!(!found.contains(&inode(&one)) && !found.contains(&inode(&other)));
    }

    #[test]
    fn what_may_not_be_read_is_empty() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("7")).unwrap();
        let process = ProcessDirectory::open(root.path(), "7").unwrap();
        assert_eq!(Descriptors::of(&process), Descriptors::default());
        assert!(accepting_unix(&process).is_empty());
    }
}
