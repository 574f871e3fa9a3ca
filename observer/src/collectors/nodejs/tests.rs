//! Processes that come, count, change and end, as the kernel half would tell of them.
//! Processes are folders; nothing runs.

use std::{fs, path::Path, sync::RwLock};

use observer_ebpf::records::runtime::{Pause, Thread};

use super::*;
use crate::targets::{Labels, fixture::Fixed};

/// The kernel half's maps, at 100 s on its clock.
#[derive(Default)]
struct Maps {
    processes: RwLock<Vec<(u32, Process)>>,
    threads: RwLock<Vec<(u64, Thread)>>,
    shares: RwLock<BTreeMap<TargetId, u64>>,
}

impl Runtimes for Maps {
    fn processes(&self) -> anyhow::Result<Vec<(u32, Process)>> {
        Ok(self.processes.read().unwrap().clone())
    }

    fn threads(&self) -> anyhow::Result<Vec<(u64, Thread)>> {
        Ok(self.threads.read().unwrap().clone())
    }

    fn forget(&self, process: u32) -> anyhow::Result<()> {
        self.processes.write().unwrap().retain(|(id, _)| *id != process);
        Ok(())
    }

    fn settle_shares(&self, processes: &BTreeMap<TargetId, u64>) -> anyhow::Result<()> {
        self.shares.write().unwrap().clone_from(processes);
        Ok(())
    }

    fn now_ns(&self) -> u64 {
        100_000_000_000
    }
}

struct Host {
    proc: tempfile::TempDir,
    maps: Arc<Maps>,
    collector: NodeJsCollector,
    overflow: LabelOverflow,
}

impl Host {
    fn new(max_roles: usize) -> Self {
        Self::with_capacity(max_roles, 1024)
    }

    fn with_capacity(max_roles: usize, capacity: u32) -> Self {
        let target = Target {
            id: 1,
            labels: Labels { container: "chat".to_owned(), app: String::new() },
            info: crate::targets::Info::default(),
            cgroups: Vec::new(),
            restarts: 0,
        };
        let (proc, maps) = (tempfile::tempdir().unwrap(), Arc::new(Maps::default()));
        let overflow = LabelOverflow::default();
        let collector = NodeJsCollector::new(
            Arc::new(Fixed([target].into())),
            Arc::clone(&maps) as _,
            proc.path().to_owned(),
            overflow.clone(),
            Settings { max_roles, capacity, readers: Readers::here(proc.path().to_owned()) },
        );
        Self { proc, maps, collector, overflow }
    }

    fn process(&self, pid: u32, script: &str) {
        let folder = self.proc.path().join(pid.to_string());
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("comm"), "node\n").unwrap();
        fs::write(folder.join("cmdline"), format!("node\0{script}\0")).unwrap();
        let exe = folder.join("exe");
        if !exe.exists() {
            std::os::unix::fs::symlink(Path::new("/usr/bin/env"), exe).unwrap();
        }
    }

    fn ends(&self, pid: u32) {
        fs::remove_dir_all(self.proc.path().join(pid.to_string())).unwrap();
    }

    /// So many turns of 20 ms in the main thread, and of 200 ms in workers.
    fn counted(&self, pid: u32, main: u64, workers: u64) {
        let mut process = Process { target: 1, ..Process::EMPTY };
        process.main.busy.buckets[4] = main;
        process.main.busy.sum_ns = main * 20_000_000;
        process.workers.busy.buckets[7] = workers;
        process.workers.pauses[Pause::Scavenge as usize].buckets[0] = workers;
        let mut processes = self.maps.processes.write().unwrap();
        processes.retain(|(id, _)| *id != pid);
        processes.push((pid, process));
    }

    fn scrape(&self) -> String {
        let mut families = Families::new("chat");
        self.collector.collect(&mut families).unwrap();
        String::from_utf8(families.encode().unwrap()).unwrap()
    }
}

fn count(text: &str, role: &str) -> Option<u64> {
    let line = format!(
        "chat_nodejs_eventloop_busy_seconds_count{{container=\"chat\",app=\"\",process=\"{role}\"}} "
    );
    text.lines().find_map(|found| found.strip_prefix(&line)?.parse().ok())
}

#[test]
fn processes_of_a_role_add_up_and_stay_when_they_end() {
    let host = Host::new(4);
    host.process(7, "/app/server.js");
    host.process(8, "/app/server.js");
    host.counted(7, 3, 0);
    host.counted(8, 4, 0);
    let role = "env";
    assert_eq!(count(&host.scrape(), role), Some(7));
    host.counted(8, 6, 0);
    host.ends(8);
    assert_eq!(count(&host.scrape(), role), Some(9));
    assert_eq!(host.maps.processes().unwrap().len(), 1, "what has ended is taken out of the map");
    // Another process with the same number starts from nothing.
    host.process(8, "/app/server.js");
    host.counted(8, 1, 0);
    assert_eq!(count(&host.scrape(), role), Some(10));
    assert_eq!(count(&host.scrape(), role), Some(10), "nothing counts twice");
}

#[test]
fn worker_threads_have_a_role_of_their_own_only_where_there_are_some() {
    let host = Host::new(4);
    host.process(7, "");
    host.counted(7, 1, 0);
    assert!(!host.scrape().contains("worker_threads"));
    host.counted(7, 1, 5);
    let text = host.scrape();
    assert_eq!((count(&text, "env"), count(&text, "env worker_threads")), (Some(1), Some(5)), "{text}");
    assert!(text.contains("process=\"env worker_threads\",kind=\"scavenge\"} 5"), "{text}");
    assert!(!text.contains("kind=\"mark_compact\""), "a kind that never was: {text}");
}

#[test]
fn the_longest_turn_that_runs_shows_and_heaps_add_up() {
    let host = Host::new(4);
    for pid in [7, 8] {
        host.process(pid, "");
        host.counted(pid, 1, 0);
    }
    let thread = |turn_ns, heap_used| Thread { turn_ns, heap_used, ..Thread::new(1) };
    *host.maps.threads.write().unwrap() = vec![
        (7 << 32 | 7, thread(98_000_000_000, 1000)),
        (8 << 32 | 8, thread(0, 2000)),
        (9 << 32 | 9, thread(1, 4000)),
    ];
    let text = host.scrape();
    let line = |name: &str, value: &str| {
        format!("chat_nodejs_{name}{{container=\"chat\",app=\"\",process=\"env\"}} {value}\n")
    };
    assert!(text.contains(&line("eventloop_blocked_seconds", "2")), "{text}");
    assert!(text.contains(&line("heap_used_bytes", "3000")), "{text}");
}

#[test]
fn a_process_that_ended_early_keeps_the_role_it_started_with() {
    let host = Host::new(4);
    host.process(7, "");
    host.collector.started(1, 7);
    host.counted(7, 2, 0);
    host.ends(7);
    host.counted(9, 1, 0);
    let text = host.scrape();
    assert_eq!((count(&text, "env"), count(&text, "unknown")), (Some(2), Some(1)), "{text}");
}

#[test]
fn past_the_limit_of_roles_the_role_is_other() {
    let host = Host::new(1);
    host.process(7, "");
    host.counted(7, 2, 1);
    host.scrape();
    host.counted(9, 3, 1);
    let text = host.scrape();
    assert_eq!((count(&text, "env"), count(&text, "other")), (Some(2), Some(3)), "{text}");
    assert_eq!(count(&text, "other worker_threads"), Some(1), "{text}");
    assert_eq!(host.overflow.counts()[0].overflows, 1);
}

#[test]
fn a_target_with_too_many_processes_makes_room_for_others() {
    let host = Host::with_capacity(4, 12);
    for pid in 1..=9 {
        host.process(pid, "/app/server.js");
        host.counted(pid, 1, 0);
    }
    host.scrape();
    assert_eq!(host.maps.processes.read().unwrap().len(), 9, "there is room enough");
    for pid in 10..=12 {
        host.process(pid, "/app/server.js");
        host.counted(pid, 1, 0);
    }
    assert_eq!(count(&host.scrape(), "env"), Some(12), "what they had counted stays");
    let mut left: Vec<u32> = host.maps.processes.read().unwrap().iter().map(|(id, _)| *id).collect();
    left.sort_unstable();
    assert_eq!(left, [1, 2, 3, 4, 5, 6, 7, 8], "the oldest keep their places");
    assert_eq!(
        *host.maps.shares.read().unwrap(),
        [(1, 8)].into(),
        "the kernel half is told what is left of them"
    );
}
