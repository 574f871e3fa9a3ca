//! Collections of a process of Node.js, beside what `PerformanceObserver` tells inside of it: their number by kind, the sum
//! of their pauses, and the heap after the last. The program is fixtures/nodejs/collections.js, run with `--expose-gc`.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use crate::{agent::Agent, nodejs::Steps};

const PAUSES: &str = "chat_nodejs_gc_duration_seconds";
const KINDS: [&str; 5] = ["scavenge", "minor_mark_compact", "mark_compact", "incremental", "weak_callbacks"];
/// What both sides may differ by, of sums of pauses and of the heap.
const TOLERANCE: f64 = 0.05;
/// What the begin and the end of a pause may differ by on their own, in milliseconds, for kinds that hardly take longer.
const SHORT: f64 = 0.02;

/// Pauses of one kind.
#[derive(Debug, Default, Deserialize)]
struct Pauses {
    count: f64,
    milliseconds: f64,
}

/// Lets the program collect, and compares; it is the only target of the agent, which has probed nothing before.
pub fn compare(agent: &mut Agent, steps: &mut Steps) -> Result<()> {
    let found: String = steps.told("ready")?;
    agent.process().wait_for("probes", Duration::from_mins(1), |line| {
        line.contains("probing an executable").then_some(())
    })?;
    let before = agent.scrape()?;
    steps.proceed()?;
    let all: BTreeMap<String, Pauses> = steps.told("collected")?;
    let after = agent.scrape()?;
    let of = |kind: &str, what: &str| {
        let name = format!("{PAUSES}_{what}");
        after.sum(&name, &[("kind", kind)]) - before.sum(&name, &[("kind", kind)])
    };
    for kind in KINDS {
        let none = Pauses::default();
        let told = all.get(kind).unwrap_or(&none);
        let (count, milliseconds) = (of(kind, "count"), of(kind, "sum") * 1e3);
        println!("{found} {kind}: {count} and {milliseconds:.2} ms, told {told:?}");
        ensure!((count - told.count).abs() < 0.5, "{found}: {count} pauses for {kind}, told {told:?}");
        let room = told.milliseconds * TOLERANCE + told.count * SHORT;
        ensure!(
            (milliseconds - told.milliseconds).abs() <= room,
            "{found}: {milliseconds} ms of pauses for {kind}, told {told:?}"
        );
    }
    ensure!(all.contains_key("scavenge") && all.contains_key("mark_compact"), "it collected too little");

    // Asking V8 updates the figure, so it is read before.
    let heap = after.get("chat_nodejs_heap_used_bytes", &[]).context("no heap")?;
    steps.proceed()?;
    let used: f64 = steps.told("heap")?;
    println!("{found} heap: {heap}, told {used}");
    ensure!((heap - used).abs() <= used * TOLERANCE, "{found}: a heap of {heap} bytes, told {used}");
    ensure!(used > 20e6, "the heap holds too little to compare: {used}");
    Ok(())
}
