//! Node.js processes of targets: found by what their executables are, and probed there.
//! Nothing is written to a process or to its files, and no signal is sent.

mod follow;
mod shares;

pub use follow::{Follower, Probes, Refused};
