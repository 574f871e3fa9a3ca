//! Series: an app that answers everything there is, and names of any bytes.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tests::{
    hostile::{Attack, Duel},
    metrics::Metrics,
    process::PATIENCE,
};

/// How long an attack may take, on a busy machine.
const WITHIN: Duration = Duration::from_mins(3);

#[test]
fn every_status_method_and_route_there_is_has_no_more_series_than_the_limit() -> Result<()> {
    let mut duel = Duel::begin(&[])?;
    let mut attack = Attack::start(&duel.bad, &["answers"])?;
    let port = attack
        .process()
        .wait_for("a port", PATIENCE, |line| Some(line.strip_prefix("listening ")?.to_owned()))?;
    let output = Attack::outside(&["asks", &port], WITHIN)?;
    let asked = output.lines().find_map(|line| line.strip_prefix("asked ")?.parse::<u64>().ok());
    let asked = asked.context("nothing was asked")?;
    let bad = duel.bad.path().file_name().unwrap_or_default().to_string_lossy().into_owned();
    let of_bad = [("container", bad.as_str())];
    let all = |metrics: &Metrics| metrics.count("chat_http_requests_total", &of_bad);
    let metrics = duel.agent.scrape_until(PATIENCE, |metrics| all(metrics) >= asked)?;
    ensure!(all(&metrics) == asked, "{} of {asked} requests, one by one or as other", all(&metrics));
    let series = metrics.iter().filter(|(series, _)| series.labels.get("container") == Some(&bad)).count();
    ensure!(series < 5_600, "{series} series");
    let other = [("container", bad.as_str()), ("status_code", "other")];
    ensure!(metrics.count("chat_http_requests_total", &other) > 1000, "nothing is counted as other");
    ensure!(metrics.count("observer_label_overflow_total", &[("label", "all")]) > 1000, "it is not counted");
    // What had a place keeps it, and nothing goes down.
    let again = duel.agent.scrape()?;
    for (series, value) in metrics.matching("chat_http_requests_total", &of_bad) {
        let now = again.iter().find(|(other, _)| *other == series).map(|(_, value)| value);
        ensure!(now.is_some_and(|now| now >= value), "{series:?} was {value}, and is {now:?}");
    }
    let judged = duel.judge()?;
    ensure!(duel.is_over(&judged.metrics, "series"), "it is not said");
    drop(attack);
    duel.agent.stop()?;
    Ok(())
}

#[test]
fn names_in_any_bytes_make_no_line_and_no_label() -> Result<()> {
    let mut duel = Duel::begin(&[])?;
    let attack = duel.attack(&["names"], WITHIN)?;
    let crowds = duel.attack(&["crowds"], WITHIN)?;
    // Each scrape was parsed, line by line.
    let judged = duel.judge()?;
    for (series, _) in judged.metrics.iter() {
        for value in series.labels.values() {
            ensure!(!value.contains(char::is_control), "{series:?}");
        }
    }
    drop((attack, crowds));
    duel.agent.stop()?;
    Ok(())
}
