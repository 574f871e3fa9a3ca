//! What stands in a document beside what was measured: the machine and the day.

use std::{fs, process::Command, thread, time::SystemTime};

/// Cores, processor and kernel.
pub fn describe() -> String {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("unknown processor", |(_, model)| model);
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let node = Command::new("node").arg("--version").output().map(|run| run.stdout).unwrap_or_default();
    let node = String::from_utf8_lossy(&node);
    format!("{cores} cores, {model}, Linux {}, Node.js {}", release.trim(), node.trim())
}

/// The day, as `2026-01-31`.
pub fn today() -> String {
    let now = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    now.split('T').next().unwrap_or_default().to_owned()
}
