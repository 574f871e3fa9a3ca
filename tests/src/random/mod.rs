//! Random exchanges against the running agent: a seed gives every conversation, raw sockets on both sides play it byte for
//! byte, and what was asked and answered is held against the metrics. `run` does it, `narrow` finds what fails.

pub mod compare;
pub mod conversation;
mod exchange;
pub mod flow;
pub mod kinds;
mod message;
pub mod narrow;
pub mod parties;
pub mod play;
pub mod run;
mod streams;
pub mod tally;
mod turns;
mod websocket;
