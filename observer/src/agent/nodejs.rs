//! Follows Node.js for as long as the agent runs: probes what starts, and takes in what was counted though nobody scrapes.
//! All of it may block, for as long as reading an executable's symbols takes.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::mpsc,
    task::block_in_place,
    time::{self, MissedTickBehavior},
};

use crate::{
    collectors::nodejs::NodeJsCollector,
    kernel::Kernel,
    nodejs::Follower,
    targets::{Handle, TargetList as _, cgroups::Hierarchy},
};

/// Until the first targets are attached to, they are looked for this often.
const FIRST_LOOKS: Duration = Duration::from_millis(20);

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
            tokio::select! {
                process = started.recv(), if starts => match process {
                    Some(process) => block_in_place(|| {
                        if self.follower.started(process) {
                            self.collector.started(process);
                        }
                    }),
                    None => starts = false,
                },
                _ = looks.tick() => block_in_place(|| {
                    self.follower.look(&targets.targets(), &self.hierarchy);
                    if let Err(error) = self.collector.take_in() {
                        tracing::warn!(error = format!("{error:#}"), "cannot read the counts of Node.js");
                    }
                }),
            }
        }
    }
}
