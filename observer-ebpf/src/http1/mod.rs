//! HTTP/1.x, its streams and WebSockets: where messages begin and end, and when.
//! Knows bytes and positions. What carries them is a [`Context`]: packets now, TLS plaintext next.

mod adoption;
pub mod body;
pub mod events;
pub mod fields;
pub mod first_line;
pub mod head;
mod length;
pub mod life_cycle;
mod load;
pub mod names;
pub mod packets;
pub mod resync;
pub mod shortcut;
mod size_line;
pub mod state;
pub mod steps;
pub mod websocket;
pub mod words;

use state::{Half, Http};

/// Where a half's bytes come from, and how the framer's functions call each other. In the kernel half each call is one
/// of a function with scalar arguments, which the verifier looks at once and not for each path that leads to it.
pub trait Context {
    /// The connection's state.
    #[expect(
        clippy::mut_from_ref,
        reason = "it is behind the kernel's pointer, and taken anew after every call"
    )]
    fn http(&self) -> &mut Http;
    /// Copies `length` bytes, 1 to [`state::LOAD`], from `offset` of the segment's payload to `position` of the half's
    /// window; false where that is not possible.
    fn load(&self, offset: u32, half: &mut Half, position: u32, length: u32) -> bool;
    /// [`steps::rest`]
    fn rest(&self, side: u32, offset: u32, end: u32);
    /// [`steps::steps`]
    fn steps(&self, side: u32, offset: u32, end: u32) -> u32;
    /// [`steps::step`]
    fn step(&self, side: u32, offset: u32, end: u32) -> u32;
    /// [`head::lines`], and sends what that left to send
    fn lines(&self, side: u32, offset: u32, end: u32) -> u32;
    /// [`first_line::first_line`]
    fn first_line(&self, side: u32, end: u32) -> u32;
    /// [`fields::blanks`]
    fn blanks(&self, side: u32);
    /// [`body::body`], likewise
    fn body(&self, side: u32, offset: u32, end: u32) -> u32;
    /// [`body::chunks`]
    fn chunks(&self, side: u32, offset: u32, end: u32) -> u32;
    /// [`body::look`], likewise
    fn look(&self, side: u32, offset: u32, end: u32) -> u32;
    /// [`events::search`]
    fn search(&self, is_sse: u32) -> u32;
    /// [`websocket::frame`], likewise
    fn frame(&self, side: u32, offset: u32, end: u32) -> u32;
    /// [`steps::first`]
    fn first(&self, side: u32, offset: u32, end: u32) -> u32;
    /// [`body::small_chunk`]
    fn small_chunk(&self, side: u32, filled: u32) -> u32;
    /// [`websocket::short_frame`]
    fn short_frame(&self, side: u32, filled: u32) -> u32;
    /// [`websocket::frames`]
    fn frames(&self, side: u32, offset: u32, end: u32) -> u32;
    /// [`resync::resync`]
    fn resync(&self, side: u32, offset: u32, end: u32) -> u32;
}

#[cfg(test)]
mod tests;
