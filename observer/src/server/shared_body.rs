//! A text that many clients read, each at its own pace: kept once, given out in small pieces.
//! Few of them are kept at a time; who reads so slowly that others have come since is cut off.

use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError, Weak},
    task::{Context, Poll},
};

use hyper::body::{Body, Bytes, Frame, SizeHint};

/// Texts that are kept at the same time, and bytes of all of them; but the last two stay, however long they are.
const MOST: usize = 32;
const MOST_BYTES: usize = 16 << 20;
const LEAST: usize = 2;

/// Bytes of a piece. Each is a copy, so that a piece that waits to be sent does not hold the whole text.
const PIECE: usize = 16 * 1024;

/// A text that is shared; `None` once it was cut off.
type Slot = Mutex<Option<Bytes>>;

/// The texts that somebody still reads, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Bodies(VecDeque<(Weak<Slot>, usize)>);

impl Bodies {
    /// Keeps one more, in place of the oldest where there would be more than may be.
    pub(super) fn add(&mut self, text: Vec<u8>) -> SharedBody {
        let length = text.len();
        self.0.retain(|(slot, _)| slot.strong_count() > 0);
        let mut bytes = length + self.0.iter().map(|(_, length)| length).sum::<usize>();
        while self.0.len() >= LEAST && (self.0.len() >= MOST || bytes > MOST_BYTES) {
            let Some((oldest, length)) = self.0.pop_front() else { break };
            bytes -= length;
            if let Some(oldest) = oldest.upgrade() {
                oldest.lock().unwrap_or_else(PoisonError::into_inner).take();
            }
        }
        let slot = Arc::new(Mutex::new(Some(Bytes::from(text))));
        self.0.push_back((Arc::downgrade(&slot), length));
        SharedBody { slot, position: 0, length }
    }
}

/// One reader's place in a text. A clone reads it from the begin.
#[derive(Debug)]
pub(super) struct SharedBody {
    slot: Arc<Slot>,
    position: usize,
    length: usize,
}

impl SharedBody {
    /// All of it, if it was not cut off.
    pub(super) fn bytes(&self) -> Option<Bytes> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Clone for SharedBody {
    fn clone(&self) -> Self {
        Self { slot: Arc::clone(&self.slot), position: 0, length: self.length }
    }
}

impl Body for SharedBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if self.is_end_stream() {
            return Poll::Ready(None);
        }
        let end = self.length.min(self.position + PIECE);
        let piece = {
            let text = self.slot.lock().unwrap_or_else(PoisonError::into_inner);
            text.as_ref().map(|text| Bytes::copy_from_slice(&text[self.position..end]))
        };
        self.position = end;
        let piece = piece.ok_or_else(|| io::Error::other("it was read too slowly; others have come since"));
        Poll::Ready(Some(piece.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.position == self.length
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact((self.length - self.position) as u64)
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    fn next(body: &mut SharedBody) -> Option<io::Result<usize>> {
        match Pin::new(body).poll_frame(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(frame) => frame.map(|frame| frame.map(|frame| frame.into_data().unwrap().len())),
            Poll::Pending => panic!("it waits"),
        }
    }

    #[test]
    fn a_text_is_read_in_pieces_and_the_oldest_is_cut_off() {
        let mut bodies = Bodies::default();
        let mut first = bodies.add(vec![b'a'; PIECE + 1]);
        let mut again = first.clone();
        assert_eq!(next(&mut first).unwrap().unwrap(), PIECE);
        let mut others: Vec<_> = (0..MOST - 1).map(|_| bodies.add(vec![b'b'; 10])).collect();
        assert_eq!(next(&mut first).unwrap().unwrap(), 1);
        assert!(next(&mut first).is_none());
        drop(first);
        let _one_more = bodies.add(vec![b'c'; 10]);
        assert!(again.bytes().is_none(), "its memory is given back");
        assert!(next(&mut again).unwrap().is_err());
        assert!(others.iter_mut().all(|body| next(body).unwrap().unwrap() == 10));
        drop((again, others));
        let large: Vec<_> = (0..3).map(|_| bodies.add(vec![0; MOST_BYTES])).collect();
        let kept: Vec<bool> = large.iter().map(|body| body.bytes().is_some()).collect();
        assert_eq!(kept, [false, true, true]);
    }
}
