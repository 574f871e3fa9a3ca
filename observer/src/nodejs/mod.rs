//! Node.js processes of targets: found by what their executables are, probed at V8's and libuv's own functions.
//! Nothing is written to a process or to its files, and no signal is sent.

pub(crate) mod bounded;
mod code;
mod executable;
mod follow;
#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz;
mod not_covered;
mod symbols;
mod waits;

pub use executable::{Executable, Missing, Point, Probe, read};
pub use follow::{Follower, Probes, Refused};
pub use not_covered::not_covered;
