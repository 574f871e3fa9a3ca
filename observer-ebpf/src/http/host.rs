//! The framer outside of the kernel: for tests, fuzzing, and comparison with other parsers.
//! The steps are the kernel half's; only where bytes come from and where records go differs.

use core::cell::{Ref, RefCell, UnsafeCell};

use super::{
    Calls, body, end, events,
    exchange::{Exchange, Outcome, RequestAhead},
    head, resync, segments, shortcut,
    state::{Half, Http, LOST, REQUEST, RESPONSE, SEND_AHEAD, SEND_EXCHANGE, Stage},
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
    http: Box<UnsafeCell<Http>>,
    records: RefCell<Vec<Record>>,
    payload: RefCell<Vec<u8>>,
    lost: RefCell<u32>,
}

impl Default for Connection {
    fn default() -> Self {
        Self::new(0, 0)
    }
}

impl Connection {
    /// A connection whose first bytes have the sequence numbers `request` and `response`.
    pub fn new(request: u32, response: u32) -> Self {
        let mut http = Http::EMPTY;
        (http.halves[0].next, http.halves[1].next) = (request, response);
        http.stall_ns = 10_000_000_000;
        Self {
            http: Box::new(UnsafeCell::new(http)),
            records: RefCell::default(),
            payload: RefCell::default(),
            lost: RefCell::default(),
        }
    }

    /// A connection that was open before anybody looked.
    pub fn preexisting(request: u32, response: u32) -> Self {
        let connection = Self::new(request, response);
        let http = connection.http();
        (http.halves[0].stage, http.halves[1].stage) = (Stage::Resync as u8, Stage::Resync as u8);
        http.preexisting = 1;
        connection
    }

    /// Hands over a segment of one side, [`REQUEST`] or [`RESPONSE`].
    pub fn segment(&self, side: u32, sequence: u32, payload: &[u8], now_ns: u64) {
        payload.clone_into(&mut self.payload.borrow_mut());
        let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        if side == RESPONSE && self.by_shortcut(sequence, payload, now_ns) {
            return;
        }
        segments::segment(self, side, sequence, length, now_ns);
        self.note_loss();
    }

    /// The side's FIN.
    pub fn fin(&self, side: u32, now_ns: u64) {
        if end::fin(self.http(), side, now_ns) {
            self.send(RESPONSE);
        }
    }

    /// The connection is gone.
    pub fn closed(&self, outcome: Outcome, now_ns: u64) {
        if end::closed(self.http(), outcome, now_ns) {
            self.send(RESPONSE);
        }
    }

    /// What was sent so far.
    pub fn records(&self) -> Ref<'_, Vec<Record>> {
        self.records.borrow()
    }

    /// The exchanges among what was sent.
    pub fn exchanges(&self) -> Vec<Exchange> {
        let records = self.records();
        let exchanges = records.iter().filter_map(|record| match record {
            Record::Exchange(exchange) => Some(*exchange),
            Record::Ahead(_) => None,
        });
        exchanges.collect()
    }

    /// How often framing was lost.
    pub fn lost(&self) -> u32 {
        *self.lost.borrow()
    }

    /// The connection's state.
    pub fn state(&self) -> &Http {
        self.http()
    }

    fn by_shortcut(&self, sequence: u32, payload: &[u8], now_ns: u64) -> bool {
        let http = self.http();
        let stall_ns = http.stall_ns;
        if http.shortcut.open == shortcut::CLOSED || http.shortcut.next != sequence {
            return false;
        }
        let mut start = [0; shortcut::START];
        for (to, from) in start.iter_mut().zip(payload) {
            *to = *from;
        }
        let words = core::array::from_fn(|index| {
            u64::from_le_bytes(core::array::from_fn(|byte| start[index * 8 + byte]))
        });
        let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        shortcut::take(&mut http.shortcut, words, length, now_ns, stall_ns)
    }

    fn note_loss(&self) {
        for half in &mut self.http().halves {
            if half.flags & LOST != 0 {
                half.flags &= !LOST;
                *self.lost.borrow_mut() += 1;
            }
        }
    }
}

impl Calls for Connection {
    fn http(&self) -> &mut Http {
        // SAFETY: one thread uses a connection, and the framer takes the reference anew after each call, as it does in
        // the kernel half.
        unsafe { &mut *self.http.get() }
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

    fn send(&self, side: u32) {
        let http = self.http();
        let half = &mut http.halves[(side & 1) as usize];
        let send = core::mem::take(&mut half.send);
        if send & SEND_AHEAD != 0 {
            self.records.borrow_mut().push(Record::Ahead(http.ahead));
        }
        if send & SEND_EXCHANGE != 0 {
            self.records.borrow_mut().push(Record::Exchange(http.exchange));
            http.exchange_sent();
        }
    }

    fn steps(&self, side: u32, offset: u32, end: u32) -> u32 {
        segments::steps(self, side, offset, end)
    }

    fn step(&self, side: u32, offset: u32, end: u32) -> u32 {
        segments::step(self, side, offset, end)
    }

    fn disorder(&self, side: u32, sequence: u32, length: u32) -> u32 {
        let goes_on = segments::disorder(self.http(), side, sequence, length);
        self.send(side);
        goes_on
    }

    fn read_chunks(&self, side: u32, length: u32) -> u32 {
        segments::read_chunks(self, side, length)
    }

    fn lines(&self, side: u32, offset: u32, end: u32) -> u32 {
        let goes_on = head::lines(self, side, offset, end);
        self.send(side);
        goes_on
    }

    fn has_event(&self) -> u32 {
        events::has_event(self.http())
    }

    fn body(&self, side: u32, offset: u32, end: u32) -> u32 {
        let goes_on = body::body(self, side, offset, end);
        self.send(side);
        goes_on
    }

    fn frame(&self, side: u32, offset: u32, end: u32) -> u32 {
        let goes_on = events::frame(self, side, offset, end);
        self.send(side);
        goes_on
    }

    fn resync(&self, side: u32, offset: u32, end: u32) -> u32 {
        resync::resync(self, side, offset, end)
    }
}

/// The path of an exchange or a request ahead, as text.
pub fn path(bytes: &[u8], length: u16) -> String {
    String::from_utf8_lossy(bytes.get(..usize::from(length)).unwrap_or(bytes)).into_owned()
}

impl Connection {
    /// Hands over `requests` and `responses` in one segment each.
    pub fn whole(requests: &[u8], responses: &[u8]) -> Self {
        let connection = Self::default();
        connection.segment(REQUEST, 0, requests, 1_000);
        connection.segment(RESPONSE, 0, responses, 2_000);
        connection
    }
}
