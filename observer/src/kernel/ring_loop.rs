//! The loop around a ring, for all of them: waits until the kernel half wakes it, a period is over, or nobody listens.

use std::{future, os::fd::AsRawFd, pin::pin, time::Duration};

use anyhow::Context as _;
use tokio::{
    io::unix::AsyncFd,
    time::{self, MissedTickBehavior},
};

/// Calls `drain` whenever there is something in `ring`, and every `period` where there is one, until `closed` completes.
/// `what` names the ring in errors. The descriptor of `ring` must stay open, and one and the same, while it lives: that
/// of a ring's map does.
pub(super) async fn read<R: AsRawFd + Send + Sync + 'static>(
    ring: R,
    what: &'static str,
    period: Option<Duration>,
    closed: impl Future<Output = ()>,
    mut drain: impl FnMut(&mut R),
) -> anyhow::Result<()> {
    // SAFETY: the ring's map keeps its descriptor open, and one and the same, for as long as the ring lives.
    let ring = unsafe { AsyncFd::register(ring) };
    let mut ring = ring.with_context(|| format!("cannot wait for {what}"))?;
    let mut closed = pin!(closed);
    let mut ticks = period.map(time::interval);
    if let Some(ticks) = &mut ticks {
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    }
    loop {
        let tick = async {
            match &mut ticks {
                Some(ticks) => drop(ticks.tick().await),
                None => future::pending().await,
            }
        };
        tokio::select! {
            ready = ring.readable_mut() => {
                let mut ready = ready.with_context(|| format!("cannot wait for {what}"))?;
                drain(ready.get_inner_mut());
                // Kept where more has come meanwhile.
                ready.clear_ready();
            }
            () = &mut closed => return Ok(()),
            () = tick => drain(ring.get_mut()),
        }
    }
}
