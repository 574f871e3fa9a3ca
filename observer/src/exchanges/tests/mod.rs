//! Exchanges from a script to the text of a scrape.
//! One file per subject; the script stands for the kernel half, with its ring, its sockets and its clock.

mod golden;
mod listeners;
mod live;
mod relabel;
mod requests;
mod streams;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use observer_ebpf::records::exchange::{Exchange, Outcome};

use super::{ExchangeSource, Exchanges, Settings, StreamTimes};
use crate::{
    collectors::{Families, Registry, overflow::LabelOverflow},
    exchanges::{
        app_events::AppEventCollector, fixture::at, requests::HttpCollector, streams::StreamCollector,
        upstream::UpstreamCollector,
    },
    kernel::{Record, Records},
    profiles::Profiles,
    targets::{Info, Labels, StateCounts, Target, TargetId, TargetList},
};

/// What the kernel half would tell.
#[derive(Default)]
struct Script {
    records: Vec<Record>,
    open: Vec<Exchange>,
    now_ns: u64,
    /// Why the walk fails.
    broken: Option<&'static str>,
    targets: Vec<Target>,
}

#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Script>>);

impl ExchangeSource for Shared {
    fn drain(&self, visit: &mut dyn FnMut(&Record)) {
        let records = std::mem::take(&mut self.0.lock().unwrap().records);
        records.iter().for_each(visit);
    }

    fn walk(&self, visit: &mut dyn FnMut(&Exchange)) -> anyhow::Result<()> {
        let open = self.0.lock().unwrap().open.clone();
        open.iter().for_each(visit);
        self.0.lock().unwrap().broken.map_or(Ok(()), |why| Err(anyhow::anyhow!(why)))
    }

    fn now_ns(&self) -> u64 {
        self.0.lock().unwrap().now_ns
    }
}

impl TargetList for Shared {
    fn targets(&self) -> Arc<[Target]> {
        self.0.lock().unwrap().targets.clone().into()
    }

    fn state_counts(&self) -> StateCounts {
        StateCounts::default()
    }
}

/// The collectors over a script.
struct Case {
    script: Shared,
    registry: Registry,
    exchanges: Arc<Exchanges>,
    overflow: LabelOverflow,
    records: Records,
}

impl Case {
    /// With the target 1, `web`, of this app.
    fn of(app: &str) -> Self {
        let script = Shared::default();
        let case = Self::with(script, 200);
        case.targets(&[(1, "web", app)]);
        case
    }

    fn with(script: Shared, routes: usize) -> Self {
        let (overflow, records) = (LabelOverflow::default(), Records::default());
        let targets: Arc<dyn TargetList> = Arc::new(script.clone());
        let settings = Settings {
            times: StreamTimes { after: Duration::from_secs(2), stall: Duration::from_secs(10) },
            routes,
            profiles: Profiles::compiled_in().unwrap(),
            overflow: overflow.clone(),
            records: records.clone(),
        };
        let exchanges = Arc::new(Exchanges::new(Arc::clone(&targets), script.clone(), settings));
        let mut registry = Registry::default();
        registry.register(HttpCollector::new(Arc::clone(&targets), Arc::clone(&exchanges)));
        registry.register(StreamCollector::new(Arc::clone(&targets), Arc::clone(&exchanges)));
        registry.register(AppEventCollector::new(Arc::clone(&targets), Arc::clone(&exchanges)));
        registry.register(UpstreamCollector::new(targets, Arc::clone(&exchanges)));
        Self { script, registry, exchanges, overflow, records }
    }

    fn targets(&self, targets: &[(TargetId, &str, &str)]) {
        let target = |(id, container, app): &(TargetId, &str, &str)| Target {
            id: *id,
            labels: Labels { container: (*container).to_owned(), app: (*app).to_owned() },
            info: Info::default(),
            cgroups: Vec::new(),
            restarts: 0,
        };
        self.script.0.lock().unwrap().targets = targets.iter().map(target).collect();
    }

    /// Exchanges that end.
    fn end(&self, ended: impl IntoIterator<Item = Exchange>) {
        self.script.0.lock().unwrap().records.extend(ended.into_iter().map(Record::Exchange));
    }

    /// What the next walks will see, and when.
    fn open(&self, milliseconds: u64, open: &[Exchange]) {
        let mut script = self.script.0.lock().unwrap();
        script.now_ns = at(milliseconds);
        script.open = open.to_vec();
    }

    fn scrape(&self) -> Scraped {
        let mut families = Families::new("chat");
        let outcomes = self.registry.collect(&mut families);
        let failed: Vec<_> = outcomes.iter().filter(|outcome| !outcome.success).collect();
        let broken = self.script.0.lock().unwrap().broken.is_some();
        assert_eq!(
            failed.iter().map(|outcome| outcome.collector).collect::<Vec<_>>(),
            ["http"][..usize::from(broken)]
        );
        Scraped(String::from_utf8(families.encode().unwrap()).unwrap())
    }
}

/// The text of a scrape.
struct Scraped(String);

impl Scraped {
    /// Sum over the series of a name that have all of these labels, `name="value"`; `None` where there is none.
    fn sum(&self, name: &str, labels: &[&str]) -> Option<f64> {
        let value = |line: &str| {
            let rest = line.strip_prefix(name)?;
            let (labelled, value) = rest.rsplit_once(' ')?;
            let whole_name = labelled.is_empty() || labelled.starts_with('{');
            (whole_name && labels.iter().all(|label| labelled.contains(label)))
                .then(|| value.parse().unwrap())
        };
        self.0.lines().filter_map(value).reduce(|sum: f64, value| sum + value)
    }

    #[track_caller]
    fn expect(&self, name: &str, labels: &[&str], expected: f64) {
        let found = self.sum(name, labels);
        let equal = found.is_some_and(|found| (found - expected).abs() < 1e-6);
        assert!(equal, "{name} {labels:?}: {found:?} instead of {expected} in\n{}", self.0);
    }

    #[track_caller]
    fn expect_none(&self, name: &str, labels: &[&str]) {
        let found = self.sum(name, labels);
        assert!(found.is_none(), "{name} {labels:?}: {found:?} in\n{}", self.0);
    }
}

/// The exchange as the walk sees it: it has not ended.
fn still_open(of: &Exchange) -> Exchange {
    Exchange { ended_ns: 0, outcome: Outcome::Open as u8, in_flight: of.in_flight.max(1), ..*of }
}
