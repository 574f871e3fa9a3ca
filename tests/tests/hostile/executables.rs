//! Executables that say of themselves what they like.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use tests::{
    hostile::{Duel, Layers, node},
    metrics::Metrics,
    process::PATIENCE,
};

/// How long an attack may take, on a busy machine.
const WITHIN: Duration = Duration::from_mins(1);

/// How often a target's roles have been seen to turn.
fn turns(metrics: &Metrics, role: &str) -> u64 {
    metrics.count("chat_nodejs_eventloop_busy_seconds_count", &[("process", role)])
}

/// A new Node.js of the good target is probed within so long.
fn probed_within(duel: &Duel, limit: Duration) -> Result<()> {
    let another = duel.good.another()?;
    let metrics = duel.agent.scrape_until(PATIENCE, |metrics| turns(metrics, "node second") > 0)?;
    let after = another.begun.elapsed();
    ensure!(turns(&metrics, "node second") > 0 && after < limit, "probed after {after:?}");
    Ok(())
}

#[test]
fn a_function_with_25_000_places_has_none() -> Result<()> {
    let mut duel = Duel::begin(&[])?;
    let before = duel.descriptors()?;
    let attack = duel.attack(&["many_places"], WITHIN)?;
    probed_within(&duel, Duration::from_secs(2))?;
    let judged = duel.judge()?;
    ensure!(duel.descriptors()? < before + 40, "{} descriptors, {before} before", duel.descriptors()?);
    let labels = [("program", "nodejs_heap")];
    let reasons: Vec<_> = judged
        .metrics
        .matching("observer_program_attached", &labels)
        .filter_map(|(series, _)| series.labels.get("reason").cloned())
        .collect();
    ensure!(reasons.iter().any(|reason| reason.contains("more places")), "it is not said: {reasons:?}");
    drop(attack);
    duel.agent.stop()?;
    Ok(())
}

#[test]
fn two_hundred_thousand_symbols_of_one_name_are_read_in_one_pass() -> Result<()> {
    let mut duel = Duel::begin(&[])?;
    let before = duel.cpu()?;
    let _attack = duel.attack(&["many_symbols"], WITHIN)?;
    duel.judge()?;
    let used = duel.cpu()?.saturating_sub(before);
    ensure!(used < Duration::from_secs(2), "{used:?} of CPU");
    duel.agent.stop()?;
    Ok(())
}

#[test]
fn tables_of_250_mebibytes_in_a_hole_cost_nothing() -> Result<()> {
    let mut duel = Duel::begin(&[])?;
    let before = duel.cpu()?;
    let begun = Instant::now();
    let attack = thread::scope(|scope| {
        let attacking = scope.spawn(|| duel.attack(&["sparse"], WITHIN));
        thread::sleep(Duration::from_secs(5));
        probed_within(&duel, Duration::from_secs(2))?;
        attacking.join().map_err(|_| anyhow::anyhow!("the attack panicked"))?
    })?;
    let used = duel.cpu()?.saturating_sub(before);
    duel.judge()?;
    // Scrapes every tenth of a second take most of it.
    ensure!(used < begun.elapsed() / 4, "{used:?} of CPU in {:?}", begun.elapsed());
    drop(attack);
    duel.agent.stop()?;
    Ok(())
}

#[test]
fn megabytes_of_names_use_up_the_targets_own_share() -> Result<()> {
    let mut duel = Duel::begin(&[])?;
    let before = duel.cpu()?;
    let begun = Instant::now();
    let _attack = duel.attack(&["dense"], WITHIN)?;
    let used = duel.cpu()?.saturating_sub(before);
    probed_within(&duel, Duration::from_secs(2))?;
    let judged = duel.judge()?;
    ensure!(used < begun.elapsed() / 2, "{used:?} of CPU in {:?}", begun.elapsed());
    ensure!(duel.is_over(&judged.metrics, "executables"), "it is not said");
    duel.agent.stop()?;
    Ok(())
}

#[test]
fn a_crowd_of_node_js_leaves_room_for_that_of_others() -> Result<()> {
    let mut duel = Duel::begin(&[])?;
    let attack = duel.attack(&["crowd", "1100"], WITHIN)?;
    probed_within(&duel, Duration::from_secs(2))?;
    let judged = duel.judge()?;
    ensure!(turns(&judged.metrics, "node server") > 0, "the good target is not counted any more");
    ensure!(duel.is_over(&judged.metrics, "nodejs"), "it is not said");
    drop(attack);
    duel.agent.stop()?;
    Ok(())
}

#[test]
fn what_is_read_is_what_is_probed_though_another_file_runs_by_then() -> Result<()> {
    let mut duel = Duel::begin(&[])?;
    let attack = duel.attack(&["other_file"], WITHIN)?;
    let judged = duel.judge()?;
    for (series, value) in judged.metrics.matching("observer_program_attached", &[]) {
        let reason = series.labels.get("reason").context("a program without a reason")?;
        ensure!(value > 0.5 || !reason.contains("Invalid argument"), "{series:?}");
    }
    ensure!(turns(&judged.metrics, "node server") > 0, "the good target is not probed any more");
    drop(attack);
    duel.agent.stop()?;
    Ok(())
}

#[cfg(target_arch = "x86_64")]
#[test]
fn node_js_that_a_dynamic_linker_has_started_is_probed() -> Result<()> {
    let duel = Duel::begin(&[])?;
    let _another = duel.good.another_by_linker()?;
    let metrics = duel.agent.scrape_until(PATIENCE, |metrics| turns(metrics, "node second") > 0)?;
    ensure!(turns(&metrics, "node second") > 0, "it is not seen");
    duel.agent.stop()?;
    Ok(())
}

#[test]
fn a_layer_that_containers_share_is_probed_once() -> Result<()> {
    let layers = Layers::mount(&node()?, 3)?;
    let mut duel = Duel::begin(&[])?;
    let mut servers = Vec::new();
    for number in 0..3 {
        servers.push(duel.good.another_by(layers.file(number))?);
        // The next one must find the probes of those before it, whoever is first.
        let wanted = turns(&duel.agent.scrape()?, "node second") + 40;
        let metrics = duel.agent.scrape_until(PATIENCE, |metrics| turns(metrics, "node second") > wanted)?;
        ensure!(turns(&metrics, "node second") > wanted, "server {number} of a shared layer is not probed");
    }
    let said = duel.agent.process().output().matches("probing an executable of Node.js").count();
    ensure!(said == 2, "{said} executables were probed: the layer, and that of the first server");
    drop(servers);
    drop(layers);
    duel.agent.stop()?;
    Ok(())
}

#[test]
fn executions_as_quick_as_they_can_be_hide_no_others() -> Result<()> {
    let mut duel = Duel::begin(&[])?;
    let attack = thread::scope(|scope| {
        let attacking = scope.spawn(|| duel.attack(&["executions"], WITHIN));
        thread::sleep(Duration::from_secs(3));
        probed_within(&duel, Duration::from_secs(3))?;
        attacking.join().map_err(|_| anyhow::anyhow!("the attack panicked"))?
    })?;
    duel.judge()?;
    drop(attack);
    duel.agent.stop()?;
    Ok(())
}
