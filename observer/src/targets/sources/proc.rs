//! `cgroup:`, `port:`, `exe:` and `pid:` selectors: cgroups by their paths, and processes by what /proc says of them.
//! What is named by a path is known from the start; for the others /proc is read through now and then.

use std::{
    collections::{BTreeMap, HashSet},
    io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use futures_util::future::BoxFuture;
use tokio::{
    sync::mpsc,
    task::spawn_blocking,
    time::{self, MissedTickBehavior},
};

use super::processes::Scanner;
use crate::{
    cgroup::Hierarchy,
    targets::{
        Settings,
        matching::SelectorIndex,
        selector::Matcher,
        source::{Change, Changes, Kind, Place, Question, Source, Workload},
    },
};

/// How soon after cgroups have changed /proc is read through again; changes come in bursts.
const SETTLE: Duration = Duration::from_millis(100);
/// Names that a warning about a path that does not exist lists.
const NEAR: usize = 5;

/// Cgroups and processes that some selector names.
pub(super) struct Proc {
    hierarchy: Hierarchy,
    rescan: Duration,
    paths: Vec<(SelectorIndex, PathBuf)>,
    scanner: Scanner,
    /// Paths that do not exist and were warned of.
    warned: HashSet<PathBuf>,
}

impl Proc {
    /// `None` where no selector is about paths or processes.
    pub(super) fn new(settings: &Settings, hierarchy: &Hierarchy) -> Option<Self> {
        let path = |(index, matcher): (SelectorIndex, &Matcher)| match matcher {
            Matcher::Cgroup(path) => Some((index, path.clone())),
            _ => None,
        };
        let matchers = settings.selectors.iter().map(|selector| &selector.matcher).enumerate();
        let paths: Vec<_> = matchers.filter_map(path).collect();
        let scanner = Scanner::new(&settings.proc_root, &settings.selectors);
        let (hierarchy, rescan) = (hierarchy.clone(), settings.rescan);
        (!paths.is_empty() || !scanner.is_empty()).then_some(Self {
            hierarchy,
            rescan,
            paths,
            scanner,
            warned: HashSet::new(),
        })
    }

    /// All workloads of now, by where they are. An error says that it cannot be told.
    fn look(&mut self, now: Instant) -> io::Result<Vec<Workload>> {
        let mut found: BTreeMap<String, Workload> = BTreeMap::new();
        let mut add = |place: Place, id: String, selector: SelectorIndex| {
            let name = Path::new(&id)
                .file_name()
                .map_or_else(|| "/".to_owned(), |name| name.to_string_lossy().into_owned());
            let workload = found.entry(id).or_insert_with_key(|id| Workload {
                id: id.clone(),
                place,
                kind: Kind::Plain,
                name,
                running: true,
                ..Workload::default()
            });
            if !workload.claims.contains(&selector) {
                workload.claims.push(selector);
            }
        };
        for (selector, path) in &self.paths {
            let path = in_hierarchy(&self.hierarchy, path);
            add(Place::Cgroup(path.clone()), path.display().to_string(), *selector);
        }
        for process in self.scanner.scan(now)? {
            let Some(path) = &process.cgroup else {
                let reason = format!(
                    "process {} is outside of the agent's cgroup namespace; run the agent in that of the host \
                     (`docker run --cgroupns=host`)",
                    process.pid
                );
                let path = PathBuf::from("/..");
                add(Place::Unobservable { path, reason }, "process:/..".to_owned(), process.selector);
                continue;
            };
            let id = format!("process:{}", path.display());
            if path == Path::new("/") {
                let reason = format!(
                    "process {} is in the root cgroup, and attaching there would observe the whole host; start it in \
                     a cgroup of its own (`systemd-run --scope COMMAND`), or give `cgroup:/` to observe the host",
                    process.pid
                );
                add(Place::Unobservable { path: path.clone(), reason }, id, process.selector);
                continue;
            }
            add(Place::Around(path.clone()), id, process.selector);
        }
        let mut found: Vec<_> = found.into_values().collect();
        for workload in &mut found {
            workload.claims.sort_unstable();
        }
        Ok(found)
    }

    /// Says once of each path that there is no such cgroup, with what is near: it may come later, or be a mistake.
    fn warn(&mut self) {
        for (_, path) in &self.paths {
            let path = in_hierarchy(&self.hierarchy, path);
            if self.hierarchy.get(&path).is_none() && self.warned.insert(path.clone()) {
                let near = near(&self.hierarchy, &path);
                tracing::warn!(cgroup = %path.display(), near, "there is no such cgroup now; waiting for it");
            }
        }
    }
}

/// The path below the hierarchy's root, also where it was given as it stands in the file system.
fn in_hierarchy(hierarchy: &Hierarchy, path: &Path) -> PathBuf {
    let below = path.strip_prefix(hierarchy.mount_point()).ok().filter(|_| hierarchy.get(path).is_none());
    below.map_or_else(|| path.to_owned(), |below| Path::new("/").join(below))
}

/// What there is where a path ends: the next directory above, and of its cgroups those whose names are most like it.
pub(in crate::targets) fn near(hierarchy: &Hierarchy, path: &Path) -> String {
    let path = &in_hierarchy(hierarchy, path);
    let existing = |ancestor: &&Path| hierarchy.get(ancestor).is_some();
    let above = path.ancestors().skip(1).find(existing).unwrap_or_else(|| Path::new("/"));
    let wanted = path.strip_prefix(above).ok().and_then(|rest| rest.iter().next()).unwrap_or_default();
    let wanted = wanted.to_string_lossy().into_owned();
    let in_common = |name: &str| {
        let start = name.chars().zip(wanted.chars()).take_while(|(a, b)| a == b).count();
        let end = name.chars().rev().zip(wanted.chars().rev()).take_while(|(a, b)| a == b).count();
        start + end
    };
    let entries = hierarchy.directory(above).and_then(|directory| std::fs::read_dir(directory).ok());
    let folders = entries.into_iter().flatten().flatten().filter(|entry| entry.path().is_dir());
    let mut names: Vec<String> =
        folders.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort_by_key(|name| (std::cmp::Reverse(in_common(name)), name.clone()));
    names.truncate(NEAR);
    format!("{} has {}", above.display(), if names.is_empty() { "none".to_owned() } else { names.join(", ") })
}

impl Source for Proc {
    fn name(&self) -> &'static str {
        "proc"
    }

    fn tells_containers(&self) -> bool {
        false
    }

    fn run(
        self: Box<Self>,
        changes: Changes,
        mut questions: mpsc::Receiver<Question>,
    ) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let mut looks = time::interval(self.rescan);
            looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut this = self;
            loop {
                tokio::select! {
                    question = questions.recv() => match question {
                        Some(Question::LookAgain) => looks.reset_after(SETTLE),
                        // A path's workload is known before its cgroup is there.
                        Some(Question::WhatIs(_) | Question::WhereIs(_)) => {}
                        None => return,
                    },
                    _ = looks.tick() => {
                        let looking = spawn_blocking(move || {
                            let found = this.look(Instant::now());
                            this.warn();
                            (found, this)
                        });
                        let Ok((found, back)) = looking.await else { return };
                        this = back;
                        let change = match found {
                            Ok(found) => Change::Snapshot(found),
                            Err(error) => Change::Unreachable(format!("the processes cannot be looked at: {error}")),
                        };
                        if changes.send(change).await.is_err() {
                            return;
                        }
                    }
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::targets::fixture::Host;

    fn proc(host: &Host, selectors: &[&str]) -> Proc {
        let settings = Settings {
            selectors: selectors.iter().map(|text| text.parse().unwrap()).collect(),
            proc_root: host.proc_root(),
            ..Settings::default()
        };
        Proc::new(&settings, &host.hierarchy()).unwrap()
    }

    #[test]
    fn a_path_may_be_given_as_it_stands_in_the_file_system() {
        let host = Host::new();
        host.cgroup("/system.slice/chat.service");
        let given = format!("cgroup:{}/system.slice/chat.service", host.cgroup_root().display());
        let mut proc = proc(&host, &[&given, "cgroup:/system.slice/chat.service"]);
        let found = proc.look(Instant::now()).unwrap();
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].place, Place::Cgroup("/system.slice/chat.service".into()));
        assert_eq!((found[0].name.as_str(), found[0].claims.as_slice()), ("chat.service", &[0, 1][..]));
    }

    #[test]
    fn what_is_near_a_path_that_does_not_exist_is_told() {
        let host = Host::new();
        for name in
            ["chat.service", "cron.service", "dbus.service", "a.scope", "b.scope", "c.scope", "d.scope"]
        {
            host.cgroup(&format!("/system.slice/{name}"));
        }
        let near = |path: &str| near(&host.hierarchy(), Path::new(path));
        let told = near("/system.slice/chatt.service");
        assert!(told.starts_with("/system.slice has chat.service, cron.service, "), "{told}");
        assert_eq!(told.matches(", ").count(), NEAR - 1, "{told}");
        assert_eq!(near("/sytem.slice/chat.service"), "/ has system.slice");
        assert_eq!(near("/system.slice/a.scope/inner"), "/system.slice/a.scope has none");
        let mut proc = proc(&host, &["cgroup:/system.slice/chatt.service"]);
        proc.warn();
        proc.warn();
        assert_eq!(proc.warned.len(), 1);
    }

    #[test]
    fn processes_stand_for_where_they_are_and_some_cannot_be_observed() {
        let host = Host::new();
        host.process(5, b"0::/\n");
        host.process(6, b"0::/../b\n");
        host.process(7, b"0::/a\n");
        let mut proc = proc(&host, &["pid:5", "pid:6", "pid:7", "pid:7,app=x"]);
        let found = proc.look(Instant::now()).unwrap();
        let told: Vec<_> = found.iter().map(|it| (it.id.as_str(), it.claims.as_slice())).collect();
        assert_eq!(told, [("process:/", &[0][..]), ("process:/..", &[1]), ("process:/a", &[2, 3])]);
        assert_eq!(found[2].place, Place::Around("/a".into()));
        for (index, what) in [(0, "root cgroup"), (1, "cgroup namespace")] {
            let Place::Unobservable { reason, .. } = &found[index].place else { panic!("{found:?}") };
            assert!(reason.contains(what), "{reason}");
        }
    }
}
