//! Requests of every method, route and status: each count and every byte as the client has it.
//! Times are not compared, since an emulated machine keeps none.

use anyhow::{Result, ensure};
use tokio::runtime::Runtime;

use super::{observe, service::Service};
use crate::{
    agent::Agent,
    cgroup::Cgroup,
    http::{
        kinds::MIXED,
        load::{self, Load},
        truth::Comparison,
    },
};

/// Requests over so many connections, which are renewed after some.
const REQUESTS: usize = 600;
const CONNECTIONS: usize = 4;
const RENEWED_AFTER: usize = 50;

/// Plays the load; says how much it was.
pub fn test() -> Result<String> {
    let cgroup = Cgroup::create("requests")?;
    let service = Service::start(&cgroup)?;
    let agent = observe(&cgroup)?;
    compare(&service, &agent)?;
    agent.stop()?;
    Ok(format!("{REQUESTS} requests"))
}

/// Plays the load against `service`, which `agent` observes.
pub(super) fn compare(service: &Service, agent: &Agent) -> Result<()> {
    let load = Load {
        server: service.address(),
        kinds: MIXED,
        requests: REQUESTS,
        connections: CONNECTIONS,
        renewed_after: Some(RENEWED_AFTER),
        seed: 5,
    };
    let ledger = load::play(&Runtime::new()?, load)?.without_durations();
    ensure!(ledger.count() == REQUESTS as u64, "{} of {REQUESTS} requests were answered", ledger.count());
    let metrics = agent
        .scrape_until(crate::process::PATIENCE, |metrics| Comparison::of_all(&ledger, metrics).equal())?;
    let comparison = Comparison::of_all(&ledger, &metrics);
    ensure!(comparison.equal(), "the metrics differ from what happened:\n{comparison}");
    let lost = metrics.sum("observer_records_lost_total", &[]);
    ensure!(lost < 0.5, "{lost} records were lost");
    Ok(())
}
