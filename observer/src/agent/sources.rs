//! All collectors of the agent, with what they read from and what the configuration says of them.

use std::{path::Path, sync::Arc};

use super::PROC;
use crate::{
    cgroup::mounts::CgroupMounts,
    collectors::{
        Registry,
        agent::{Agent, BuildInfo},
        container::ContainerCollector,
        kernel::KernelCollector,
        nodejs::NodeJsCollector,
        over_budget::OverBudgetCollector,
        overflow::LabelOverflow,
        process::{self, ProcessCollector},
        scraper::Scraper,
        series_budget::SeriesBudget,
        target::TargetCollector,
        tcp::TcpCollector,
    },
    config::Config,
    exchanges::{
        Exchanges, Settings, StreamTimes, app_events::AppEventCollector, requests::HttpCollector,
        streams::StreamCollector, upstream::UpstreamCollector,
    },
    kernel::{Kernel, Records},
    probing::Refused,
    profiles::Profiles,
    reading::Readers,
    targets::TargetList,
};

/// What collectors read from.
pub(super) struct Observed {
    pub(super) kernel: Arc<Kernel>,
    pub(super) mounts: Arc<CgroupMounts>,
    pub(super) records: Records,
    pub(super) exchanges: Arc<Exchanges>,
    pub(super) nodejs: Option<NodeJsCollector>,
    pub(super) refused: Refused,
    pub(super) profiles: Profiles,
    pub(super) targets: Arc<dyn TargetList>,
    pub(super) overflow: LabelOverflow,
}

/// What exchanges are counted with.
pub(super) fn exchange_settings(
    config: &Config,
    profiles: Profiles,
    overflow: LabelOverflow,
    records: Records,
) -> Settings {
    let times = StreamTimes { after: config.streams.after, stall: config.streams.stall };
    Settings { times, routes: config.limits.routes as usize, profiles, overflow, records }
}

/// All collectors, in the order of a scrape; `readers` read what may not answer.
pub(super) fn scraper(config: &Config, observed: Observed, readers: Readers) -> Scraper {
    let Observed { kernel, mounts, records, exchanges, nodejs, refused, profiles, targets, overflow } =
        observed;
    let over_budget = readers.over_budget().clone();
    let proc_root = Path::new(PROC);
    let processes = process::Settings {
        max_roles: config.limits.process_roles as usize,
        proportional_memory: config.processes.pss,
        profiles,
        readers,
    };
    let mut registry = Registry::default();
    registry.register(TargetCollector::new(Arc::clone(&targets), Arc::clone(&mounts)));
    registry.register(TcpCollector::new(Arc::clone(&targets), Arc::clone(&kernel), over_budget.clone()));
    registry.register(HttpCollector::new(Arc::clone(&targets), Arc::clone(&exchanges)));
    registry.register(StreamCollector::new(Arc::clone(&targets), Arc::clone(&exchanges)));
    registry.register(AppEventCollector::new(Arc::clone(&targets), Arc::clone(&exchanges)));
    registry.register(UpstreamCollector::new(Arc::clone(&targets), exchanges));
    registry.register(ProcessCollector::new(
        Arc::clone(&targets),
        proc_root.to_owned(),
        Arc::clone(&mounts),
        overflow.clone(),
        processes,
    ));
    if let Some(nodejs) = nodejs {
        registry.register(nodejs);
    }
    registry.register(OverBudgetCollector::new(Arc::clone(&targets), over_budget.clone()));
    let kills = Arc::clone(&kernel) as _;
    registry.register(ContainerCollector::new(Arc::clone(&targets), proc_root.to_owned(), mounts, kills));
    registry.register(KernelCollector::new(kernel, records, refused, Arc::clone(&targets)));
    let most = config.limits.series.into();
    let budget = SeriesBudget::new(most, Arc::clone(&targets), overflow.clone(), over_budget);
    let agent = Agent::new(targets, proc_root.to_owned(), BuildInfo::current(proc_root), overflow);
    Scraper::new(registry, agent, config.metrics.prefix.as_str()).with_budget(budget)
}
