//! What both halves share: the contents of records and maps, each declared once.
//! Knows sizes, numbers and label values; nothing of programs, framers or sockets.

pub mod cgroup;
pub mod exchange;
pub mod given_up;
pub mod histogram;
pub mod l7;
pub mod loss;
pub mod open_connection;
pub mod peer;
pub mod room;
pub mod runtime;
