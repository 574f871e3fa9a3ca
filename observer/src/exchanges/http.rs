//! What an exchange says of a request: its method and path, the status to show, how it ended, its times.
//! Also of one whose request was sent ahead.

use observer_ebpf::records::exchange::{Exchange, METHODS, Outcome, PREEXISTING, RequestAhead, SELF_CALL};

use super::events::End;

/// The status code of a request that its client left before there was an answer, as nginx logs it.
pub const CLIENT_LEFT: u16 = 499;
/// Shown as `000`: the server gave no answer, or it is not known.
pub const NO_ANSWER: u16 = 0;

/// Stands for every number that is no status code, so that they are one label value.
const STRANGE: u16 = 1000;

/// An exchange with what its request, which was sent ahead, says.
pub fn joined(exchange: &Exchange, ahead: &RequestAhead) -> Exchange {
    let RequestAhead { started_ns, method, path, path_length, .. } = *ahead;
    // The head tells it, or the bytes that came after the answer before it: not both.
    let request_bytes = exchange.request_bytes.max(ahead.request_bytes);
    Exchange { started_ns, method, path, path_length, request_bytes, ..*exchange }
}

/// Index into [`METHODS`].
pub fn method(exchange: &Exchange) -> usize {
    usize::from(exchange.method).min(METHODS.len() - 1)
}

/// The request's target without its query.
pub fn path(exchange: &Exchange) -> &[u8] {
    exchange.path.get(..usize::from(exchange.path_length)).unwrap_or(&exchange.path)
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
    use crate::exchanges::fixture::{ahead, asking, exchange};

    #[test]
    fn a_request_sent_ahead_gives_its_part_to_the_exchange() {
        let whole = asking("DELETE", "/api/x", &exchange());
        let (request, rest) = ahead(&whole);
        assert_eq!(Exchange { flags: 0, ..joined(&rest, &request) }, whole);
        let (request, rest) =
            (RequestAhead { request_bytes: 0, ..request }, Exchange { request_bytes: 7, ..rest });
        assert_eq!(joined(&rest, &request).request_bytes, 7);
    }

    #[test]
    fn numbers_that_mean_nothing_do_no_harm() {
        let strange = Exchange { method: 99, path_length: 999, outcome: 77, ..exchange() };
        assert_eq!((METHODS[method(&strange)], path(&strange).len()), ("other", strange.path.len()));
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
