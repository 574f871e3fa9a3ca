//! The metrics of processes, and how the series of one role are written.
//! A role without a live process keeps its counters and shows zeroes.

use super::{
    super::{Families, Kind, Metric},
    totals::{Proportional, Sums, Totals},
};

pub(crate) static METRICS: [Metric; 12] = [
    Metric::of_target("processes", Kind::Gauge, &["process"], "Live processes."),
    Metric::of_target(
        "process_cpu_seconds_total",
        Kind::Counter,
        &["process", "mode"],
        "CPU time of all threads, as of the last scrape that saw the process.",
    ),
    Metric::of_target(
        "process_resident_memory_bytes",
        Kind::Gauge,
        &["process"],
        "Resident memory; pages that processes share count for each of them.",
    ),
    Metric::of_target(
        "process_proportional_memory_bytes",
        Kind::Gauge,
        &["process"],
        "Resident memory, with a page that n processes share counted as an nth for each, so that roles add up; only with \
         processes.pss, and only where all processes of the role may be read.",
    ),
    Metric::of_target(
        "process_virtual_memory_bytes",
        Kind::Gauge,
        &["process"],
        "Size of the address spaces.",
    ),
    Metric::of_target("process_open_fds", Kind::Gauge, &["process"], "Open file descriptors."),
    Metric::of_target(
        "process_max_fds",
        Kind::Gauge,
        &["process"],
        "Lowest soft limit of open files among the role's processes; it holds for each process by itself.",
    )
    .lowest(),
    Metric::of_target("process_threads", Kind::Gauge, &["process"], "Threads."),
    Metric::of_target(
        "process_start_time_seconds",
        Kind::Gauge,
        &["process"],
        "Start of the role's oldest process, in seconds since the epoch.",
    )
    .lowest(),
    Metric::of_target(
        "process_restarts_total",
        Kind::Counter,
        &["process"],
        "Processes of the role that started in the place of one that had ended, while the target lived on.",
    ),
    Metric::of_target(
        "process_context_switches_total",
        Kind::Counter,
        &["process", "type"],
        "Context switches of the main threads, as of the last scrape that saw the process.",
    ),
    Metric::of_target(
        "process_io_bytes_total",
        Kind::Counter,
        &["process", "direction"],
        "Bytes read from and written to storage, as of the last scrape that saw the process.",
    ),
];

/// Writes the series of one role. `labels` are container, app and role; `boot` is when the machine booted, in seconds
/// since the epoch.
pub(super) fn write(
    families: &mut Families,
    labels: [&str; 3],
    totals: &Totals,
    sums: &Sums,
    boot: Option<u64>,
) {
    let [
        processes,
        cpu_seconds,
        resident,
        proportional,
        virtual_memory,
        open_fds,
        max_fds,
        threads,
        start_time,
        restarts,
        context_switches,
        io_bytes,
    ] = &METRICS;
    families.value(processes, &labels, sums.processes as f64);
    families.value(resident, &labels, sums.resident_bytes as f64);
    families.value(virtual_memory, &labels, sums.virtual_bytes as f64);
    families.value(threads, &labels, sums.threads as f64);
    families.value(restarts, &labels, totals.restarts as f64);
    let ticks_per_second = procfs::ticks_per_second() as f64;
    let start = sums.oldest_start_ticks.zip(boot);
    let start = start.map(|(ticks, boot)| boot as f64 + ticks as f64 / ticks_per_second);
    let open = sums.open_fds.map(|open| open as f64);
    let max = sums.max_fds.map(|max| max as f64);
    let share = match sums.proportional {
        Proportional::Bytes(bytes) => Some(bytes as f64),
        Proportional::NotRead | Proportional::Refused => None,
    };
    for (metric, value) in [(open_fds, open), (max_fds, max), (start_time, start), (proportional, share)] {
        if let Some(value) = value {
            families.value(metric, &labels, value);
        }
    }
    let [container, app, role] = labels;
    let mut counter = |metric, kind, value| families.value(metric, &[container, app, role, kind], value);
    counter(cpu_seconds, "user", totals.user_ticks as f64 / ticks_per_second);
    counter(cpu_seconds, "system", totals.system_ticks as f64 / ticks_per_second);
    counter(context_switches, "voluntary", totals.voluntary_switches as f64);
    counter(context_switches, "involuntary", totals.involuntary_switches as f64);
    if let Some((read, written)) = totals.io {
        counter(io_bytes, "read", read as f64);
        counter(io_bytes, "write", written as f64);
    }
}
