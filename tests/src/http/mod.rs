//! HTTP of which everything is known: what was asked, what came back, how long it took, byte for byte.
//! `load` plays many requests against a server of [`server`], [`dialog`] single exchanges of any shape; [`truth`] compares.

pub mod client;
pub mod dialog;
pub mod kinds;
pub mod ledger;
pub mod load;
pub mod once;
pub mod python;
pub mod server;
pub mod shapes;
pub mod strangers;
pub mod truth;

pub use once::{Response, get, request};
