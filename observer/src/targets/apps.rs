//! Which app a target runs that neither a selector nor an image tells of: by executable, working directory and port.
//! An answer holds as long as the cgroup does, so that a target's labels change at most once.

use std::{
    collections::{BTreeSet, HashMap},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::{
    Cgroup,
    sources::{Listeners, executable, link},
};
use crate::{
    cgroup::Hierarchy,
    profiles::{Process, Profiles},
};

/// For how long after a target's newest process appeared it is looked at: a server listens soon after it starts.
const STARTING: Duration = Duration::from_mins(1);

/// Finds apps; remembers what it found, and what is not worth another look.
#[derive(Debug)]
pub(super) struct Apps {
    proc_root: PathBuf,
    listeners: Listeners,
    looks: HashMap<Cgroup, Look>,
}

/// The last look at a cgroup.
#[derive(Debug)]
struct Look {
    /// Processes whose executable some profile names.
    processes: BTreeSet<u32>,
    /// When the newest of them appeared.
    changed: Instant,
    /// Name of the profile.
    app: Option<String>,
}

impl Apps {
    pub(super) fn new(proc_root: &Path, profiles: &Profiles) -> Self {
        let mut listeners = Listeners::new(proc_root);
        let ports =
            profiles.iter().filter_map(|profile| profile.detect.as_ref()).flat_map(|detect| &detect.ports);
        listeners.ports.extend(ports);
        Self { proc_root: proc_root.to_owned(), listeners, looks: HashMap::new() }
    }

    /// The apps of these cgroups, which are all that have none otherwise.
    pub(super) fn find(
        &mut self,
        cgroups: &[Cgroup],
        hierarchy: &Hierarchy,
        profiles: &Profiles,
        now: Instant,
    ) -> HashMap<PathBuf, String> {
        self.looks.retain(|cgroup, _| cgroups.contains(cgroup));
        for cgroup in cgroups {
            if self.looks.get(cgroup).is_none_or(|look| look.app.is_none()) {
                self.look(cgroup, hierarchy, profiles, now);
            }
        }
        let found = |(cgroup, look): (&Cgroup, &Look)| Some((cgroup.path.clone(), look.app.clone()?));
        self.looks.iter().filter_map(found).collect()
    }

    fn look(&mut self, cgroup: &Cgroup, hierarchy: &Hierarchy, profiles: &Profiles, now: Instant) {
        let mut known = HashMap::new();
        for pid in hierarchy.processes(&cgroup.path) {
            let exe = executable(&self.proc_root, pid).filter(|exe| profiles.detects(exe));
            if let (Some(exe), Some(cwd)) = (exe, link(&self.proc_root, pid, "cwd")) {
                known.insert(pid, (exe, cwd));
            }
        }
        let processes: BTreeSet<u32> = known.keys().copied().collect();
        let look = self.looks.entry(cgroup.clone()).or_insert_with(|| Look {
            processes: BTreeSet::new(),
            changed: now,
            app: None,
        });
        if !processes.is_subset(&look.processes) {
            look.changed = now;
        }
        look.processes = processes;
        if look.processes.is_empty() || now.duration_since(look.changed) >= STARTING {
            return;
        }
        let pids: Vec<u32> = look.processes.iter().copied().collect();
        // Where it cannot be told, it is what it was.
        let Ok(servers) = self.listeners.servers(&pids, now) else { return };
        let mut ports: HashMap<u32, Vec<u16>> = HashMap::new();
        for (port, pid) in servers {
            ports.entry(pid).or_default().push(port);
        }
        look.app = pids.iter().find_map(|pid| {
            let (exe, cwd) = known.get(pid)?;
            let ports = ports.get(pid).map_or(&[][..], Vec::as_slice);
            Some(profiles.for_process(Process { exe, cwd, ports })?.name.clone())
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::targets::fixture::Host;

    /// A process of this executable in a cgroup, which listens on port 3210 (0x0C8A) where `listens`.
    fn process(host: &Host, cgroup: &str, pid: u32, exe: &str, listens: bool) {
        host.process(pid, format!("0::{cgroup}\n").as_bytes());
        host.link(pid, "exe", exe);
        host.link(pid, "cwd", "/app");
        host.link(pid, "ns/net", &format!("net:[{pid}]"));
        let procs = host.cgroup_root().join(cgroup.trim_start_matches('/')).join("cgroup.procs");
        std::fs::write(procs, format!("{pid}\n")).unwrap();
        listen(host, pid, listens);
    }

    fn listen(host: &Host, pid: u32, listens: bool) {
        let rows = [("00000000:0C8A", "0A", 900)];
        host.sockets(pid, "tcp", if listens { &rows } else { &[] });
        if listens {
            host.link(pid, "fd/7", "socket:[900]");
        }
    }

    #[test]
    fn a_server_is_recognised_once_it_listens_and_stays_so() {
        let host = Host::new();
        let cgroup = host.cgroup("/chat.service");
        process(&host, "/chat.service", 11, "/usr/bin/node", false);
        let profiles = Profiles::compiled_in().unwrap();
        let mut apps = Apps::new(&host.proc_root(), &profiles);
        let start = Instant::now();
        let mut find = |now| apps.find(std::slice::from_ref(&cgroup), &host.hierarchy(), &profiles, now);
        assert!(find(start).is_empty());
        listen(&host, 11, true);
        let lobechat = HashMap::from([(PathBuf::from("/chat.service"), "lobechat".to_owned())]);
        assert_eq!(find(start + Duration::from_secs(5)), lobechat);
        host.remove_process(11);
        assert_eq!(find(start + Duration::from_secs(10)), lobechat);
    }

    #[test]
    fn what_does_not_listen_soon_is_left_alone_and_other_programs_are() {
        let host = Host::new();
        let cgroups = [host.cgroup("/late.service"), host.cgroup("/other.service")];
        process(&host, "/late.service", 11, "/usr/bin/node", false);
        process(&host, "/other.service", 12, "/usr/bin/nginx", true);
        let profiles = Profiles::compiled_in().unwrap();
        let mut apps = Apps::new(&host.proc_root(), &profiles);
        let start = Instant::now();
        assert!(apps.find(&cgroups, &host.hierarchy(), &profiles, start).is_empty());
        listen(&host, 11, true);
        assert!(apps.find(&cgroups, &host.hierarchy(), &profiles, start + STARTING).is_empty());
        // A cgroup that came back is another one.
        let again = [host.recreate("/late.service")];
        process_again(&host);
        assert_eq!(apps.find(&again, &host.hierarchy(), &profiles, start + STARTING).len(), 1);
    }

    fn process_again(host: &Host) {
        host.remove_process(11);
        process(host, "/late.service", 11, "/usr/bin/node", true);
    }
}
