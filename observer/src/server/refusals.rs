//! Says in the log who was refused and why, without letting strangers fill the log.
//! One line each ten seconds at most, with how many there were since the last.

use std::{
    fmt,
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Time between two lines.
const EVERY: Duration = Duration::from_secs(10);

/// Why something was refused.
#[derive(Clone, Copy, Debug)]
pub(super) enum Reason {
    Network,
    Handshake,
    Credentials,
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Network => "its address is in none of access.networks",
            Self::Handshake => "there was no TLS connection",
            Self::Credentials => {
                "it has no token or password that access.bearer_token_file or access.users_file knows"
            }
        })
    }
}

/// The refusals since the last line.
#[derive(Default)]
pub(super) struct Refusals(Mutex<Count>);

#[derive(Default)]
struct Count {
    since: u64,
    told: Option<Instant>,
}

impl Refusals {
    /// Counts one; `detail` says more, such as what TLS complains of.
    pub(super) fn note(&self, peer: Option<IpAddr>, reason: Reason, detail: &dyn fmt::Display) {
        if let Some(refused) = self.count() {
            let peer = peer.map_or_else(|| "a Unix socket".to_owned(), |peer| peer.to_string());
            tracing::warn!(refused, last = peer, %reason, %detail, "who asked for metrics was refused");
        }
    }

    /// Counts one; how many there are to be told of, if it is time.
    fn count(&self) -> Option<u64> {
        let mut count = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        count.since += 1;
        if count.told.is_some_and(|told| told.elapsed() < EVERY) {
            return None;
        }
        count.told = Some(Instant::now());
        Some(std::mem::take(&mut count.since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_told_at_once_and_the_next_ones_together() {
        let refusals = Refusals::default();
        assert_eq!(refusals.count(), Some(1));
        assert_eq!((refusals.count(), refusals.count()), (None, None));
        refusals.0.lock().unwrap().told = Instant::now().checked_sub(EVERY);
        assert_eq!(refusals.count(), Some(3));
        assert_eq!(refusals.count(), None);
    }
}
