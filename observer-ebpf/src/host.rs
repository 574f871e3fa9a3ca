//! The framer outside of the kernel: for tests, fuzzing, and comparison with other parsers.
//! Steps, order and shortcuts are the kernel half's; only where bytes come from and where records go differs.

use core::cell::{Ref, RefCell, UnsafeCell};
use std::collections::BTreeMap;

use crate::{
    flow::Followed,
    framer::{REQUEST, RESPONSE},
    http1::{
        Context, body, events, fields, first_line, head, life_cycle,
        packets::{self, InOrder, Packets},
        resync, shortcut,
        state::{Half, Http, OVER, SEND_AHEAD, SEND_EXCHANGE},
        steps, websocket,
    },
    order::{self, Order},
    records::exchange::{Exchange, Outcome, RequestAhead},
};

/// What the kernel half would have sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record {
    /// An exchange that ended.
    Exchange(Exchange),
    /// A request that came before the answer to the one before it.
    Ahead(RequestAhead),
}

/// A connection whose segments are given by hand.
#[derive(Debug)]
pub struct Connection {
    followed: Box<UnsafeCell<Followed>>,
    records: RefCell<Vec<Record>>,
    payload: RefCell<Vec<u8>>,
    lost: RefCell<u32>,
    shortcuts: bool,
}

impl Default for Connection {
    fn default() -> Self {
        Self::new(0, 0)
    }
}

impl Connection {
    /// A connection whose first bytes have the sequence numbers `request` and `response`.
    pub fn new(request: u32, response: u32) -> Self {
        Self::begun([request, response], false)
    }

    /// A connection that was open before anybody looked.
    pub fn preexisting(request: u32, response: u32) -> Self {
        Self::begun([request, response], true)
    }

    fn begun(next: [u32; 2], preexisting: bool) -> Self {
        let mut followed = Followed::EMPTY;
        followed.begin(next, preexisting);
        followed.http.stall_ns = 10_000_000_000;
        Self {
            followed: Box::new(UnsafeCell::new(followed)),
            records: RefCell::default(),
            payload: RefCell::default(),
            lost: RefCell::default(),
            shortcuts: true,
        }
    }

    /// The same connection, all of whose segments go the long way.
    #[must_use]
    pub fn without_shortcuts(self) -> Self {
        Self { shortcuts: false, ..self }
    }

    /// Hands over a segment of one side, [`REQUEST`] or [`RESPONSE`].
    pub fn segment(&self, side: u32, sequence: u32, payload: &[u8], now_ns: u64) {
        if payload.is_empty() {
            return;
        }
        payload.clone_into(&mut self.payload.borrow_mut());
        let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        if self.shortcuts && self.by_shortcut(side, sequence, payload, now_ns) {
            self.note_loss();
            return;
        }
        packets::segment(self, side, sequence, length, now_ns);
        if order::fin_passes(self.order(side)) {
            self.fin_passed(side, now_ns);
        }
        self.note_loss();
    }

    /// The side's FIN, whose turn is at once.
    pub fn fin(&self, side: u32, now_ns: u64) {
        self.fin_passed(side, now_ns);
        self.note_loss();
    }

    /// The side's FIN, behind the byte before `sequence`.
    pub fn fin_at(&self, side: u32, sequence: u32, now_ns: u64) {
        order::fin_came(self.order(side), sequence);
        if order::fin_passes(self.order(side)) {
            self.fin(side, now_ns);
        }
    }

    fn fin_passed(&self, side: u32, now_ns: u64) {
        if side == REQUEST {
            life_cycle::client_closes(self.http(), now_ns);
        } else {
            self.settle_shortcut();
            if life_cycle::server_closes(self.http(), now_ns) {
                self.send(RESPONSE);
            }
        }
    }

    /// The connection is gone.
    pub fn closed(&self, outcome: Outcome, now_ns: u64) {
        self.settle_shortcut();
        if life_cycle::connection_ends(self.http(), outcome, now_ns) {
            self.send(RESPONSE);
        }
        self.note_loss();
    }

    fn settle_shortcut(&self) {
        if let Some(next) = shortcut::settle(self.http()) {
            self.order(RESPONSE).next = next;
        }
    }

    /// What was sent so far.
    pub fn records(&self) -> Ref<'_, Vec<Record>> {
        self.records.borrow()
    }

    /// The exchanges among what was sent, with those that are never answered because the one before them ended with the
    /// connection.
    pub fn exchanges(&self) -> Vec<Exchange> {
        let records = self.records();
        let exchanges = records.iter().filter_map(|record| match record {
            Record::Exchange(exchange) => Some(*exchange),
            Record::Ahead(_) => None,
        });
        exchanges.flat_map(Exchange::and_unanswered).collect()
    }

    /// The exchanges as [`Self::exchanges`] has them, each with what was sent ahead of it where its request was.
    pub fn joined(&self) -> Vec<(Exchange, Option<RequestAhead>)> {
        // What goes again, now that its bytes are known, is behind what went first.
        let ahead: BTreeMap<u32, RequestAhead> = (self.records().iter())
            .filter_map(|record| match record {
                Record::Ahead(request) => Some((request.index, *request)),
                Record::Exchange(_) => None,
            })
            .collect();
        let with_request = |exchange: Exchange| (exchange, ahead.get(&exchange.index).copied());
        self.exchanges().into_iter().map(with_request).collect()
    }

    /// How many exchanges were lost.
    pub fn lost(&self) -> u32 {
        *self.lost.borrow()
    }

    /// Whether it was given up, so that more exchanges than those lost may be missing.
    pub fn is_given_up(&self) -> bool {
        !matches!(self.http().over, 0 | OVER)
    }

    /// The framer's state.
    pub fn state(&self) -> &Http {
        self.http()
    }

    /// Where the side stands.
    pub fn order_of(&self, side: u32) -> &Order {
        self.order(side)
    }

    /// The sequence number that a side goes on with, by the shortcut too.
    pub fn next(&self, side: u32) -> u32 {
        let http = self.http();
        if side == RESPONSE && http.shortcut.open != shortcut::CLOSED {
            return http.shortcut.next;
        }
        self.order(side).next
    }

    fn by_shortcut(&self, side: u32, sequence: u32, payload: &[u8], now_ns: u64) -> bool {
        let http = self.http();
        let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        if side == RESPONSE && http.shortcut.open != shortcut::CLOSED {
            if http.shortcut.next != sequence {
                return false;
            }
            let stall_ns = http.stall_ns;
            let segment = segment_of(http.shortcut.open, payload, length);
            return shortcut::take(&mut http.shortcut, &segment, now_ns, stall_ns);
        }
        if !packets::is_next_message(self, side, sequence) {
            return false;
        }
        packets::message(self, side, sequence, length, now_ns);
        true
    }

    fn note_loss(&self) {
        for half in &mut self.http().halves {
            *self.lost.borrow_mut() += core::mem::take(&mut half.lost);
        }
    }
}

/// The bytes of a segment that its shortcut looks at, as the kernel half loads them.
fn segment_of(open: u8, payload: &[u8], length: u32) -> shortcut::Segment {
    let mut start = [0; shortcut::START];
    for (to, from) in start.iter_mut().zip(payload) {
        *to = *from;
    }
    let start = core::array::from_fn(|index| {
        u64::from_le_bytes(core::array::from_fn(|byte| start[index * 8 + byte]))
    });
    let mut end = [0; 8];
    if shortcut::looks_at_end(open, length) {
        let from = payload.len() - shortcut::END as usize;
        end[..shortcut::END as usize].copy_from_slice(&payload[from..]);
    }
    shortcut::Segment { start, end: u64::from_le_bytes(end), length }
}

impl Context for Connection {
    fn http(&self) -> &mut Http {
        // SAFETY: one thread uses a connection, and the framer takes the reference anew after each call, as it does in
        // the kernel half.
        unsafe { &mut (*self.followed.get()).http }
    }

    fn load(&self, offset: u32, half: &mut Half, position: u32, length: u32) -> bool {
        let (offset, position, length) = (offset as usize, position as usize, length as usize);
        let payload = self.payload.borrow();
        let from = payload.get(offset..offset + length);
        let to = half.window.get_mut(position..position + length);
        let (Some(from), Some(to)) = (from, to) else { return false };
        to.copy_from_slice(from);
        true
    }

    fn rest(&self, side: u32, offset: u32, end: u32) {
        steps::rest(self, side, offset, end);
    }

    fn steps(&self, side: u32, offset: u32, end: u32) -> u32 {
        steps::steps(self, side, offset, end)
    }

    fn step(&self, side: u32, offset: u32, end: u32) -> u32 {
        steps::step(self, side, offset, end)
    }

    fn lines(&self, side: u32, offset: u32, end: u32) -> u32 {
        let goes_on = head::lines(self, side, offset, end);
        self.send(side);
        goes_on
    }

    fn blanks(&self, side: u32) {
        fields::blanks(&mut self.http().halves[(side & 1) as usize]);
    }

    fn body(&self, side: u32, offset: u32, end: u32) -> u32 {
        let goes_on = body::body(self, side, offset, end);
        self.send(side);
        goes_on
    }

    fn chunks(&self, side: u32, offset: u32, end: u32) -> u32 {
        body::chunks(self, side, offset, end)
    }

    fn look(&self, side: u32, offset: u32, end: u32) -> u32 {
        let goes_on = body::look(self, side, offset, end);
        self.send(side);
        goes_on
    }

    fn search(&self, is_sse: u32) -> u32 {
        events::search(self.http(), is_sse)
    }

    fn frame(&self, side: u32, offset: u32, end: u32) -> u32 {
        let goes_on = websocket::frame(self, side, offset, end);
        self.send(side);
        goes_on
    }

    fn first(&self, side: u32, offset: u32, end: u32) -> u32 {
        steps::first(self, side, offset, end)
    }

    fn first_line(&self, side: u32, end: u32) -> u32 {
        first_line::first_line(self.http(), side, end)
    }

    fn small_chunk(&self, side: u32, filled: u32) -> u32 {
        body::small_chunk(self.http(), side, filled).into()
    }

    fn short_frame(&self, side: u32, filled: u32) -> u32 {
        websocket::short_frame(self.http(), side, filled).into()
    }

    fn frames(&self, side: u32, offset: u32, end: u32) -> u32 {
        websocket::frames(self, side, offset, end)
    }

    fn resync(&self, side: u32, offset: u32, end: u32) -> u32 {
        resync::resync(self, side, offset, end)
    }
}

impl Packets for Connection {
    fn order(&self, side: u32) -> &mut Order {
        // SAFETY: as in `http`.
        unsafe { &mut (*self.followed.get()).orders[(side & 1) as usize] }
    }

    fn disorder(&self, side: u32, sequence: u32, length: u32) -> u32 {
        let goes_on = order::disorder(&InOrder(self), side, sequence, length);
        self.send(side);
        goes_on
    }

    fn read_ahead(&self, side: u32, length: u32) -> u32 {
        packets::read_ahead(self, side, length)
    }
}

impl Connection {
    fn send(&self, side: u32) {
        let http = self.http();
        let half = &mut http.halves[(side & 1) as usize];
        let send = core::mem::take(&mut half.send);
        if send & SEND_AHEAD != 0 {
            self.records.borrow_mut().push(Record::Ahead(http.ahead));
        }
        if send & SEND_EXCHANGE != 0 {
            self.records.borrow_mut().push(Record::Exchange(http.exchange));
            life_cycle::exchange_sent(http);
        }
    }

    /// Hands over `requests` and `responses` in one segment each.
    pub fn whole(requests: &[u8], responses: &[u8]) -> Self {
        let connection = Self::default();
        connection.segment(REQUEST, 0, requests, 1_000);
        connection.segment(RESPONSE, 0, responses, 2_000);
        connection
    }
}

/// The path of an exchange or a request ahead, as text.
pub fn path(bytes: &[u8], length: u16) -> String {
    String::from_utf8_lossy(bytes.get(..usize::from(length)).unwrap_or(bytes)).into_owned()
}
