//! Tests of the container collector on cgroup folders that change between scrapes.
//! What real files look like is pinned by the golden files.

use std::fs;

use super::*;
use crate::{
    cgroup::{Cgroup, Hierarchy},
    kernel::Ended,
    targets::{Labels, StateCounts},
};

/// A list of targets that a test replaces.
#[derive(Default)]
struct Changing(Mutex<Vec<Target>>);

impl TargetList for Changing {
    fn targets(&self) -> Arc<[Target]> {
        self.0.lock().unwrap().clone().into()
    }

    fn state_counts(&self) -> StateCounts {
        StateCounts::default()
    }
}

/// What the kernel half has counted, as a test says.
#[derive(Default)]
struct Counted(Mutex<Kills>);

impl OomKills for Counted {
    fn take(&self) -> anyhow::Result<Kills> {
        let mut kills = self.0.lock().unwrap();
        let ended = std::mem::take(&mut kills.ended);
        Ok(Kills { attached: kills.attached.clone(), ended })
    }
}

/// One target in a unified hierarchy that is a folder.
struct Host {
    root: tempfile::TempDir,
    targets: Arc<Changing>,
    kills: Arc<Counted>,
    collector: ContainerCollector,
}

impl Host {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let targets = Arc::new(Changing::default());
        let kills = Arc::new(Counted::default());
        let mounts = CgroupMounts { unified: Hierarchy::at(root.path()), v1: Vec::new() };
        let collector = ContainerCollector::new(
            Arc::clone(&targets) as Arc<dyn TargetList>,
            root.path().join("proc"),
            Arc::new(mounts),
            Arc::clone(&kills) as Arc<dyn OomKills>,
        );
        Self { root, targets, kills, collector }
    }

    fn attach(&self, cgroups: &[u64]) {
        let cgroup = |id: &u64| Cgroup { path: format!("/{id}").into(), id: *id };
        *self.targets.0.lock().unwrap() = vec![Target {
            id: 1,
            labels: Labels { container: "c".to_owned(), app: String::new() },
            info: crate::targets::Info::default(),
            cgroups: cgroups.iter().map(cgroup).collect(),
            restarts: 0,
        }];
    }

    fn write(&self, cgroup: u64, file: &str, text: &str) {
        let directory = self.root.path().join(cgroup.to_string());
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join(file), text).unwrap();
    }

    /// The values of a metric's series.
    fn values(&self, metric: &str) -> Vec<String> {
        let mut families = Families::new("chat");
        self.collector.collect(&mut families).unwrap();
        let text = String::from_utf8(families.encode().unwrap()).unwrap();
        let series = text.lines().filter(|line| line.starts_with(&format!("chat_{metric}{{")));
        series.map(|line| line.rsplit(' ').next().unwrap().to_owned()).collect()
    }
}

#[test]
fn a_cgroup_that_is_left_and_comes_back_goes_on_where_it_was() {
    let host = Host::new();
    let cpu = || host.values("container_cpu_usage_seconds_total");
    let cgroup = {
        host.write(5, "cpu.stat", "usage_usec 3000000\n");
        host.collector.mounts.unified.get(Path::new("/5")).unwrap()
    };
    let attach = |cgroups: Vec<Cgroup>| {
        host.attach(&[]);
        host.targets.0.lock().unwrap()[0].cgroups = cgroups;
    };
    attach(vec![cgroup.clone()]);
    assert_eq!(cpu(), ["3"]);
    for round in 0..4 {
        attach(Vec::new());
        assert_eq!(cpu(), [format!("{}", 3 + round)]);
        for seen in host.collector.states.lock().unwrap().get_mut(&1).unwrap().cgroups.values_mut() {
            seen.attached = seen.attached.and_then(|then| then.checked_sub(REMEMBERED));
        }
        assert_eq!(cpu(), [format!("{}", 3 + round)]);
        host.write(5, "cpu.stat", &format!("usage_usec {}000000\n", 4 + round));
        attach(vec![cgroup.clone()]);
        assert_eq!(cpu(), [format!("{}", 4 + round)], "what it used meanwhile, and once");
    }
    fs::remove_dir_all(host.root.path().join("5")).unwrap();
    attach(Vec::new());
    for seen in host.collector.states.lock().unwrap().get_mut(&1).unwrap().cgroups.values_mut() {
        seen.attached = seen.attached.and_then(|then| then.checked_sub(REMEMBERED));
    }
    assert_eq!(cpu(), ["7"]);
    assert!(host.collector.states.lock().unwrap()[&1].cgroups.is_empty(), "one that is gone is forgotten");
}

#[test]
fn counters_go_on_in_a_new_cgroup_and_stay_when_all_are_gone() {
    let host = Host::new();
    let cpu = || host.values("container_cpu_usage_seconds_total");
    host.attach(&[5]);
    host.write(5, "cpu.stat", "usage_usec 3000000\n");
    assert_eq!(cpu(), ["3"]);
    host.write(5, "cpu.stat", "usage_usec 4000000\n");
    assert_eq!(cpu(), ["4"]);
    // A restart: the old cgroup goes, a new one counts from zero.
    fs::remove_dir_all(host.root.path().join("5")).unwrap();
    assert_eq!(cpu(), ["4"]);
    host.attach(&[6]);
    host.write(6, "cpu.stat", "usage_usec 500000\n");
    assert_eq!(cpu(), ["4.5"]);
    host.attach(&[]);
    assert_eq!(cpu(), ["4.5"]);
    for seen in host.collector.states.lock().unwrap().get_mut(&1).unwrap().cgroups.values_mut() {
        seen.attached = seen.attached.and_then(|then| then.checked_sub(REMEMBERED));
    }
    assert_eq!(cpu(), ["4.5"]);
    assert!(host.collector.states.lock().unwrap()[&1].cgroups.is_empty());
    host.targets.0.lock().unwrap().clear();
    assert!(cpu().is_empty());
    assert!(host.collector.states.lock().unwrap().is_empty());
}

#[test]
fn several_cgroups_are_summed_and_have_a_limit_only_if_each_has() {
    let host = Host::new();
    host.attach(&[5, 6]);
    for cgroup in [5, 6] {
        host.write(cgroup, "memory.current", "1000\n");
        host.write(cgroup, "memory.stat", "inactive_file 400\n");
        host.write(cgroup, "memory.max", "4096\n");
    }
    assert_eq!(host.values("container_memory_usage_bytes"), ["2000"]);
    assert_eq!(host.values("container_memory_working_set_bytes"), ["1200"]);
    assert_eq!(host.values("container_memory_limit_bytes"), ["8192"]);
    host.write(6, "memory.max", "max\n");
    assert!(host.values("container_memory_limit_bytes").is_empty());
    assert!(host.values("container_oom_kills_total").is_empty(), "a file that is missing is no zero");
}

#[test]
fn a_kill_is_counted_once_whether_its_cgroup_is_still_there_or_not() {
    let host = Host::new();
    let kills = || host.values("container_oom_kills_total");
    let seen = |cgroup, kills| host.kills.0.lock().unwrap().attached.insert(cgroup, kills);
    let ended = |cgroup, kills| {
        let mut counted = host.kills.0.lock().unwrap();
        counted.attached.remove(&cgroup);
        counted.ended.push(Ended { target: 1, cgroup, kills });
    };
    host.attach(&[5]);
    host.write(5, "memory.events", "oom 2\noom_kill 2\n");
    assert_eq!(kills(), ["2"], "from before the agent");
    host.write(5, "memory.events", "oom 3\noom_kill 3\n");
    assert_eq!(kills(), ["3"], "picked");
    seen(5, 1);
    assert_eq!(kills(), ["3"], "and ended");
    // Its first process is killed, and the cgroup removed with its files.
    fs::remove_dir_all(host.root.path().join("5")).unwrap();
    ended(5, 2);
    host.attach(&[]);
    assert_eq!(kills(), ["4"]);
    // Restarts between two scrapes, of which no file was ever read.
    ended(6, 1);
    ended(7, 1);
    host.attach(&[8]);
    host.write(8, "memory.events", "oom_kill 0\n");
    assert_eq!(kills(), ["6"]);
    assert_eq!(kills(), ["6"]);
    // Told late: the list had it no more at the scrape before.
    seen(8, 1);
    host.write(8, "memory.events", "oom_kill 1\n");
    assert_eq!(kills(), ["7"]);
    host.attach(&[]);
    assert_eq!(kills(), ["7"]);
    ended(8, 1);
    assert_eq!(kills(), ["7"]);
}

#[test]
fn the_files_of_v1_are_read_where_v2_has_none() {
    let root = tempfile::tempdir().unwrap();
    let v1 = |text: &str| crate::cgroup::mounts::V1Mount {
        controllers: vec!["cpuacct", "cpu"],
        root: "/".into(),
        mount_point: root.path().join(text),
    };
    let mounts = CgroupMounts { unified: Hierarchy::at(root.path().join("unified")), v1: vec![v1("cpu")] };
    for (path, text) in [
        ("unified/5/cgroup.procs", ""),
        ("cpu/5/cpuacct.usage", "1500000000\n"),
        ("cpu/5/cpu.stat", "nr_periods 9\nthrottled_time 250000000\n"),
    ] {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let mut host = Host::new();
    host.collector = ContainerCollector::new(
        Arc::clone(&host.targets) as Arc<dyn TargetList>,
        "/proc".into(),
        Arc::new(mounts),
        Arc::new(Counted::default()),
    );
    host.attach(&[5]);
    assert_eq!(host.values("container_cpu_usage_seconds_total"), ["1.5"]);
    assert_eq!(host.values("container_cpu_throttled_seconds_total"), ["0.25"]);
}
