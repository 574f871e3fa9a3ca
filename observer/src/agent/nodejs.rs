//! Follows Node.js for as long as the agent runs: probes what starts, and takes in what was counted though nobody scrapes.
//! All of it may block, for as long as reading an executable's symbols takes.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use tokio::{
    sync::mpsc,
    task::spawn_blocking,
    time::{self, MissedTickBehavior},
};

use crate::{
    cgroup::Hierarchy,
    collectors::nodejs::{NodeJsCollector, Settings},
    config::Limits,
    kernel::Kernel,
    probing::Follower,
    reading::Readers,
    targets::{Handle, TargetList as _},
};

/// Until the first targets are attached to, they are looked for this often.
const FIRST_LOOKS: Duration = Duration::from_millis(20);

/// What bounds the counts of Node.js.
pub(super) fn settings(limits: &Limits, readers: Readers) -> Settings {
    let (max_roles, capacity) = (limits.process_roles as usize, limits.nodejs_processes);
    Settings { max_roles, capacity, readers }
}

/// What follows the processes, and what counts them.
pub(super) struct Following {
    pub(super) follower: Follower<Arc<Kernel>>,
    pub(super) collector: NodeJsCollector,
    pub(super) hierarchy: Hierarchy,
}

impl Following {
    /// Looks at each process that starts, and at all every `rescan`. Never ends.
    pub(super) async fn run(
        mut self,
        targets: Handle,
        mut started: mpsc::Receiver<u32>,
        rescan: Duration,
    ) -> anyhow::Result<()> {
        while !targets.ready() {
            time::sleep(FIRST_LOOKS).await;
        }
        let mut looks = time::interval(rescan);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut starts = true;
        loop {
            let process = tokio::select! {
                process = started.recv(), if starts => {
                    starts = process.is_some();
                    process
                }
                _ = looks.tick() => None,
            };
            let targets = targets.clone();
            // Not `block_in_place`, which would go on to wait for the next look when the runtime has ended meanwhile, and
            // that panics. What is waited for here is left behind.
            let looking = spawn_blocking(move || {
                match process {
                    Some(process) => self.started(process, &targets),
                    None => self.look(&targets),
                }
                self
            });
            self = looking.await.context("who follows Node.js panicked")?;
        }
    }

    fn started(&mut self, process: u32, targets: &Handle) {
        if let Some(target) = self.follower.started(process, &targets.targets()) {
            self.collector.started(target, process);
        }
    }

    fn look(&mut self, targets: &Handle) {
        self.follower.look(&targets.targets(), &self.hierarchy);
        if let Err(error) = self.collector.take_in() {
            tracing::warn!(error = format!("{error:#}"), "cannot read the counts of Node.js");
        }
    }
}
