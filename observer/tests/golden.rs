//! A scrape of a host that is a folder of files equals the golden file, to the byte.
//! Everything that differs between machines is fixed: build, targets, processes, cgroups.

#![expect(clippy::unwrap_used, reason = "a test's helpers fail by panicking")]

use std::{fs, path::Path, sync::Arc};

use observer::{
    cgroup::{Hierarchy, mounts::CgroupMounts},
    collectors::{
        Registry,
        agent::{Agent, BuildInfo},
        container::ContainerCollector,
        overflow::LabelOverflow,
        process::{MAX_ROLES, ProcessCollector, Settings},
        scraper::Scraper,
        target::TargetCollector,
    },
    kernel::{Kills, OomKills},
    profiles::Profiles,
    reading::Readers,
    targets::{Cgroup, Info, Labels, StateCounts, Target, TargetList},
};

const CONTAINER: &str = "8a1f5c0b97d24e63b0c1d2e3f405162738495a6b7c8d9e0f1a2b3c4d5e6f7081";

/// A container with everything, one that has run empty, and one that is gone but lingers.
struct Fixture(Arc<[Target]>);

impl TargetList for Fixture {
    fn targets(&self) -> Arc<[Target]> {
        Arc::clone(&self.0)
    }

    fn state_counts(&self) -> StateCounts {
        StateCounts { observed: 3, waiting: 1, failed: 0 }
    }
}

/// A kernel half that has seen no kill.
struct NoKills;

impl OomKills for NoKills {
    fn take(&self) -> anyhow::Result<Kills> {
        Ok(Kills::default())
    }
}

fn target(id: u32, container: &str, app: &str, info: Info, cgroup: Option<String>) -> Target {
    let cgroups = cgroup.map(|name| Cgroup { path: Path::new("/docker").join(name), id: u64::from(id) });
    Target {
        id,
        labels: Labels { container: container.to_owned(), app: app.to_owned() },
        info,
        cgroups: cgroups.into_iter().collect(),
        restarts: u64::from(id) - 1,
    }
}

fn targets() -> Arc<dyn TargetList> {
    let info = Info {
        image: "lobehub/lobe-chat:1.143.3".to_owned(),
        image_digest: "sha256:3f1c".to_owned(),
        container_id: "8a1f5c0b97d2".to_owned(),
        runtime: "docker".to_owned(),
        version: "1.143.3".to_owned(),
        ..Info::default()
    };
    Arc::new(Fixture(Arc::new([
        target(1, "lobe-chat", "lobechat", info, Some(CONTAINER.to_owned())),
        target(2, "idle", "", Info::default(), Some("empty".to_owned())),
        target(3, "gone \"quoted\"", "", Info::default(), None),
    ])))
}

/// The mounts of a fixture: those of its `mountinfo`, moved from `/sys/fs/cgroup` into its folder.
fn mounts(folder: &Path, unified: &str) -> Arc<CgroupMounts> {
    let mountinfo = fs::read_to_string(folder.join("mountinfo")).unwrap();
    let moved = mountinfo.replace("/sys/fs/cgroup", folder.to_str().unwrap());
    Arc::new(CgroupMounts::parse(Hierarchy::at(folder.join(unified)), &moved))
}

fn scrape(cgroups: &str, unified: &str) -> String {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let proc_root = fixtures.join("proc");
    let mounts = mounts(&fixtures.join(cgroups), unified);
    let overflow = LabelOverflow::default();
    let profiles = Profiles::compiled_in().unwrap();
    let processes = Settings {
        max_roles: MAX_ROLES,
        proportional_memory: true,
        profiles,
        readers: Readers::here(proc_root.clone()),
    };
    let mut registry = Registry::default();
    registry.register(TargetCollector::new(targets(), Arc::clone(&mounts)));
    registry.register(ProcessCollector::new(
        targets(),
        proc_root.clone(),
        Arc::clone(&mounts),
        overflow.clone(),
        processes,
    ));
    registry.register(ContainerCollector::new(targets(), proc_root.clone(), mounts, Arc::new(NoKills)));
    let build = BuildInfo {
        version: "1.2.3".to_owned(),
        revision: "abcdef0".to_owned(),
        kernel: "6.18.44".to_owned(),
    };
    let agent = Agent::new(targets(), proc_root, build, overflow);
    let text = Scraper::new(registry, agent, "chat").scrape().unwrap();
    String::from_utf8(text).unwrap()
}

fn compare(cgroups: &str, unified: &str, golden: &str) {
    let text = scrape(cgroups, unified);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(golden);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, &text).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap();
    let lines = expected.lines().count().max(text.lines().count());
    for line in 0..lines {
        let (expected, found) = (expected.lines().nth(line), text.lines().nth(line));
        assert_eq!(found, expected, "line {} of {}", line + 1, path.display());
    }
    assert_eq!(text, expected);
}

#[test]
fn a_unified_host() {
    compare("cgroup-unified", "", "metrics-unified.txt");
}

#[test]
fn a_hybrid_host() {
    compare("cgroup-hybrid", "unified", "metrics-hybrid.txt");
}
