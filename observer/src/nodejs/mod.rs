//! Node.js processes of targets: what their executables are, and where V8's and libuv's own functions are probed.
//! Nothing is written to a process or to its files, and no signal is sent.

pub(crate) mod bounded;
mod code;
#[cfg(test)]
mod damaged;
mod elf;
mod executable;
#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz;
mod names;
mod not_covered;
mod symbols;
mod waits;

pub use executable::{Executable, Missing, Point, Probe, Reading, read};
pub use not_covered::not_covered;
