//! The life of a message: the one place that writes begun, ended, lost and given up, and settles what is outstanding.
//! What cannot be paired for certain is counted as lost, never paired by guess. Knows nothing of framing.
//!
//! A half follows its messages ([`follows::ALL`]) until bytes are missing that framing needed. Then it looks for the next
//! message ([`follows::AGAIN`]), and where that could not be told apart from others, never again ([`follows::NONE`]): the
//! other half, which is intact, counts each exchange as lost from there on.

use super::state::{
    CHUNKED, CLOSING, Half, Http, MARKS, NOBODYS, OVER, REQUEST, RESPONSE, SEND_AHEAD, SEND_EXCHANGE, Stage,
    WAITING,
};
use crate::{
    records::{
        exchange::{self, Body, EXCHANGE, Exchange, HEAD_BYTES, Outcome, PATH_BYTES, STREAM},
        given_up::Cause,
    },
    volatile::{set_volatile, volatile},
};

/// How a half follows its messages.
pub mod follows {
    /// Each of them.
    pub const ALL: u8 = 0;
    /// Some were missed; the next that stands at the beginning of a segment may be taken up.
    pub const AGAIN: u8 = 1;
    /// None any more: which message answers which would be a guess.
    pub const NONE: u8 = 2;
}

/// What becomes of a request that begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begins {
    /// It is the one in [`Http::exchange`].
    First,
    /// Others wait for their answers; it is the one in [`Http::ahead`], to be sent at once.
    Ahead,
    /// Its answer could not be told apart from others; it was counted as lost.
    Lost,
}

/// Begins a request whose line was read: it has a number and a place among those that wait.
#[inline(always)]
pub fn request_begins(http: &mut Http) -> Begins {
    let outstanding = http.outstanding();
    if http.requests_follow == follows::NONE {
        return Begins::Lost;
    }
    if volatile(&http.responses_follow) == follows::NONE {
        http.halves[REQUEST as usize].lost += 1;
        return Begins::Lost;
    }
    if outstanding == 0 {
        return Begins::First;
    }
    if volatile(&http.responses_follow) == follows::AGAIN {
        // The answer to the one before it was looked for and not seen: it may have passed.
        http.unsure = 1;
        http.halves[REQUEST as usize].lost += 1;
        return Begins::Lost;
    }
    // Written where it changes only: the response's half reads this line.
    if http.pipelined == 0 {
        http.pipelined = 1;
    }
    if outstanding >= WAITING {
        // Its answer is nobody's, and counts as lost when it comes.
        http.requests_follow = follows::NONE;
        forget_message(&mut http.halves[REQUEST as usize], false);
        return Begins::Lost;
    }
    Begins::Ahead
}

/// Adds the request that [`request_begins`] gave a place to, whose number is `index`.
#[inline(always)]
pub fn request_began(http: &mut Http, index: u32, ahead: bool, bodiless: bool, tunnel: bool) {
    if ahead {
        let (word, bit) = ((index >> 6) as usize & (MARKS - 1), 1_u64 << (index & 63));
        mark(&mut http.bodiless[word], bit, bodiless);
        mark(&mut http.tunnels[word], bit, tunnel);
    }
    if http.requests_follow != follows::ALL {
        http.requests_follow = follows::ALL;
        http.hidden = 0;
    }
    if http.shortcut.void_request != 0 {
        http.shortcut.void_request = 0;
    }
    if http.preexisting != 0 {
        http.preexisting = 0;
    }
    set_volatile(&mut http.requests, index.wrapping_add(1));
}

/// Sets or clears the bit of one request.
#[inline(always)]
fn mark(marks: &mut u64, bit: u64, marked: bool) {
    let others = volatile(marks) & !bit;
    set_volatile(marks, if marked { others | bit } else { others });
}

/// Tells whether the request that is answered next makes a tunnel, and whether its answer has no body.
#[inline(always)]
pub fn asked_for(http: &Http, tunnel: u8, bodiless: u8) -> (bool, bool) {
    if http.answers_latest() {
        return (http.exchange.method == tunnel, http.exchange.method == bodiless);
    }
    let index = volatile(&http.responses);
    let (word, bit) = ((index >> 6) as usize & (MARKS - 1), 1_u64 << (index & 63));
    (volatile(&http.tunnels[word]) & bit != 0, volatile(&http.bodiless[word]) & bit != 0)
}

/// Has the request whose head has ended sent ahead.
#[inline(always)]
pub fn request_goes_ahead(http: &mut Http) {
    http.halves[REQUEST as usize].send |= SEND_AHEAD;
}

/// Ends the request at hand. What was sent ahead of one in chunks goes again, now that its bytes are known.
#[inline(always)]
pub fn request_ended(http: &mut Http) {
    if is_ahead(http) {
        if http.halves[REQUEST as usize].head & CHUNKED != 0 {
            request_goes_ahead(http);
        }
    } else if is_current(http) {
        http.exchange.request_ns = http.halves[REQUEST as usize].now_ns;
    }
}

/// Tells whether the latest request is the one in [`Http::ahead`].
#[inline(always)]
pub fn is_ahead(http: &Http) -> bool {
    http.ahead.kind != 0 && http.ahead.index.wrapping_add(1) == volatile(&http.requests)
}

/// Tells whether the latest request is the one that the exchange is about.
#[inline(always)]
pub fn is_current(http: &Http) -> bool {
    volatile(&http.requests) == http.exchange.index.wrapping_add(1)
}

/// Takes a status line: whose response begins. One that nobody waits for is lost where requests were missed; else nobody
/// asked, as of a 408 on an idle connection.
#[inline(always)]
pub fn response_comes(http: &mut Http) {
    if http.answers_latest() || http.outstanding() > 0 {
        http.halves[RESPONSE as usize].flags &= !NOBODYS;
        return;
    }
    let missed = has_missed(http, REQUEST) && http.preexisting == 0;
    let half = &mut http.halves[RESPONSE as usize];
    // Interim answers come before the one that counts.
    if half.flags & NOBODYS == 0 && (half.status >= 200 || half.status == SWITCHING) {
        half.lost += u32::from(missed);
    }
    half.flags |= NOBODYS;
}

/// Tells whether a response that was found behind others that were missed answers the one request that waits; if it may be
/// another's, nothing is paired any more.
#[inline(always)]
pub fn may_take_up_response(http: &mut Http) -> bool {
    if http.outstanding() == 0 {
        return false;
    }
    if volatile(&http.unsure) != 0 {
        response_lost(http);
        return false;
    }
    true
}

/// Ends an interim response (RFC 9110 section 15.2): the one that counts is still to come.
#[inline(always)]
pub fn interim_ended(http: &mut Http) {
    let half = &mut http.halves[RESPONSE as usize];
    half.flags &= !NOBODYS;
    if half.status == CONTINUE {
        http.continued = 1;
    }
}

/// The status that a client waits for before it sends a body.
const CONTINUE: u16 = 100;
/// The status with which a connection becomes another protocol's.
const SWITCHING: u16 = 101;

/// Makes the response's part of the exchange that of the next response; all of it, if its request was sent ahead.
#[inline(always)]
pub fn response_begins(http: &mut Http) {
    if http.halves[RESPONSE as usize].flags & NOBODYS != 0 {
        clear_response(&mut http.exchange);
        return;
    }
    if http.responses_follow != follows::ALL {
        http.responses_follow = follows::ALL;
    }
    let responses = volatile(&http.responses);
    set_volatile(&mut http.begun, responses.wrapping_add(1));
    let exchange = &mut http.exchange;
    clear_response(exchange);
    exchange.flags = http.flags.into();
    if exchange.index != responses {
        exchange.flags |= exchange::AHEAD;
        exchange.index = responses;
        exchange.path_length = 0;
        set_volatile(&mut exchange.request_ns, 0);
        set_volatile(&mut exchange.request_bytes, 0);
        exchange.received = 0;
    }
}

/// Makes the response's part of an exchange that of one of which nothing is known.
#[inline(always)]
fn clear_response(exchange: &mut Exchange) {
    // One by one: together they become a call of `memset`, which is a loop over bytes in BPF.
    set_volatile(&mut exchange.response_ns, 0);
    set_volatile(&mut exchange.event_ns, 0);
    set_volatile(&mut exchange.last_event_ns, 0);
    set_volatile(&mut exchange.ended_ns, 0);
    set_volatile(&mut exchange.response_bytes, 0);
    exchange.status = 0;
    exchange.close_code = 0;
    exchange.body = Body::Known as u8;
    exchange.outcome = Outcome::Open as u8;
    if exchange.sent != 0 {
        exchange.sent = 0;
        for count in &mut exchange.gaps {
            set_volatile(count, 0);
        }
        set_volatile(&mut exchange.stalls, 0);
        set_volatile(&mut exchange.gap_sum_ns, 0);
    }
}

/// Takes up a stream that was under way before anybody looked; nothing of its request is known.
#[inline(always)]
pub fn adopted(http: &mut Http, method: u8, body: Body) {
    let now_ns = http.halves[RESPONSE as usize].now_ns;
    let requests = volatile(&http.requests);
    let exchange = &mut http.exchange;
    clear_response(exchange);
    exchange.started_ns = now_ns;
    exchange.index = requests;
    exchange.flags = exchange::PREEXISTING | u16::from(http.flags);
    exchange.path_length = 0;
    set_volatile(&mut exchange.request_ns, 0);
    set_volatile(&mut exchange.request_bytes, 0);
    exchange.method = method;
    exchange.body = body as u8;
    exchange.received = 0;
    set_volatile(&mut http.responses, requests);
    set_volatile(&mut http.begun, requests.wrapping_add(1));
    set_volatile(&mut http.requests, requests.wrapping_add(1));
    http.preexisting = 0;
}

/// Ends the exchange at hand; `side` is to send it.
#[inline(always)]
pub fn exchange_ends(http: &mut Http, side: u32, outcome: Outcome, now_ns: u64) {
    http.answers = http.answers.wrapping_add(1);
    let half = &mut http.halves[RESPONSE as usize];
    if half.flags & NOBODYS != 0 {
        half.flags &= !NOBODYS;
        return;
    }
    if is_void(http) {
        settle(http, 1, side);
        return;
    }
    let exchange = &mut http.exchange;
    exchange.ended_ns = now_ns;
    exchange.outcome = outcome as u8;
    exchange.in_flight = 0;
    let long = exchange.sent > 1 || exchange.body == Body::WebSocket as u8;
    exchange.kind = if long && exchange.body != Body::Known as u8 { STREAM } else { EXCHANGE };
    http.halves[(side & 1) as usize].send |= SEND_EXCHANGE;
}

/// Tells whether what is known of the exchange at hand is not certain: its request could be read in two ways, or a segment
/// of it could not be taken.
#[inline(always)]
fn is_void(http: &Http) -> bool {
    let void = volatile(&http.shortcut.void_request) | volatile(&http.shortcut.missed[REQUEST as usize]);
    void != 0 && volatile(&http.responses).wrapping_add(1) == volatile(&http.requests)
}

/// Settles the next `count` requests as lost.
#[inline(always)]
fn settle(http: &mut Http, count: u32, side: u32) {
    http.halves[(side & 1) as usize].lost += count;
    let responses = volatile(&http.responses).wrapping_add(count);
    set_volatile(&mut http.responses, responses);
    // What was under way is over, and the next walk must not show it.
    http.exchange.outcome = Outcome::Completed as u8;
}

/// Takes note of bytes of the client that are passed over: a request may be among them, and the next is taken up once an answer
/// has come behind them.
#[inline(always)]
pub fn request_bytes_hidden(http: &mut Http) {
    if http.preexisting != 0 {
        // Of a connection that is older than the agent, the first request that is seen is where all begins.
        return;
    }
    http.hidden = 1;
    http.answers_before = volatile(&http.answers);
}

/// Tells whether a request may be taken up that was found behind others that were missed: the client waits for each answer,
/// and all that were asked for are there.
#[inline(always)]
pub fn may_take_up_request(http: &Http) -> bool {
    let half = &http.halves[RESPONSE as usize];
    let between = volatile(&half.stage) == Stage::Start as u8 && volatile(&half.carried) == 0;
    let nothing_known = volatile(&half.stage) >= Stage::Resync as u8;
    let answered = http.hidden == 0 || volatile(&http.answers) != http.answers_before;
    let followed = http.requests_follow != follows::NONE && http.outstanding() == 0;
    followed && answered && (between || nothing_known)
}

/// Notes that the exchange was sent: the next response is another's.
#[inline(always)]
pub fn exchange_sent(http: &mut Http) {
    let responses = volatile(&http.responses).wrapping_add(1);
    set_volatile(&mut http.responses, responses);
}

/// Loses the place in the half.
#[inline(always)]
pub fn lost(http: &mut Http, side: u32) {
    if side & 1 == REQUEST { request_lost(http) } else { response_lost(http) }
}

/// Loses the place among the requests. Those that began are answered all the same; the next one that is found may be taken
/// up where none could be hidden before it.
#[inline(always)]
pub fn request_lost(http: &mut Http) {
    let again = http.pipelined == 0 && http.upgraded == 0;
    let stage = http.halves[REQUEST as usize].stage;
    if stage != Stage::Start as u8 && stage < Stage::Resync as u8 {
        // Of the one at hand not all is known.
        http.shortcut.void_request = 1;
    }
    request_bytes_hidden(http);
    forget_message(&mut http.halves[REQUEST as usize], again);
    if http.requests_follow != follows::NONE {
        http.requests_follow = if again { follows::AGAIN } else { follows::NONE };
    }
    if http.upgraded != 0 {
        frames_lost(http, REQUEST);
    } else {
        over_if_blind(http);
    }
}

/// Loses the place among the responses, and with it all that are outstanding.
#[inline(always)]
pub fn response_lost(http: &mut Http) {
    if http.upgraded != 0 {
        frames_lost(http, RESPONSE);
        return;
    }
    let outstanding = http.outstanding();
    let again = volatile(&http.pipelined) == 0 && volatile(&http.unsure) == 0 && outstanding <= 1;
    forget_message(&mut http.halves[RESPONSE as usize], again);
    if http.responses_follow != follows::NONE {
        http.responses_follow = if again { follows::AGAIN } else { follows::NONE };
    }
    settle(http, outstanding, RESPONSE);
    over_if_blind(http);
}

/// Takes note of a request whose length two readers could take for different (RFC 9112 section 11.2): what of the bytes
/// behind it are requests is not known. Its answer comes, and counts as lost, and so do those behind it.
#[inline(always)]
pub fn request_is_ambiguous(http: &mut Http) {
    http.shortcut.void_request = 1;
    forget_message(&mut http.halves[REQUEST as usize], false);
    http.requests_follow = follows::NONE;
    over_if_blind(http);
}

/// Ends a response that its server broke off in the middle: a size of a chunk that is none.
#[inline(always)]
pub fn response_broke(http: &mut Http) {
    let now_ns = http.halves[RESPONSE as usize].now_ns;
    exchange_ends(http, RESPONSE, Outcome::ServerAbort, now_ns);
    let others = http.outstanding().wrapping_sub(1);
    let again = volatile(&http.pipelined) == 0;
    let send = http.halves[RESPONSE as usize].send;
    forget_message(&mut http.halves[RESPONSE as usize], again);
    http.halves[RESPONSE as usize].send = send;
    http.responses_follow = if again { follows::AGAIN } else { follows::NONE };
    if others.cast_signed() > 0 && !again {
        // They wait behind the one that is sent now: it is settled with its record.
        http.halves[RESPONSE as usize].lost += others;
        let requests = volatile(&http.requests);
        set_volatile(&mut http.responses, requests.wrapping_sub(1));
    }
    over_if_blind(http);
}

/// Forgets where framing stood in a message; `again` if the next one may be looked for.
#[inline(always)]
fn forget_message(half: &mut Half, again: bool) {
    half.flags = 0;
    half.carried = 0;
    half.send = 0;
    half.stage = if again { Stage::Resync as u8 } else { Stage::Opaque as u8 };
}

/// Gives a WebSocket up whose frames were lost: they have no beginning that could be found again.
#[inline(always)]
fn frames_lost(http: &mut Http, side: u32) {
    let outstanding = http.outstanding();
    settle(http, outstanding, side);
    give_up(http, Cause::Frames as u8);
}

/// Gives up where both halves have missed something: an exchange may be hidden in both, and then not even the number of exchanges is
/// known. On a connection that is older than the agent nothing was promised before its first request.
#[inline(always)]
fn over_if_blind(http: &mut Http) {
    let (requests, responses) = (volatile(&http.requests_follow), volatile(&http.responses_follow));
    let both = requests != follows::ALL && responses != follows::ALL;
    if both && http.preexisting == 0 {
        give_up(http, Cause::Unpaired as u8);
    }
}

/// Tells whether messages of the half may have passed unseen: it lost its place, or a segment of it could not be taken.
#[inline(always)]
fn has_missed(http: &Http, side: u32) -> bool {
    let follows =
        if side & 1 == REQUEST { volatile(&http.requests_follow) } else { volatile(&http.responses_follow) };
    follows != follows::ALL || volatile(&http.shortcut.missed[(side & 1) as usize]) != 0
}

/// Gives the connection up for bytes that are not HTTP/1.x. Where messages were before them, that is a loss.
#[inline(always)]
pub fn foreign(http: &mut Http, side: u32) {
    let outstanding = http.outstanding();
    let messages = volatile(&http.requests) != 0;
    settle(http, outstanding, side);
    give_up(http, if messages { Cause::Foreign as u8 } else { OVER });
}

/// Ends HTTP on the connection: what follows is a tunnel's.
#[inline(always)]
pub fn tunnel_begins(http: &mut Http) {
    give_up(http, OVER);
}

#[inline(always)]
fn give_up(http: &mut Http, cause: u8) {
    set_volatile(&mut http.halves[0].stage, Stage::Opaque as u8);
    set_volatile(&mut http.halves[1].stage, Stage::Opaque as u8);
    if volatile(&http.over) == 0 {
        set_volatile(&mut http.over, cause);
    }
}

/// Tells whether bytes that are missing from the half may be passed over where nothing is known: not while they may hold what is
/// looked for.
#[inline(always)]
pub fn may_miss(http: &Http, side: u32) -> bool {
    if side & 1 == REQUEST {
        http.requests_follow != follows::AGAIN
    } else {
        http.responses_follow != follows::AGAIN || http.outstanding() == 0
    }
}

/// Takes note of the client's FIN: it may close its side and wait for the answer, so what that meant shows at the end.
#[inline(always)]
pub fn client_closes(http: &mut Http, now_ns: u64) {
    if http.client_closed_ns == 0 {
        http.client_closed_ns = now_ns;
        http.client_closed_at = if http.has_begun() {
            volatile(&http.exchange.response_bytes).wrapping_add(volatile(&http.shortcut.bytes).into())
        } else {
            u64::MAX
        };
    }
}

/// Tells whether the client closed its side and got nothing of the response after that: it had left.
#[inline(always)]
fn client_left(http: &Http) -> bool {
    if volatile(&http.client_closed_ns) == 0 {
        return false;
    }
    let at = volatile(&http.client_closed_at);
    if !http.has_begun() {
        return true;
    }
    at != u64::MAX && http.exchange.response_bytes <= at
}

/// Ends what is under way as the server closes its side, behind all of its bytes; true if that leaves something to send.
#[inline(always)]
pub fn server_closes(http: &mut Http, now_ns: u64) -> bool {
    let outcome = if client_left(http) { Outcome::ClientAbort } else { Outcome::ServerAbort };
    connection_ends(http, outcome, now_ns)
}

/// Ends what is under way with the connection, and `outcome` says by whom; true if that leaves something to send.
#[inline(always)]
pub fn connection_ends(http: &mut Http, outcome: Outcome, now_ns: u64) -> bool {
    let half = &mut http.halves[RESPONSE as usize];
    half.flags &= !NOBODYS;
    let stage = half.stage;
    let followed = volatile(&http.over) == 0 && http.preexisting == 0;
    if followed && has_missed(http, REQUEST) && has_missed(http, RESPONSE) {
        // What is behind that is never seen now.
        let outstanding = http.outstanding();
        settle(http, outstanding, RESPONSE);
        give_up(http, Cause::Unpaired as u8);
    }
    if http.outstanding() == 0 || stage == Stage::Opaque as u8 || volatile(&http.over) != 0 {
        return false;
    }
    if volatile(&http.shortcut.missed[RESPONSE as usize]) != 0 || http.responses_follow == follows::AGAIN {
        // What was missed may have been the answer.
        response_lost(http);
        return false;
    }
    if !http.has_begun() {
        response_begins(http);
    }
    let (outcome, ended_ns) =
        if stage == Stage::UntilClose as u8 && outcome as u8 == Outcome::ServerAbort as u8 {
            // Which is how such a body ends.
            (Outcome::Completed, now_ns)
        } else if http.exchange.body == Body::WebSocket as u8
            && (http.halves[0].flags | http.halves[1].flags) & CLOSING != 0
        {
            (Outcome::Completed, now_ns)
        } else if outcome as u8 == Outcome::ClientAbort as u8 && http.client_closed_ns != 0 {
            (outcome, http.client_closed_ns)
        } else {
            (outcome, now_ns)
        };
    exchange_ends(http, RESPONSE, outcome, ended_ns);
    // Those behind it are never answered either, and its record tells of them.
    let others = http.outstanding().wrapping_sub(1);
    if others.cast_signed() > 0 {
        http.exchange.in_flight = others;
        let responses = volatile(&http.requests).wrapping_sub(1);
        set_volatile(&mut http.responses, responses);
    }
    set_volatile(&mut http.halves[0].stage, Stage::Opaque as u8);
    set_volatile(&mut http.halves[1].stage, Stage::Opaque as u8);
    true
}

/// How many bytes of the exchange are sent.
#[inline(always)]
pub fn exchange_bytes(http: &Http) -> u32 {
    if http.exchange.kind == STREAM {
        return size_of_val(&http.exchange) as u32;
    }
    let path = u32::from(http.exchange.path_length);
    let path = if path > PATH_BYTES as u32 { PATH_BYTES as u32 } else { path };
    HEAD_BYTES as u32 + path
}
