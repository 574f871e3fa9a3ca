//! Node.js processes of targets: found by what their executables are, probed at V8's and libuv's own functions.
//! Nothing is written to a process or to its files, and no signal is sent.

pub(crate) mod bounded;
mod code;
#[cfg(test)]
mod damaged;
mod elf;
mod executable;
mod follow;
#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz;
mod names;
mod shares;
mod symbols;
mod waits;

pub use executable::{Executable, Missing, Point, Probe, Reading, read};
pub use follow::{Follower, Probes, Refused};
