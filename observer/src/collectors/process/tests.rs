//! Tests of the process collector: on a real child beside `/proc`, and on a made-up `/proc` where processes come and go.
//! The cgroup directories are plain folders: all that is read of them is `cgroup.procs`.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
};

use super::*;
use crate::{
    cgroup::{Cgroup, Hierarchy},
    targets::{Labels, fixture::Fixed},
};

/// A collector of one target, whose only cgroup is the folder `cgroup` below `root`.
fn collector(root: &Path, proc_root: &Path, max_roles: usize) -> (ProcessCollector, LabelOverflow) {
    let target = Target {
        id: 1,
        labels: Labels { container: "c".to_owned(), app: String::new() },
        info: crate::targets::Info::default(),
        cgroups: vec![Cgroup { path: "/cgroup".into(), id: 1 }],
        restarts: 0,
    };
    let mounts = CgroupMounts { unified: Hierarchy::at(root), v1: Vec::new() };
    let overflow = LabelOverflow::default();
    fs::create_dir_all(root.join("cgroup")).unwrap();
    let targets = Arc::new(Fixed(Arc::new([target])));
    let profiles = Profiles::compiled_in().unwrap();
    let settings = Settings {
        max_roles,
        proportional_memory: true,
        profiles,
        readers: Readers::here(proc_root.to_owned()),
    };
    let collector =
        ProcessCollector::new(targets, proc_root.to_owned(), Arc::new(mounts), overflow.clone(), settings);
    (collector, overflow)
}

fn scrape(collector: &ProcessCollector) -> String {
    let mut families = Families::new("chat");
    collector.collect(&mut families).unwrap();
    String::from_utf8(families.encode().unwrap()).unwrap()
}

/// The value of the series that starts with `series`, which may leave out its last labels.
fn value(text: &str, series: &str) -> Option<f64> {
    let line = text.lines().find(|line| line.starts_with(series))?;
    line.rsplit(' ').next()?.parse().ok()
}

/// A child that is killed and reaped when the test ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[test]
fn a_live_process_reads_as_proc_says() {
    let root = tempfile::tempdir().unwrap();
    let (collector, _) = collector(root.path(), Path::new("/proc"), MAX_ROLES);
    let mut command = Command::new("sleep");
    let child = Running(command.arg("600").stdin(Stdio::null()).spawn().unwrap());
    let pid = child.0.id();
    fs::write(root.path().join("cgroup/cgroup.procs"), format!("{pid}\n4194303\n")).unwrap();
    let own = procfs::process::Process::new(pid.cast_signed()).unwrap();
    // Until it sleeps it has not opened its libraries: only then do its numbers stand still.
    let asleep = || own.wchan().is_ok_and(|place| place.contains("nanosleep")) && own.exe().is_ok();
    for _ in 0..500 {
        if asleep() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    // What it shares with processes that come and go changes all the time: what stood still was the same meanwhile.
    let share = || own.smaps_rollup().unwrap().memory_map_rollup.0[0].extension.map["Pss"];
    let (text, share) = (0..500)
        .find_map(|_| {
            let before = share();
            let text = scrape(&collector);
            (share() == before).then_some((text, before))
        })
        .unwrap();
    let series = |metric: &str| {
        value(&text, &format!("chat_{metric}{{container=\"c\",app=\"\",process=\"sleep\"")).unwrap()
    };
    let times = own.stat().unwrap();
    let memory = own.status().unwrap();
    let exact = |metric: &str, expected: f64| {
        assert!((series(metric) - expected).abs() < 1e-6, "{metric}: {} is not {expected}", series(metric));
    };
    exact("processes", 1.0);
    exact("process_threads", times.num_threads as f64);
    exact("process_open_fds", own.fd_count().unwrap() as f64);
    let procfs::process::LimitValue::Value(max_fds) = own.limits().unwrap().max_open_files.soft_limit else {
        panic!("no limit of open files on this machine");
    };
    exact("process_max_fds", max_fds as f64);
    let ticks_per_second = procfs::ticks_per_second() as f64;
    let boot_time = procfs::boot_time_secs().unwrap() as f64;
    exact("process_start_time_seconds", boot_time + times.starttime as f64 / ticks_per_second);
    exact("process_resident_memory_bytes", memory.vmrss.unwrap() as f64 * 1024.0);
    exact("process_virtual_memory_bytes", times.vsize as f64);
    exact("process_proportional_memory_bytes", share as f64);
    exact("process_cpu_seconds_total", times.stime as f64 / ticks_per_second);
    exact("process_context_switches_total", memory.nonvoluntary_ctxt_switches.unwrap() as f64);
    exact("process_io_bytes_total", own.io().unwrap().read_bytes as f64);
}

/// Writes a process of a made-up `/proc`, with its CPU time in ticks.
fn write_process(root: &Path, pid: u32, start: u64, name: &str, user_ticks: u64) {
    let directory = root.join(format!("proc/{pid}"));
    fs::create_dir_all(&directory).unwrap();
    let before_start = format!("{pid} ({name}) S 1 {pid} {pid} 0 -1 0 0 0 0 0 {user_ticks} 0 0 0 20 0 1 0");
    let line = format!("{before_start} {start} 0 0 0{}", " 0".repeat(27));
    fs::write(directory.join("stat"), line).unwrap();
    fs::write(directory.join("status"), "VmRSS:\t4 kB\nvoluntary_ctxt_switches:\t1\n").unwrap();
    fs::write(directory.join("cmdline"), format!("{name}\0")).unwrap();
    fs::write(directory.join("smaps_rollup"), "Rss:   9 kB\nPss:   3 kB\n").unwrap();
    fs::write(directory.join("io"), format!("read_bytes: {user_ticks}\nwrite_bytes: 0\n")).unwrap();
}

const CPU: &str = "chat_process_cpu_seconds_total{container=\"c\",app=\"\",process=\"web\",mode=\"user\"}";
const IO: &str = "chat_process_io_bytes_total{container=\"c\",app=\"\",process=\"web\",direction=\"read\"}";
const LIVE: &str = "chat_processes{container=\"c\",app=\"\",process=\"web\"}";

#[test]
fn totals_never_fall_when_processes_exit_or_pids_are_used_again() {
    let root = tempfile::tempdir().unwrap();
    let proc_root = root.path().join("proc");
    let (collector, _) = collector(root.path(), &proc_root, MAX_ROLES);
    let list = |pids: &str| fs::write(root.path().join("cgroup/cgroup.procs"), pids).unwrap();
    let expect = |live: f64, ticks: f64| {
        let text = scrape(&collector);
        assert_eq!(value(&text, LIVE), Some(live));
        let cpu = value(&text, CPU).unwrap();
        assert!((cpu * procfs::ticks_per_second() as f64 - ticks).abs() < 1e-6, "{cpu} s");
        assert_eq!(value(&text, IO), Some(ticks));
    };
    list("7\n8\n");
    write_process(root.path(), 7, 100, "web", 50);
    write_process(root.path(), 8, 100, "web", 30);
    expect(2.0, 80.0);
    write_process(root.path(), 7, 100, "web", 60);
    expect(2.0, 90.0);
    // 8 is listed, but gone before its files are read.
    fs::remove_dir_all(proc_root.join("8")).unwrap();
    expect(1.0, 90.0);
    // Its pid comes back as another process.
    write_process(root.path(), 8, 500, "web", 5);
    expect(2.0, 95.0);
    // The permission to read `io` goes and comes back.
    fs::rename(proc_root.join("7/io"), proc_root.join("7/hidden")).unwrap();
    expect(2.0, 95.0);
    fs::rename(proc_root.join("7/hidden"), proc_root.join("7/io")).unwrap();
    expect(2.0, 95.0);
    list("");
    expect(0.0, 95.0);
    let states = collector.states.lock().unwrap();
    assert!(states.values().all(|state| !state.remembers_processes()), "dead processes are forgotten");
}

const RESTARTS: &str = "chat_process_restarts_total{container=\"c\",app=\"\",process=\"web\"}";
const SHARE: &str = "chat_process_proportional_memory_bytes{container=\"c\",app=\"\",process=\"web\"}";

#[test]
fn a_process_in_the_place_of_another_is_a_restart_and_a_new_run_is_none() {
    let root = tempfile::tempdir().unwrap();
    let proc_root = root.path().join("proc");
    let (collector, _) = collector(root.path(), &proc_root, MAX_ROLES);
    let run = |pids: &[u32]| {
        let list = pids.iter().map(u32::to_string).collect::<Vec<_>>().join("\n");
        fs::write(root.path().join("cgroup/cgroup.procs"), list).unwrap();
        for pid in pids {
            write_process(root.path(), *pid, 100 + u64::from(*pid), "web", 1);
        }
        value(&scrape(&collector), RESTARTS)
    };
    assert_eq!(run(&[7, 8]), Some(0.0));
    assert_eq!(run(&[7, 8, 9]), Some(0.0), "one more");
    assert_eq!(run(&[7, 9]), Some(0.0), "one has ended");
    assert_eq!(run(&[7, 9, 10]), Some(1.0));
    assert_eq!(run(&[11, 12, 13]), Some(4.0), "all between two scrapes");
    assert_eq!(run(&[]), Some(4.0));
    assert_eq!(run(&[14, 15, 16]), Some(4.0), "the target starts again");
    assert_eq!(run(&[14, 15, 17]), Some(5.0));
}

#[test]
fn a_share_that_may_not_be_read_leaves_the_role_without_a_sum() {
    let root = tempfile::tempdir().unwrap();
    let proc_root = root.path().join("proc");
    let (collector, _) = collector(root.path(), &proc_root, MAX_ROLES);
    fs::write(root.path().join("cgroup/cgroup.procs"), "7\n8\n").unwrap();
    write_process(root.path(), 7, 100, "web", 1);
    write_process(root.path(), 8, 100, "web", 1);
    assert_eq!(value(&scrape(&collector), SHARE), Some(6144.0));
    fs::remove_file(proc_root.join("8/smaps_rollup")).unwrap();
    assert_eq!(value(&scrape(&collector), SHARE), None, "less than all would be wrong");
    fs::write(root.path().join("cgroup/cgroup.procs"), "").unwrap();
    assert_eq!(value(&scrape(&collector), SHARE), Some(0.0));
}

#[test]
fn a_process_that_changes_its_name_counts_on_in_its_new_role() {
    let root = tempfile::tempdir().unwrap();
    let (collector, _) = collector(root.path(), &root.path().join("proc"), MAX_ROLES);
    fs::write(root.path().join("cgroup/cgroup.procs"), "7\n").unwrap();
    write_process(root.path(), 7, 100, "sh", 50);
    scrape(&collector);
    write_process(root.path(), 7, 100, "web", 70);
    let text = scrape(&collector);
    let ticks = value(&text, CPU).unwrap() * procfs::ticks_per_second() as f64;
    assert!((ticks - 20.0).abs() < 1e-6, "{text}");
    assert_eq!(value(&text, "chat_processes{container=\"c\",app=\"\",process=\"sh\"}"), Some(0.0));
}

#[test]
fn roles_past_the_cap_are_other_and_counted() {
    let root = tempfile::tempdir().unwrap();
    let (collector, overflow) = collector(root.path(), &root.path().join("proc"), 2);
    fs::write(root.path().join("cgroup/cgroup.procs"), "7\n8\n9\n10\n").unwrap();
    for (pid, name) in [(7, "web"), (8, "worker"), (9, "cron"), (10, "mail")] {
        write_process(root.path(), pid, 100, name, 1);
    }
    scrape(&collector);
    let text = scrape(&collector);
    assert_eq!(value(&text, LIVE), Some(1.0));
    assert_eq!(value(&text, "chat_processes{container=\"c\",app=\"\",process=\"other\"}"), Some(2.0));
    assert_eq!(overflow.counts()[0].overflows, 2, "each process once, not once per scrape");
}
