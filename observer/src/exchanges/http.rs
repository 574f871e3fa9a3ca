//! What an exchange says of a request: its method and path, the status to show, how it ended, its times.
//! Also of one whose request was sent ahead.

use observer_ebpf::http::exchange::{
    AHEAD, Exchange, METHODS, Outcome, PREEXISTING, RequestAhead, SELF_CALL,
};

use super::{ahead::Ahead, events::End};

/// The status code of a request that its client left before there was an answer, as nginx logs it.
pub const CLIENT_LEFT: u16 = 499;
/// Shown as `000`: the server gave no answer, or it is not known.
pub const NO_ANSWER: u16 = 0;

/// Stands for every number that is no status code, so that they are one label value.
const STRANGE: u16 = 1000;

/// A request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// Index into [`METHODS`].
    pub method: usize,
    /// Its target without the query.
    pub path: &'a [u8],
    /// Its first byte, in nanoseconds.
    pub started_ns: u64,
}

impl<'a> Request<'a> {
    /// The request of `exchange`; `ahead` is that of its [`RequestAhead`], where it has one.
    pub fn of(exchange: &'a Exchange, ahead: Option<&'a RequestAhead>) -> Self {
        let (method, path, length, started_ns) = match ahead {
            Some(request) => (request.method, &request.path, request.path_length, request.started_ns),
            None => (exchange.method, &exchange.path, exchange.path_length, exchange.started_ns),
        };
        let path = path.get(..usize::from(length)).unwrap_or(path);
        Self { method: usize::from(method).min(METHODS.len() - 1), path, started_ns }
    }

    /// Its method, or `other`.
    pub fn method_name(&self) -> &'static str {
        METHODS[self.method]
    }

    /// The request of an exchange that is under way; `None` where it was sent ahead and is not known.
    pub fn of_open(exchange: &'a Exchange, kept: &'a Ahead) -> Option<Self> {
        match has(exchange, AHEAD) {
            true => Some(Self::of(exchange, Some(kept.get(exchange)?))),
            false => Some(Self::of(exchange, None)),
        }
    }
}

/// Whether an exchange has one of the flags.
pub fn has(exchange: &Exchange, flags: u16) -> bool {
    exchange.flags & flags != 0
}

/// Whether it was under way when the agent attached.
pub fn is_preexisting(exchange: &Exchange) -> bool {
    has(exchange, PREEXISTING)
}

/// Whether the target called itself.
pub fn is_self_call(exchange: &Exchange) -> bool {
    has(exchange, SELF_CALL)
}

/// How it ended; `None` while it is under way.
pub fn end(exchange: &Exchange) -> Option<End> {
    /// By [`Outcome`].
    const ENDS: [End; 5] = [End::Completed, End::ClientAbort, End::ServerAbort, End::Reset, End::Timeout];
    const _: () = assert!(Outcome::Timeout as usize == ENDS.len() - 1);
    ENDS.get(usize::from(exchange.outcome)).copied()
}

/// The status code to show: that of the answer, else [`CLIENT_LEFT`] or [`NO_ANSWER`].
pub fn status_code(exchange: &Exchange) -> u16 {
    match (exchange.status, end(exchange)) {
        (0, Some(End::ClientAbort)) if !is_preexisting(exchange) => CLIENT_LEFT,
        (status @ (0 | 100..=999), _) => status,
        _ => STRANGE,
    }
}

/// Nanoseconds from one time to another; `None` where the other was not reached.
pub fn elapsed(from_ns: u64, to_ns: u64) -> Option<u64> {
    (to_ns != 0).then(|| to_ns.saturating_sub(from_ns))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchanges::fixture::{ahead, asking, at, exchange};

    #[test]
    fn a_request_sent_ahead_has_its_method_path_and_beginning_from_there() {
        let (request, rest) = ahead(asking("DELETE", "/api/x", exchange()));
        let joined = Request::of(&rest, Some(&request));
        assert_eq!((joined.method_name(), joined.path, joined.started_ns), ("DELETE", &b"/api/x"[..], at(0)));
        let mut kept = Ahead::default();
        assert_eq!(Request::of_open(&rest, &kept), None);
        kept.put(&request);
        assert_eq!(Request::of_open(&rest, &kept), Some(joined));
    }

    #[test]
    fn numbers_that_mean_nothing_do_no_harm() {
        let strange = Exchange { method: 99, path_length: 999, outcome: 77, ..exchange() };
        let request = Request::of(&strange, None);
        assert_eq!((request.method_name(), request.path.len()), ("other", strange.path.len()));
        assert_eq!(end(&strange), None);
    }

    #[test]
    fn a_request_without_an_answer_has_a_status_by_who_left() {
        let shown = |status, outcome: Outcome| {
            status_code(&Exchange { status, outcome: outcome as u8, ..exchange() })
        };
        assert_eq!(shown(0, Outcome::ClientAbort), 499);
        assert_eq!(shown(0, Outcome::ServerAbort), 0);
        assert_eq!(shown(0, Outcome::Reset), 0);
        assert_eq!(shown(0, Outcome::Timeout), 0);
        assert_eq!(shown(206, Outcome::ClientAbort), 206);
        assert_eq!(shown(99, Outcome::Completed), shown(12_345, Outcome::Completed));
        let adopted =
            Exchange { status: 0, outcome: Outcome::ClientAbort as u8, flags: PREEXISTING, ..exchange() };
        assert_eq!(status_code(&adopted), 0);
    }
}
