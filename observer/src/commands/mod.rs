//! What the subcommands do, one file each.
//! They write to what they are given, so that a closed pipe comes back as an error.

pub mod check;
pub mod config;
pub mod metrics;
pub mod run;
pub mod targets;
