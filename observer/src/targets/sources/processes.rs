//! `port:`, `exe:` and `pid:` selectors: from a socket, an executable or a process id to a cgroup.
//! One pass over /proc serves all of them, and there is none without such a selector.

use std::{
    collections::{BTreeSet, HashMap},
    fs, io,
    path::{Path, PathBuf},
    time::Instant,
};

use super::listeners::Listeners;
use crate::{
    cgroup::{self, Membership},
    targets::{
        matching::SelectorIndex,
        selector::{Matcher, Selector},
    },
};

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

/// Finds processes.
#[derive(Debug)]
pub(super) struct Scanner {
    proc_root: PathBuf,
    ports: HashMap<u16, Vec<SelectorIndex>>,
    exes: Vec<(SelectorIndex, globset::GlobMatcher)>,
    pids: Vec<(SelectorIndex, u32)>,
    listeners: Listeners,
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
            listeners: Listeners::new(proc_root),
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
        scanner.listeners.ports.extend(scanner.ports.keys());
        scanner
    }

    /// Whether no selector is about processes.
    pub(super) fn is_empty(&self) -> bool {
        self.ports.is_empty() && self.exes.is_empty() && self.pids.is_empty()
    }

    /// Every process that a selector matches now. Processes that vanish meanwhile are left out. An error says that it cannot be
    /// told.
    pub(super) fn scan(&mut self, now: Instant) -> io::Result<BTreeSet<ProcessMatch>> {
        let mut found = BTreeSet::new();
        for (selector, pid) in &self.pids {
            found.extend(locate(&self.proc_root, *selector, *pid)?);
        }
        if self.ports.is_empty() && self.exes.is_empty() {
            return Ok(found);
        }
        let processes = self.processes()?;
        for pid in &processes {
            found.extend(self.match_exe(*pid)?);
        }
        if !self.ports.is_empty() {
            self.listened = self.match_ports(&processes, now)?;
            found.extend(self.listened.iter().cloned());
        }
        Ok(found)
    }

    fn processes(&self) -> io::Result<Vec<u32>> {
        let entries = fs::read_dir(&self.proc_root)?.flatten();
        Ok(entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect())
    }

    fn match_exe(&self, pid: u32) -> io::Result<Vec<ProcessMatch>> {
        if self.exes.is_empty() {
            return Ok(Vec::new());
        }
        let Some(path) = executable(&self.proc_root, pid) else {
            return Ok(Vec::new());
        };
        let is_meant = |glob: &globset::GlobMatcher| {
            glob.is_match(&path) || path.file_name().is_some_and(|name| glob.is_match(name))
        };
        let meant = self.exes.iter().filter(|(_, glob)| is_meant(glob));
        meant.filter_map(|(selector, _)| locate(&self.proc_root, *selector, pid).transpose()).collect()
    }

    fn match_ports(&mut self, processes: &[u32], now: Instant) -> io::Result<BTreeSet<ProcessMatch>> {
        let mut matches = BTreeSet::new();
        for (port, pid) in self.listeners.servers(processes, now)? {
            for selector in self.ports.get(&port).into_iter().flatten() {
                matches.extend(locate(&self.proc_root, *selector, pid)?);
            }
        }
        for was in &self.listened {
            let is = locate(&self.proc_root, was.selector, was.pid)?;
            matches.extend(is.filter(|is| is == was));
        }
        Ok(matches)
    }
}

fn locate(proc_root: &Path, selector: SelectorIndex, pid: u32) -> io::Result<Option<ProcessMatch>> {
    let cgroup = match cgroup::try_of_process(proc_root, pid)? {
        None => return Ok(None),
        Some(Membership::Inside(path)) => Some(path),
        Some(Membership::Outside) => None,
    };
    Ok(Some(ProcessMatch { selector, pid, cgroup }))
}

/// Where `/proc/PID/NAME` points to; `None` when it or the process is gone.
pub(in crate::targets) fn link(proc_root: &Path, pid: u32, name: &str) -> Option<PathBuf> {
    fs::read_link(proc_root.join(pid.to_string()).join(name)).ok()
}

/// The executable's path; `None` for kernel threads and processes that have gone.
pub(crate) fn executable(proc_root: &Path, pid: u32) -> Option<PathBuf> {
    let path = link(proc_root, pid, "exe")?;
    // The kernel marks a file that was replaced while it runs, as every upgrade does.
    let kept = path.to_str().and_then(|path| path.strip_suffix(" (deleted)")).map(PathBuf::from);
    Some(kept.unwrap_or(path))
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
        let matches = scanner.scan(Instant::now()).unwrap().into_iter();
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
        let first =
            [("00000000:0C8A", "0A", 100), ("00000000:0050", "0A", 101), ("0100007F:0C8A", "01", 101)];
        host.sockets(10, "tcp", &first);
        host.sockets(11, "tcp", &first);
        host.sockets(20, "tcp", &[]);
        host.sockets(20, "tcp6", &[("00000000000000000000000000000000:0C8A", "0A", 200)]);
        let mut scanner = scanner(&host, &["exe:none", "port:3210"]);
        let expected = [(1, 10, "/a".to_owned()), (1, 20, "/c".to_owned())];
        assert_eq!(found(&mut scanner), expected);
        assert_eq!(found(&mut scanner), expected, "a second pass, from what the first remembered");
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
    fn a_port_that_systemd_holds_for_a_unit_names_the_unit_once_it_runs() {
        let host = Host::new();
        server(&host, 1, 1, 100, "/init.scope");
        host.link(1, "exe", "/usr/lib/systemd/systemd");
        host.sockets(1, "tcp", &[("00000000:0C8A", "0A", 100)]);
        let mut scanner = scanner(&host, &["port:3210"]);
        assert!(found(&mut scanner).is_empty(), "nobody serves it yet");
        server(&host, 10, 1, 100, "/a.service");
        host.sockets(10, "tcp", &[("00000000:0C8A", "0A", 100)]);
        assert_eq!(found(&mut scanner), [(0, 10, "/a.service".to_owned())]);
        // Where init is the server itself, as in a small machine, it is one.
        let host = Host::new();
        server(&host, 1, 1, 100, "/app");
        host.link(1, "exe", "/usr/bin/node");
        host.sockets(1, "tcp", &[("00000000:0C8A", "0A", 100)]);
        assert_eq!(found(&mut self::scanner(&host, &["port:3210"])).len(), 1);
    }

    #[test]
    fn an_executable_matches_by_path_or_name_also_when_replaced() {
        let host = Host::new();
        for (pid, exe) in [(5, "/usr/bin/node"), (6, "/opt/node (deleted)"), (7, "/usr/bin/nodejs")] {
            host.process(pid, b"0::/a\n");
            host.link(pid, "exe", exe);
        }
        host.process(8, b"0::/a\n");
        let pids = |text: &str| -> Vec<u32> {
            found(&mut scanner(&host, &[text])).into_iter().map(|(_, pid, _)| pid).collect()
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
        assert_eq!(found(&mut scanner), [(0, 5, "/a".to_owned()), (1, 6, String::new())]);
    }

    #[test]
    fn a_real_listening_socket_is_found_in_the_real_proc() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let selectors = [format!("port:{port}").parse().unwrap()];
        let mut scanner = Scanner::new(Path::new("/proc"), &selectors);
        let pids: Vec<u32> =
            scanner.scan(Instant::now()).unwrap().into_iter().map(|found| found.pid).collect();
        assert_eq!(pids, [std::process::id()]);
    }
}
