//! The demo: a chat service, a mock model server that it calls, a load generator that knows what it did.
//! `show` runs them under observation and compares; the other files are what it runs.

pub mod client;
pub mod compare;
pub mod counted;
pub mod load;
pub mod model;
pub mod pages;
pub mod scenario;
pub mod service;
pub mod show;
pub mod table;
pub mod tally;
pub mod upstream;
pub mod websocket;
