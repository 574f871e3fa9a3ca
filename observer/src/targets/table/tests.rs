//! Tests of the targets' lives, on a fixture tree and with an attacher that remembers what it was told.
//! Time is a value, so that nothing waits.

use super::*;
use crate::targets::{
    Info, Labels,
    fixture::{Attached, Host, Recorder},
};

struct Life {
    host: Host,
    recorder: Recorder,
    table: Table<Recorder>,
    now: Instant,
}

impl Life {
    fn new() -> Self {
        let host = Host::new();
        let recorder = Recorder::default();
        let table = Table::new(recorder.clone(), host.hierarchy(), Duration::from_mins(5));
        Self { host, recorder, table, now: Instant::now() }
    }

    fn wait(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
    }

    /// A pass in which these cgroups are matched, each by its own selector and labelled by its last component.
    fn pass(&mut self, cgroups: &[&Cgroup]) {
        let found = |(selector, cgroup): (usize, &&Cgroup)| {
            let labelled = labelled(selector, cgroup, &name(cgroup));
            ((*cgroup).clone(), labelled)
        };
        self.table.reconcile(cgroups.iter().enumerate().map(found).collect(), self.now);
    }

    fn only_target(&self) -> Target {
        let targets = self.table.targets();
        assert_eq!(targets.len(), 1, "{targets:?}");
        targets[0].clone()
    }
}

fn name(cgroup: &Cgroup) -> String {
    cgroup.path.file_name().unwrap().to_str().unwrap().to_owned()
}

/// A workload that its source knows by the path of its cgroup.
fn labelled(selector: usize, cgroup: &Cgroup, container: &str) -> Match {
    let labels = Labels { container: container.to_owned(), app: String::new() };
    let identity = Identity { source: "proc", id: cgroup.path.display().to_string() };
    Match { selector, identity, labels, info: Info::default() }
}

#[test]
fn a_restart_with_another_cgroup_keeps_the_number_and_counts() {
    let mut life = Life::new();
    let first = life.host.cgroup("/docker/web");
    life.pass(&[&first]);
    let before = life.only_target();
    assert_eq!((before.id, before.restarts, before.cgroups.as_slice()), (1, 0, &[first.clone()][..]));
    life.pass(&[]);
    assert!(life.only_target().cgroups.is_empty());
    let second = life.host.recreate("/docker/web");
    life.pass(&[&second]);
    let after = life.only_target();
    assert_eq!((after.id, after.restarts, after.cgroups.as_slice()), (1, 1, &[second.clone()][..]));
    // Found under its path with another id, without having been seen to go.
    let third = life.host.recreate("/docker/web");
    life.pass(&[&third]);
    assert_eq!(life.only_target().restarts, 2);
    let attached = [1, 2, 3].map(|_| 1);
    assert_eq!(life.recorder.attached_ever(), attached);
    assert_eq!(life.recorder.attached_now(), [Attached { target: 1, cgroup: third.id }]);
    assert!(life.recorder.forgotten().is_empty());
}

#[test]
fn running_empty_and_full_again_counts_but_a_first_process_does_not() {
    let mut life = Life::new();
    let cgroup = life.host.cgroup("/web");
    life.host.populate("/web", false);
    life.pass(&[&cgroup]);
    life.host.populate("/web", true);
    life.pass(&[&cgroup]);
    assert_eq!(life.only_target().restarts, 0);
    life.host.populate("/web", false);
    life.pass(&[&cgroup]);
    assert_eq!(life.only_target().restarts, 0);
    life.host.populate("/web", true);
    life.pass(&[&cgroup]);
    life.pass(&[&cgroup]);
    assert_eq!(life.only_target().restarts, 1);
    assert_eq!(life.recorder.attached_ever(), [1]);
}

#[test]
fn a_target_that_left_is_detached_at_once_and_lingers() {
    let mut life = Life::new();
    let cgroup = life.host.cgroup("/web");
    life.pass(&[&cgroup]);
    assert!(!life.table.leave_if(&cgroup.path, cgroup.id + 1, life.now), "another cgroup of that path");
    let elsewhere = PathBuf::from("/machine/other");
    assert!(!life.table.leave_if(&elsewhere, cgroup.id, life.now), "another path");
    let from_above = PathBuf::from(format!("/machine{}", cgroup.path.display()));
    assert!(life.table.leave_if(&from_above, cgroup.id, life.now));
    assert!(life.recorder.attached_now().is_empty());
    life.wait(299);
    life.pass(&[]);
    assert_eq!(life.only_target().id, 1);
    life.wait(1);
    life.pass(&[]);
    assert!(life.table.targets().is_empty());
    assert_eq!(life.recorder.forgotten(), [1]);
    life.pass(&[&cgroup]);
    let target = life.only_target();
    assert_eq!((target.id, target.restarts), (2, 0), "a new life under a new number");
}

#[test]
fn two_workloads_of_the_same_labels_are_two_targets_whose_counts_stay_together() {
    let mut life = Life::new();
    let (one, two) = (life.host.cgroup("/a/web"), life.host.cgroup("/b/web"));
    life.pass(&[&one, &two]);
    let numbers = |life: &Life| life.table.targets().iter().map(|it| it.id).collect::<Vec<_>>();
    assert_eq!(numbers(&life), [1, 2]);
    let second = |life: &mut Life| {
        let found = labelled(1, &two, "web");
        life.table.reconcile(vec![(two.clone(), found)], life.now);
    };
    second(&mut life);
    life.wait(3600);
    second(&mut life);
    assert_eq!(numbers(&life), [1, 2], "what the first counted is in the series of both");
    // A third takes the place of the one that has gone.
    let three = life.host.cgroup("/c/web");
    life.table.observe(three.clone(), labelled(0, &three, "web"), life.now);
    assert_eq!(numbers(&life), [1, 2]);
    assert_eq!(life.table.targets()[0].cgroups, [three]);
    life.pass(&[]);
    life.wait(300);
    life.pass(&[]);
    assert!(numbers(&life).is_empty());
    assert_eq!(life.recorder.forgotten(), [1, 2]);
}

#[test]
fn new_labels_change_nothing_but_the_labels() {
    let mut life = Life::new();
    let cgroup = life.host.cgroup("/web");
    life.pass(&[&cgroup]);
    let before = life.only_target();
    for round in 0..50 {
        let name = format!("name-{round}");
        life.table.observe(cgroup.clone(), labelled(0, &cgroup, &name), life.now);
        let after = life.only_target();
        assert_eq!(after.labels.container, name);
        assert_eq!((after.id, after.restarts, &after.cgroups), (before.id, 0, &before.cgroups));
    }
    assert_eq!(life.recorder.attached_ever(), [1], "attached once");
    // Its source knows it under another name when it comes back.
    life.pass(&[]);
    let again = life.host.recreate("/web");
    life.table.observe(again.clone(), labelled(0, &again, "again"), life.now);
    assert_eq!((life.only_target().id, life.only_target().restarts), (1, 1));
}

#[test]
fn another_source_that_knows_the_cgroup_too_takes_it_over() {
    let mut life = Life::new();
    let cgroup = life.host.cgroup("/docker/web");
    life.pass(&[&cgroup]);
    let identity = Identity { source: "docker", id: "1234".to_owned() };
    let found = Match { identity: identity.clone(), ..labelled(0, &cgroup, "web") };
    life.table.observe(cgroup.clone(), found, life.now);
    assert_eq!(life.only_target().id, 1);
    life.pass(&[]);
    let again = life.host.cgroup("/elsewhere/web");
    let found = Match { identity, ..labelled(0, &again, "web") };
    life.table.observe(again, found, life.now);
    assert_eq!((life.only_target().id, life.only_target().restarts), (1, 1));
}

#[test]
fn a_restart_in_place_counts_once_however_it_is_seen() {
    let mut life = Life::new();
    let cgroup = life.host.cgroup("/web");
    life.pass(&[&cgroup]);
    for restart in 1..=4 {
        // It ends and starts, is not found until its port is open, and is found again.
        life.table.populated(cgroup.id, false);
        if restart % 2 == 0 {
            life.table.populated(cgroup.id, true);
        }
        life.pass(&[]);
        life.wait(2);
        life.pass(&[]);
        life.pass(&[&cgroup]);
        life.pass(&[&cgroup]);
        assert_eq!(life.only_target().restarts, restart);
        assert_eq!(life.only_target().id, 1);
    }
    for restart in 5..=10 {
        life.table.populated(cgroup.id, false);
        life.table.populated(cgroup.id, true);
        assert_eq!(life.only_target().restarts, restart, "between two looks");
        life.pass(&[&cgroup]);
    }
}

#[test]
fn what_cannot_be_attached_fails_and_is_retried_ever_less_often() {
    let mut life = Life::new();
    let cgroup = life.host.cgroup("/web");
    life.recorder.fail(Some("no room"));
    let mut attempts = Vec::new();
    for second in 0..130 {
        let before = life.recorder.calls();
        life.pass(&[&cgroup]);
        if life.recorder.calls() > before {
            attempts.push(second);
        }
        life.wait(1);
    }
    assert_eq!(attempts, [0, 1, 3, 7, 15, 31, 63, 123]);
    assert!(life.table.targets().is_empty(), "what was never observed has no series");
    assert_eq!(life.table.failures().values().next().unwrap().reason, "no room");
    life.recorder.fail(None);
    life.wait(60);
    life.pass(&[&cgroup]);
    assert!(life.table.failures().is_empty());
    assert_eq!(life.only_target().cgroups, [cgroup]);
}

#[test]
fn a_new_cgroup_of_the_same_path_is_tried_at_once_and_a_failure_leaves_with_its_match() {
    let mut life = Life::new();
    let cgroup = life.host.cgroup("/web");
    life.recorder.fail(Some("no room"));
    life.pass(&[&cgroup]);
    let again = life.host.recreate("/web");
    life.pass(&[&again]);
    assert_eq!(life.recorder.calls(), 2);
    life.pass(&[]);
    assert!(life.table.failures().is_empty());
}

#[test]
fn a_cgroup_removed_while_attaching_just_leaves() {
    let mut life = Life::new();
    let cgroup = life.host.cgroup("/web");
    life.recorder.fail(Some("No such file or directory"));
    life.host.remove_cgroup("/web");
    life.pass(&[&cgroup]);
    assert!(life.table.failures().is_empty() && life.table.targets().is_empty());
}

#[test]
fn nested_targets_are_all_observed_and_the_innermost_is_attached_first() {
    let mut life = Life::new();
    let (outer, inner) = (life.host.cgroup("/docker"), life.host.cgroup("/docker/web"));
    let beside = life.host.cgroup("/docker-other");
    life.pass(&[&outer, &inner, &beside]);
    assert!(life.table.failures().is_empty());
    let order: Vec<String> = life.table.targets().iter().map(|it| it.labels.container.clone()).collect();
    assert_eq!(order, ["web", "docker", "docker-other"]);
    life.pass(&[&outer, &beside]);
    assert_eq!(life.recorder.attached_now().len(), 2);
}

#[test]
fn what_one_selector_finds_inside_its_own_target_belongs_to_that() {
    let mut life = Life::new();
    let (outer, inner) = (life.host.cgroup("/docker"), life.host.cgroup("/docker/a/web"));
    let matched = [&inner, &outer].map(|cgroup| (cgroup.clone(), labelled(0, cgroup, &name(cgroup))));
    life.table.reconcile(matched.to_vec(), life.now);
    assert_eq!(life.only_target().labels.container, "docker");
    life.table.observe(inner.clone(), labelled(0, &inner, "web"), life.now);
    assert_eq!(life.only_target().cgroups, [outer]);
    assert!(life.table.failures().is_empty());
}

#[test]
fn a_thousand_targets_cost_little() {
    let mut life = Life::new();
    let cgroups: Vec<Cgroup> = (0..1000).map(|index| life.host.cgroup(&format!("/g/t{index}"))).collect();
    life.pass(&cgroups.iter().collect::<Vec<_>>());
    life.pass(&cgroups.iter().collect::<Vec<_>>());
    assert_eq!(life.table.targets().len(), 1000);
    assert_eq!(life.recorder.calls(), 1000, "a second pass attaches nothing again");
}
