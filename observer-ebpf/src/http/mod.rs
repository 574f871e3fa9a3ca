//! HTTP/1.x, its streams and WebSockets: where messages begin and end, and when.
//! Transport-independent: fed with bytes and their positions, by packets here and by TLS plaintext later.

pub mod alone;
pub mod body;
pub mod end;
pub mod events;
pub mod exchange;
pub mod fields;
pub mod first_line;
pub mod head;
#[cfg(not(target_arch = "bpf"))]
pub mod host;
pub mod length;
pub mod names;
pub mod resync;
pub mod segments;
pub mod shortcut;
pub mod state;
pub mod words;

use state::{Half, Http};

/// Where a half's bytes come from, and how the framer's functions call each other. In the kernel half each call is one
/// of a function with scalar arguments, which the verifier looks at once and not for each path that leads to it.
pub trait Calls {
    /// The connection's state.
    #[expect(
        clippy::mut_from_ref,
        reason = "it is behind the kernel's pointer, and taken anew after every call"
    )]
    fn http(&self) -> &mut Http;
    /// Copies `length` bytes, 1 to [`state::LOAD`], from `offset` of the segment's payload to `position` of the half's
    /// window; false where that is not possible.
    fn load(&self, offset: u32, half: &mut Half, position: u32, length: u32) -> bool;
    /// Sends what [`Half::send`] asks for.
    fn send(&self, side: u32);
    /// [`segments::steps`]
    fn steps(&self, side: u32, offset: u32, end: u32) -> u32;
    /// [`segments::step`]
    fn step(&self, side: u32, offset: u32, end: u32) -> u32;
    /// [`segments::disorder`]
    fn disorder(&self, side: u32, sequence: u32, length: u32) -> u32;
    /// [`segments::read_chunks`]
    fn read_chunks(&self, side: u32, length: u32) -> u32;
    /// [`head::lines`], and [`Calls::send`] if that left something to send
    fn lines(&self, side: u32, offset: u32, end: u32) -> u32;
    /// [`events::has_event`]
    fn has_event(&self) -> u32;
    /// [`body::body`], and [`Calls::send`] if that left something to send
    fn body(&self, side: u32, offset: u32, end: u32) -> u32;
    /// [`events::frame`], and [`Calls::send`] if that left something to send
    fn frame(&self, side: u32, offset: u32, end: u32) -> u32;
    /// [`resync::resync`]
    fn resync(&self, side: u32, offset: u32, end: u32) -> u32;
}

#[cfg(test)]
mod tests;
