//! Event loops of four versions of Node.js that block as long as their programs say: every block counts in its bucket, and
//! one that lasts shows while it does. The programs' own clock and `monitorEventLoopDelay` are the truth.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;
use tests::{
    agent::Agent,
    cgroup::Cgroup,
    metrics::Metrics,
    nodejs::{Steps, VERSIONS, executable},
};

const BUSY: &str = "chat_nodejs_eventloop_busy_seconds";

/// How long each block lasts in milliseconds, in turn: well below the bounds of buckets, so that they alone decide.
const LENGTHS: [u32; 10] = [24, 35, 62, 24, 170, 35, 370, 62, 650, 2000];
/// Blocks of each program, after the one that the test ends.
const BLOCKS: usize = 49;
/// Bounds of the buckets that the blocks fall into, in milliseconds, and as they are labelled.
const BOUNDS: [(f64, &str); 9] = [
    (10.0, "0.01"),
    (20.0, "0.02"),
    (30.0, "0.03"),
    (50.0, "0.05"),
    (75.0, "0.075"),
    (100.0, "0.1"),
    (250.0, "0.25"),
    (500.0, "0.5"),
    (1000.0, "1"),
];
/// How long the block lasts that is looked at while it does.
const WATCHED: Duration = Duration::from_secs(2);

/// What a program tells in the end, in milliseconds.
#[derive(Debug, Deserialize)]
struct Done {
    /// The one in which the program waited for the agent.
    first: f64,
    blocks: Vec<f64>,
    longest: f64,
}

fn count_below(metrics: &Metrics, container: &str, bound: &str) -> f64 {
    metrics.sum(&format!("{BUSY}_bucket"), &[("container", container), ("le", bound)])
}

fn plan() -> Vec<String> {
    LENGTHS.iter().cycle().take(BLOCKS).map(ToString::to_string).collect()
}

#[test]
fn every_block_is_in_its_bucket_and_one_that_lasts_shows() -> Result<()> {
    let cgroups = VERSIONS.map(|version| Cgroup::create(&format!("nodejs-{version}")));
    let cgroups = cgroups.into_iter().collect::<Result<Vec<_>>>()?;
    let selectors: Vec<String> =
        cgroups.iter().flat_map(|cgroup| ["--target".to_owned(), cgroup.selector()]).collect();
    let mut agent = Agent::start([&["--docker-socket".to_owned(), String::new()], &*selectors].concat())?;
    let mut programs = Vec::new();
    for (version, cgroup) in VERSIONS.into_iter().zip(&cgroups) {
        let node = executable(version)?;
        let steps = Steps::start(cgroup, &[&node], "blocks.js", &plan())?;
        let container = cgroup.path().file_name().context("no name")?.to_string_lossy().into_owned();
        programs.push((container, steps));
    }
    for (container, steps) in &mut programs {
        let version: String = steps.told("ready")?;
        let pid = steps.pid();
        // Probed before it runs on; reading an executable's symbols takes longer than starting it does.
        agent.process().wait_for("probes", Duration::from_mins(1), |line| {
            line.contains("probing an executable")
                .then(|| line.contains(&format!("pid={pid}")).then_some(()))?
        })?;
        println!("{container} runs {version}");
    }
    watch_the_first_block(&agent, &mut programs)?;
    for (container, steps) in &mut programs {
        let done: Done = steps.told("done")?;
        compare(&agent.scrape()?, container, &done)?;
    }
    agent.stop()?;
    Ok(())
}

/// Each program is in a block that ends when the test says so. Whether its loop was probed before that block began is the
/// machine's affair, and shows: so each is let into a new one first.
fn watch_the_first_block(agent: &Agent, programs: &mut [(String, Steps)]) -> Result<()> {
    let begun = Instant::now();
    for (_, steps) in programs.iter_mut() {
        steps.proceed()?;
    }
    for (container, steps) in programs.iter_mut() {
        let _: f64 = steps.told("again")?;
        thread::sleep(WATCHED);
        let metrics = agent.scrape()?;
        let until = begun.elapsed().as_secs_f64();
        let blocked = metrics
            .get("chat_nodejs_eventloop_blocked_seconds", &[("container", container)])
            .context("no gauge")?;
        ensure!(blocked >= WATCHED.as_secs_f64() - 0.01, "{container}: {blocked} s shown of {WATCHED:?}");
        ensure!(blocked <= until, "{container}: {blocked} s shown after {until} s");
    }
    for (_, steps) in programs {
        steps.proceed()?;
    }
    Ok(())
}

fn compare(metrics: &Metrics, container: &str, done: &Done) -> Result<()> {
    ensure!(done.blocks.len() == BLOCKS + 1, "{container}: {} blocks", done.blocks.len());
    let all = metrics.sum(&format!("{BUSY}_count"), &[("container", container)]);
    let counted = BOUNDS.map(|(_, label)| all - count_below(metrics, container, label));
    let sum = metrics.sum(&format!("{BUSY}_sum"), &[("container", container)]) * 1e3;
    let with_the_first = [&[done.first], &*done.blocks].concat();
    ensure!(
        fits(&done.blocks, &counted, sum) || fits(&with_the_first, &counted, sum),
        "{container}: {counted:?} turns longer than {BOUNDS:?}, {sum} ms in all, where the program had {done:?}"
    );
    let longest = done.blocks.iter().skip(1).copied().fold(0.0, f64::max);
    ensure!(done.longest >= longest - 20.0, "Node.js saw {} ms, the program {longest}", done.longest);
    Ok(())
}

/// Whether the turns are these blocks, each in its bucket. A turn is a little longer than the block in it; how much, a busy
/// machine decides.
fn fits(blocks: &[f64], counted: &[f64], sum: f64) -> bool {
    let longer = |than: f64| blocks.iter().filter(|block| **block > than).count() as f64;
    let told: f64 = blocks.iter().sum();
    BOUNDS.iter().zip(counted).all(|((bound, _), shown)| {
        let (least, most) = (longer(*bound), longer(bound - (bound * 0.15).max(4.0)));
        *shown > least - 0.5 && *shown < most + 0.5
    }) && sum >= told
        && sum < told * 1.02 + 200.0
}
