//! Requests in pipelines, as quickly as they can be asked.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tests::{
    hostile::{Attack, Duel},
    metrics::Metrics,
    process::PATIENCE,
};

/// How long an attack may take, on a busy machine.
const WITHIN: Duration = Duration::from_mins(2);

/// Pipelines of 200 requests.
const PIPELINES: &str = "10000";

#[test]
fn each_of_two_million_requests_in_pipelines_is_counted_or_lost() -> Result<()> {
    let mut duel = Duel::begin(&[])?;
    let mut attack = Attack::start(&duel.bad, &["pipelines"])?;
    let port = attack
        .process()
        .wait_for("a port", PATIENCE, |line| Some(line.strip_prefix("listening ")?.to_owned()))?;
    let output = Attack::outside(&["pipes", &port, PIPELINES], WITHIN)?;
    let asked = output.lines().find_map(|line| line.strip_prefix("asked ")?.parse::<u64>().ok());
    let asked = asked.context("nothing was asked")? + duel.good.stop_asking()?;
    // No status and no route is missing, so that nothing is lost twice.
    let counted = |metrics: &Metrics| metrics.count("chat_http_requests_total", &[("status_code", "200")]);
    let lost = |metrics: &Metrics| metrics.count("observer_records_lost_total", &[("kind", "exchange")]);
    let all = |metrics: &Metrics| counted(metrics) + lost(metrics);
    let metrics = duel.agent.scrape_until(PATIENCE, |metrics| all(metrics) >= asked)?;
    println!("{} requests were counted and {} lost, of {asked}", counted(&metrics), lost(&metrics));
    ensure!(all(&metrics) == asked, "{} of {asked} requests were counted or lost", all(&metrics));
    ensure!(metrics.sum("observer_connections_given_up_total", &[]) < 0.5, "a connection was given up");
    drop(attack);
    duel.agent.stop()?;
    Ok(())
}
