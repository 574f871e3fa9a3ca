//! `port:`, `exe:` and `pid:` selectors: from a socket, an executable or a process id to a cgroup.
//! One pass over /proc serves all of them, and there is none without such a selector.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    fs,
    io::{BufRead as _, BufReader, Read as _},
    net::SocketAddr,
    path::{Path, PathBuf},
};

use procfs::{
    FromBufReadSI as _,
    net::{TcpNetEntries, TcpState},
};

use super::{
    cgroups::{self, Membership},
    matching::SelectorIndex,
    selector::{Matcher, Selector},
};

/// These listen on a container's published port in its stead, from outside of it, and only pass bytes on.
const FORWARDERS: [&str; 2] = ["docker-proxy", "rootlessport"];

/// A process that a selector matches.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ProcessMatch {
    /// Which selector.
    pub(super) selector: SelectorIndex,
    /// Which process.
    pub(super) pid: u32,
    /// Its cgroup as the kernel names it; `None` outside the agent's cgroup namespace.
    pub(super) cgroup: Option<PathBuf>,
}

/// Finds processes; remembers what a full search for a socket's owner costs too much to ask each time.
#[derive(Debug)]
pub(super) struct Scanner {
    proc_root: PathBuf,
    ports: HashMap<u16, Vec<SelectorIndex>>,
    exes: Vec<(SelectorIndex, globset::GlobMatcher)>,
    pids: Vec<(SelectorIndex, u32)>,
    /// Owners of listening sockets by the socket's inode: process and file descriptor.
    owners: HashMap<u64, Vec<(u32, u32)>>,
    /// What `port:` selectors matched in the last pass. A process that has closed its listening socket to drain its
    /// connections stays matched while it lives.
    listened: BTreeSet<ProcessMatch>,
}

impl Scanner {
    pub(super) fn new(proc_root: &Path, selectors: &[Selector]) -> Self {
        let mut scanner = Self {
            proc_root: proc_root.to_owned(),
            ports: HashMap::new(),
            exes: Vec::new(),
            pids: Vec::new(),
            owners: HashMap::new(),
            listened: BTreeSet::new(),
        };
        for (index, selector) in selectors.iter().enumerate() {
            match &selector.matcher {
                Matcher::Port(port) => scanner.ports.entry(*port).or_default().push(index),
                Matcher::Exe(glob) => scanner.exes.push((index, glob.clone())),
                Matcher::Pid(pid) => scanner.pids.push((index, *pid)),
                _ => {}
            }
        }
        scanner
    }

    /// Every process that a selector matches now. Processes that vanish meanwhile are left out.
    pub(super) fn scan(&mut self) -> BTreeSet<ProcessMatch> {
        let mut found = BTreeSet::new();
        for (selector, pid) in &self.pids {
            found.extend(self.locate(*selector, *pid));
        }
        if self.ports.is_empty() && self.exes.is_empty() {
            return found;
        }
        let processes = self.processes();
        for pid in &processes {
            found.extend(self.match_exe(*pid));
        }
        if !self.ports.is_empty() {
            self.listened = self.match_ports(&processes);
            found.extend(self.listened.iter().cloned());
        }
        found
    }

    fn processes(&self) -> Vec<u32> {
        let entries = fs::read_dir(&self.proc_root).into_iter().flatten().flatten();
        entries
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .collect()
    }

    fn link(&self, pid: u32, name: &str) -> Option<PathBuf> {
        fs::read_link(self.proc_root.join(pid.to_string()).join(name)).ok()
    }

    /// The executable's path; `None` for kernel threads and processes that have gone.
    fn exe(&self, pid: u32) -> Option<PathBuf> {
        let path = self.link(pid, "exe")?;
        // The kernel marks a file that was replaced while it runs, as every upgrade does.
        let kept = path
            .to_str()
            .and_then(|path| path.strip_suffix(" (deleted)"))
            .map(PathBuf::from);
        Some(kept.unwrap_or(path))
    }

    fn locate(&self, selector: SelectorIndex, pid: u32) -> Option<ProcessMatch> {
        let cgroup = match cgroups::of_process(&self.proc_root, pid)? {
            Membership::Inside(path) => Some(path),
            Membership::Outside => None,
        };
        Some(ProcessMatch {
            selector,
            pid,
            cgroup,
        })
    }

    fn match_exe(&self, pid: u32) -> Vec<ProcessMatch> {
        if self.exes.is_empty() {
            return Vec::new();
        }
        let Some(path) = self.exe(pid) else {
            return Vec::new();
        };
        let is_meant = |glob: &globset::GlobMatcher| {
            glob.is_match(&path) || path.file_name().is_some_and(|name| glob.is_match(name))
        };
        let meant = self.exes.iter().filter(|(_, glob)| is_meant(glob));
        meant
            .filter_map(|(selector, _)| self.locate(*selector, pid))
            .collect()
    }

    fn match_ports(&mut self, processes: &[u32]) -> BTreeSet<ProcessMatch> {
        let mut namespaces: BTreeMap<PathBuf, Vec<u32>> = BTreeMap::new();
        for pid in processes {
            // The link reads `net:[INODE]`, which is equal for all processes of one namespace.
            if let Some(namespace) = self.link(*pid, "ns/net") {
                namespaces.entry(namespace).or_default().push(*pid);
            }
        }
        let mut sockets = HashMap::new();
        let mut unowned = HashMap::new();
        let mut to_search = BTreeSet::new();
        for members in namespaces.values() {
            for (inode, port) in self.listening(members) {
                sockets.insert(inode, port);
                if !self.still_owned(inode) {
                    unowned.insert(inode, port);
                    to_search.extend(members.iter().copied());
                }
            }
        }
        self.owners
            .retain(|inode, _| sockets.contains_key(inode) && !unowned.contains_key(inode));
        for pid in to_search {
            for (descriptor, inode) in self.sockets_of(pid) {
                if unowned.contains_key(&inode) {
                    self.owners.entry(inode).or_default().push((pid, descriptor));
                }
            }
        }
        let mut found: BTreeSet<ProcessMatch> = BTreeSet::new();
        for (inode, owners) in &self.owners {
            let selectors = sockets.get(inode).and_then(|port| self.ports.get(port));
            for pid in self.servers(owners) {
                let matched = selectors.into_iter().flatten();
                found.extend(matched.filter_map(|selector| self.locate(*selector, pid)));
            }
        }
        let draining = self.listened.iter();
        let draining = draining.filter(|was| self.locate(was.selector, was.pid).as_ref() == Some(*was));
        let draining: Vec<ProcessMatch> = draining.cloned().collect();
        found.extend(draining);
        found
    }

    /// Inode and port of each selected listening socket in the network namespace of these processes.
    fn listening(&self, members: &[u32]) -> Vec<(u64, u16)> {
        let read = |pid: &u32, table: &str| {
            let file = fs::File::open(self.proc_root.join(pid.to_string()).join("net").join(table)).ok()?;
            Some(listening_sockets(file))
        };
        // A process may end between being listed and being read; the next one shows the same table.
        let tables = members.iter().find_map(|pid| {
            let tcp = read(pid, "tcp")?;
            // Absent where IPv6 is off.
            let tcp6 = read(pid, "tcp6").unwrap_or_default();
            Some(tcp.into_iter().chain(tcp6))
        });
        let sockets = tables.into_iter().flatten();
        let selected =
            sockets.filter(|(inode, address)| *inode != 0 && self.ports.contains_key(&address.port()));
        selected.map(|(inode, address)| (inode, address.port())).collect()
    }

    fn still_owned(&self, inode: u64) -> bool {
        let owners = self.owners.get(&inode).map_or(&[][..], Vec::as_slice);
        !owners.is_empty()
            && owners.iter().all(|(pid, descriptor)| {
                let link = self.link(*pid, &format!("fd/{descriptor}"));
                link.is_some_and(|link| socket_inode(&link) == Some(inode))
            })
    }

    fn sockets_of(&self, pid: u32) -> Vec<(u32, u64)> {
        let directory = self.proc_root.join(pid.to_string()).join("fd");
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        let socket = |entry: fs::DirEntry| {
            let inode = socket_inode(&fs::read_link(entry.path()).ok()?)?;
            Some((entry.file_name().to_str()?.parse().ok()?, inode))
        };
        entries.filter_map(socket).collect()
    }

    /// Those owners of a socket that serve it: no port forwarder, and not init where it holds the socket only to hand
    /// it to a unit (socket activation).
    fn servers(&self, owners: &[(u32, u32)]) -> Vec<u32> {
        let processes: HashSet<u32> = owners.iter().map(|(pid, _)| *pid).collect();
        let forwards = |pid: u32| {
            let exe = self.exe(pid);
            let name = exe.as_deref().and_then(Path::file_name);
            name.is_some_and(|name| FORWARDERS.iter().any(|forwarder| name == *forwarder))
        };
        let several = processes.len() > 1;
        let serves = |pid: &u32| !(forwards(*pid) || several && *pid == 1);
        processes.into_iter().filter(serves).collect()
    }
}

/// `socket:[INODE]`
fn socket_inode(link: &Path) -> Option<u64> {
    link.to_str()?
        .strip_prefix("socket:[")?
        .strip_suffix(']')?
        .parse()
        .ok()
}

/// The listening sockets of a `/proc/PID/net/tcp` table. The kernel writes them before all others
/// (`tcp_seq_start` in `net/ipv4/tcp_ipv4.c`), so that reading stops there: the tens of thousands of connections that
/// may follow are not even formatted.
fn listening_sockets(table: fs::File) -> Vec<(u64, SocketAddr)> {
    let mut head = String::new();
    // Small reads, because each makes the kernel format as much as fits.
    let mut lines = BufReader::with_capacity(4096, table.take(1 << 20)).lines();
    if let Some(Ok(header)) = lines.next() {
        head.push_str(&header);
        head.push('\n');
    }
    for line in lines.map_while(Result::ok) {
        // `0A` is TCP_LISTEN, include/net/tcp_states.h.
        if line.split_whitespace().nth(3) != Some("0A") {
            break;
        }
        head.push_str(&line);
        head.push('\n');
    }
    let entries = TcpNetEntries::from_buf_read(head.as_bytes(), procfs::current_system_info());
    let entries = entries.map(|entries| entries.0).unwrap_or_default();
    let listening = entries
        .into_iter()
        .filter(|entry| entry.state == TcpState::Listen);
    listening
        .map(|entry| (entry.inode, entry.local_address))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::targets::fixture::Host;

    fn scanner(host: &Host, selectors: &[&str]) -> Scanner {
        let selectors: Vec<Selector> = selectors.iter().map(|text| text.parse().unwrap()).collect();
        Scanner::new(&host.proc_root(), &selectors)
    }

    fn found(scanner: &mut Scanner) -> Vec<(SelectorIndex, u32, String)> {
        let text = |path: Option<PathBuf>| path.map_or_else(String::new, |path| path.display().to_string());
        let matches = scanner.scan().into_iter();
        matches.map(|it| (it.selector, it.pid, text(it.cgroup))).collect()
    }

    fn server(host: &Host, pid: u32, namespace: u64, inode: u64, cgroup: &str) {
        host.process(pid, format!("0::{cgroup}\n").as_bytes());
        host.link(pid, "ns/net", &format!("net:[{namespace}]"));
        host.link(pid, "fd/0", "/dev/null");
        host.link(pid, "fd/19", &format!("socket:[{inode}]"));
    }

    #[test]
    fn a_port_leads_to_the_process_that_listens_in_each_namespace() {
        let host = Host::new();
        server(&host, 10, 1, 100, "/a");
        server(&host, 11, 1, 101, "/b");
        server(&host, 20, 2, 200, "/c");
        // 0C8A is 3210, 0050 is 80. The connection after the listening sockets uses the port too.
        let first = [
            ("00000000:0C8A", "0A", 100),
            ("00000000:0050", "0A", 101),
            ("0100007F:0C8A", "01", 101),
        ];
        host.sockets(10, "tcp", &first);
        host.sockets(11, "tcp", &first);
        host.sockets(20, "tcp", &[]);
        host.sockets(
            20,
            "tcp6",
            &[("00000000000000000000000000000000:0C8A", "0A", 200)],
        );
        let mut scanner = scanner(&host, &["exe:none", "port:3210"]);
        let expected = [(1, 10, "/a".to_owned()), (1, 20, "/c".to_owned())];
        assert_eq!(found(&mut scanner), expected);
        assert_eq!(
            found(&mut scanner),
            expected,
            "a second pass, from what the first remembered"
        );
    }

    #[test]
    fn a_server_that_drains_stays_until_it_ends_or_moves() {
        let host = Host::new();
        server(&host, 10, 1, 100, "/a");
        host.sockets(10, "tcp", &[("00000000:0C8A", "0A", 100)]);
        let mut scanner = scanner(&host, &["port:3210"]);
        assert_eq!(found(&mut scanner).len(), 1);
        host.sockets(10, "tcp", &[]);
        assert_eq!(found(&mut scanner).len(), 1);
        host.process(10, b"0::/elsewhere\n");
        assert!(found(&mut scanner).is_empty());
        host.remove_process(10);
        assert!(found(&mut scanner).is_empty());
    }

    #[test]
    fn forwarders_and_a_socket_activating_init_are_no_servers() {
        let host = Host::new();
        for (pid, cgroup) in [(1, "/init.scope"), (10, "/a.service"), (11, "/docker.service")] {
            server(&host, pid, 1, 100, cgroup);
            host.sockets(pid, "tcp", &[("00000000:0C8A", "0A", 100)]);
        }
        host.link(11, "exe", "/usr/bin/docker-proxy");
        let mut scanner = scanner(&host, &["port:3210"]);
        assert_eq!(found(&mut scanner), [(0, 10, "/a.service".to_owned())]);
    }

    #[test]
    fn an_executable_matches_by_path_or_name_also_when_replaced() {
        let host = Host::new();
        for (pid, exe) in [
            (5, "/usr/bin/node"),
            (6, "/opt/node (deleted)"),
            (7, "/usr/bin/nodejs"),
        ] {
            host.process(pid, b"0::/a\n");
            host.link(pid, "exe", exe);
        }
        host.process(8, b"0::/a\n");
        let pids = |text: &str| -> Vec<u32> {
            found(&mut scanner(&host, &[text]))
                .into_iter()
                .map(|(_, pid, _)| pid)
                .collect()
        };
        assert_eq!(pids("exe:node"), [5, 6]);
        assert_eq!(pids("exe:/usr/*/node*"), [5, 7]);
        assert!(pids("exe:bash").is_empty());
    }

    #[test]
    fn a_process_id_is_looked_up_and_may_lie_outside_the_namespace() {
        let host = Host::new();
        host.process(5, b"0::/a\n");
        host.process(6, b"0::/../b\n");
        let mut scanner = scanner(&host, &["pid:5", "pid:6", "pid:7"]);
        assert_eq!(
            found(&mut scanner),
            [(0, 5, "/a".to_owned()), (1, 6, String::new())]
        );
    }

    #[test]
    fn a_real_listening_socket_is_found_in_the_real_proc() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let selectors = [format!("port:{port}").parse().unwrap()];
        let mut scanner = Scanner::new(Path::new("/proc"), &selectors);
        let pids: Vec<u32> = scanner.scan().into_iter().map(|found| found.pid).collect();
        assert_eq!(pids, [std::process::id()]);
    }
}
