//! Corners of TCP and HTTP beside the running agent: each is counted for what it is, or said to be missing, never wrong.
//! One module per subject; what both ends say is in `tests::corners::cases` where other kernels play it too.

mod bytes_once;
mod defer_accept;
mod fast_open;
mod foreign;
mod framing;
mod mptcp;
mod overtaken;
mod reconnect;
mod stopped;
mod walk;
