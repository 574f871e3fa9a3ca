//! Which processes listen on a TCP port, in whatever network namespace: from /proc's socket tables to the sockets'
//! owners. A table costs milliseconds to read, so each namespace's is read only when it may have changed.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::{
    processes::{executable, link},
    socket_table::listening_sockets,
};
use crate::cgroup::files::unless_short;

/// A namespace is read again after this part of the time since its newest process appeared: a server listens soon after it
/// starts, and one that took a minute to start may wait for half of another.
const PATIENCE: u32 = 2;
/// How often a namespace is read at the least, in which nothing happens. The kernel walks its whole table of connections,
/// of all namespaces, to fill the reader's buffer: 2 to 6 ms a read with 262,144 buckets.
const QUIET: Duration = Duration::from_mins(1);

/// These listen on a container's published port in its stead, from outside of it, and only pass bytes on.
const FORWARDERS: [&str; 2] = ["docker-proxy", "rootlessport"];

/// Names of the init that hands sockets to units.
const ACTIVATORS: [&str; 2] = ["systemd", "init"];

/// Finds the processes that serve ports; remembers what costs too much to ask each time.
#[derive(Debug)]
pub(in crate::targets) struct Listeners {
    proc_root: PathBuf,
    /// The ports that matter.
    pub(in crate::targets) ports: HashSet<u16>,
    /// By the link's text `net:[INODE]`, which all processes of one namespace share.
    namespaces: HashMap<PathBuf, Namespace>,
    /// Owners of listening sockets by the socket's inode: process and file descriptor.
    owners: HashMap<u64, Vec<(u32, u32)>>,
}

#[derive(Debug)]
struct Namespace {
    members: HashSet<u32>,
    /// When its newest process appeared.
    changed: Instant,
    /// When its tables were read; never, at first.
    read: Option<Instant>,
    /// Inode and port of its listening sockets, as of then.
    sockets: Vec<(u64, u16)>,
}

impl Listeners {
    pub(in crate::targets) fn new(proc_root: &Path) -> Self {
        Self {
            proc_root: proc_root.to_owned(),
            ports: HashSet::new(),
            namespaces: HashMap::new(),
            owners: HashMap::new(),
        }
    }

    /// Port and process of every server among these processes. An error says that it cannot be told.
    pub(in crate::targets) fn servers(
        &mut self,
        processes: &[u32],
        now: Instant,
    ) -> io::Result<Vec<(u16, u32)>> {
        self.sort_into_namespaces(processes, now);
        let mut namespaces = std::mem::take(&mut self.namespaces);
        let mut sockets = HashMap::new();
        let mut unowned = HashSet::new();
        let mut to_search = BTreeSet::new();
        for namespace in namespaces.values_mut() {
            let wait = (now.duration_since(namespace.changed) / PATIENCE).min(QUIET);
            let recent = namespace.read.is_some_and(|read| read >= namespace.changed && now < read + wait);
            let intact = namespace.sockets.iter().all(|(inode, _)| self.still_owned(*inode));
            let read = !(recent && intact);
            if read {
                namespace.sockets = self.listening(&namespace.members)?;
                namespace.read = Some(now);
            }
            for (inode, port) in &namespace.sockets {
                sockets.insert(*inode, *port);
                // One that so far is held by an activator or a forwarder alone may have been handed to a server.
                let served = || self.owners.get(inode).is_some_and(|owners| !self.serving(owners).is_empty());
                if !self.still_owned(*inode) || read && !served() {
                    unowned.insert(*inode);
                    to_search.extend(&namespace.members);
                }
            }
        }
        self.namespaces = namespaces;
        self.owners.retain(|inode, _| sockets.contains_key(inode) && !unowned.contains(inode));
        for pid in to_search {
            for (descriptor, inode) in self.sockets_of(pid)? {
                if unowned.contains(&inode) {
                    self.owners.entry(inode).or_default().push((pid, descriptor));
                }
            }
        }
        let serving = |(inode, owners): (&u64, &Vec<(u32, u32)>)| {
            let port = *sockets.get(inode)?;
            Some(self.serving(owners).into_iter().map(move |pid| (port, pid)))
        };
        Ok(self.owners.iter().filter_map(serving).flatten().collect())
    }

    fn sort_into_namespaces(&mut self, processes: &[u32], now: Instant) {
        let mut present: HashMap<PathBuf, HashSet<u32>> = HashMap::new();
        for pid in processes {
            if let Some(name) = link(&self.proc_root, *pid, "ns/net") {
                present.entry(name).or_default().insert(*pid);
            }
        }
        self.namespaces.retain(|name, _| present.contains_key(name));
        for (name, members) in present {
            let namespace = self.namespaces.entry(name).or_insert_with(|| Namespace {
                members: HashSet::new(),
                changed: now,
                read: None,
                sockets: Vec::new(),
            });
            if !members.is_subset(&namespace.members) {
                namespace.changed = now;
            }
            namespace.members = members;
        }
    }

    /// Inode and port of each selected listening socket in the network namespace of these processes.
    fn listening(&self, members: &HashSet<u32>) -> io::Result<Vec<(u64, u16)>> {
        let read = |pid: &u32, table: &str| -> io::Result<Option<_>> {
            let file = fs::File::open(self.proc_root.join(pid.to_string()).join("net").join(table));
            Ok(unless_short(file)?.map(listening_sockets))
        };
        let tables = |pid: &u32| -> io::Result<Option<_>> {
            let Some(tcp) = read(pid, "tcp")? else { return Ok(None) };
            // Absent where IPv6 is off.
            let tcp6 = read(pid, "tcp6")?.unwrap_or_default();
            Ok(Some(tcp.into_iter().chain(tcp6)))
        };
        // A process may end between being listed and being read; the next one shows the same table.
        let tables = members.iter().find_map(|pid| tables(pid).transpose()).transpose()?;
        let sockets = tables.into_iter().flatten();
        let selected = sockets.filter(|(inode, address)| *inode != 0 && self.ports.contains(&address.port()));
        Ok(selected.map(|(inode, address)| (inode, address.port())).collect())
    }

    fn still_owned(&self, inode: u64) -> bool {
        let owners = self.owners.get(&inode).map_or(&[][..], Vec::as_slice);
        !owners.is_empty()
            && owners.iter().all(|(pid, descriptor)| {
                let link = link(&self.proc_root, *pid, &format!("fd/{descriptor}"));
                link.is_some_and(|link| socket_inode(&link) == Some(inode))
            })
    }

    fn sockets_of(&self, pid: u32) -> io::Result<Vec<(u32, u64)>> {
        let directory = self.proc_root.join(pid.to_string()).join("fd");
        let entries = unless_short(fs::read_dir(directory))?.into_iter().flatten().flatten();
        let socket = |entry: fs::DirEntry| {
            let inode = socket_inode(&fs::read_link(entry.path()).ok()?)?;
            Some((entry.file_name().to_str()?.parse().ok()?, inode))
        };
        Ok(entries.filter_map(socket).collect())
    }

    /// Those owners of a socket that serve it: no port forwarder, and not systemd, which holds it for a unit that starts
    /// with the first connection (socket activation) or has started.
    fn serving(&self, owners: &[(u32, u32)]) -> Vec<u32> {
        let processes: HashSet<u32> = owners.iter().map(|(pid, _)| *pid).collect();
        let several = processes.len() > 1;
        let serves = |pid: &u32| {
            let exe = executable(&self.proc_root, *pid);
            let name = exe.as_deref().and_then(Path::file_name);
            let is_one_of =
                |names: &[&str]| name.is_some_and(|name| names.iter().any(|other| name == *other));
            let activates = *pid == 1 && (several || is_one_of(&ACTIVATORS));
            !activates && !is_one_of(&FORWARDERS)
        };
        processes.into_iter().filter(serves).collect()
    }
}

/// `socket:[INODE]`
fn socket_inode(link: &Path) -> Option<u64> {
    link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::targets::fixture::Host;

    const TABLE: &[(&str, &str, u64)] = &[("00000000:0C8A", "0A", 100)];

    fn server(host: &Host, pid: u32) {
        host.process(pid, b"0::/a\n");
        host.link(pid, "ns/net", "net:[1]");
        host.sockets(pid, "tcp", TABLE);
        host.link(pid, "fd/19", "socket:[100]");
    }

    #[test]
    fn a_quiet_namespace_is_read_once_a_minute_and_at_once_when_something_happens() {
        let host = Host::new();
        let begun = Instant::now();
        let mut listeners = Listeners::new(&host.proc_root());
        listeners.ports.insert(3210);
        server(&host, 10);
        let at = |seconds| begun + Duration::from_secs(seconds);
        let read_at = |listeners: &Listeners| listeners.namespaces.values().next().unwrap().read;
        let mut look = |seconds: u64, processes: &[u32]| {
            let servers = listeners.servers(processes, at(seconds)).unwrap();
            (servers, read_at(&listeners))
        };
        let served = vec![(3210, 10)];
        assert_eq!(look(0, &[10]), (served.clone(), Some(at(0))));
        for (seconds, read) in [(5, 5), (10, 10), (15, 10), (20, 20), (35, 20), (40, 40), (79, 40), (80, 80)]
        {
            assert_eq!(look(seconds, &[10]), (served.clone(), Some(at(read))), "after {seconds} s");
        }
        for (seconds, read) in [(1000, 1000), (1059, 1000), (1060, 1060)] {
            assert_eq!(look(seconds, &[10]), (served.clone(), Some(at(read))), "quiet, after {seconds} s");
        }
        host.process(11, b"0::/a\n");
        host.link(11, "ns/net", "net:[1]");
        assert_eq!(look(1061, &[10, 11]).1, Some(at(1061)), "a process is new");
        assert_eq!(look(1071, &[10, 11]).1, Some(at(1071)));
        assert_eq!(look(1072, &[10]), (served, Some(at(1071))), "one that ends is not");
        fs::remove_file(host.proc_root().join("10/fd/19")).unwrap();
        host.sockets(10, "tcp", &[]);
        assert_eq!(look(1073, &[10]), (Vec::new(), Some(at(1073))), "the socket is closed");
    }
}
