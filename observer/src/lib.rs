//! The observer agent: finds targets, attaches the kernel half to their cgroups, serves their metrics.
//! Data flows one way: targets and kernel feed collectors, a scrape collects, the server answers.

pub mod agent;
pub mod cgroup;
pub mod cli;
pub mod collectors;
pub mod commands;
pub mod config;
pub mod confine;
pub mod exchanges;
#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz;
pub mod kernel;
pub mod logging;
pub mod nodejs;
pub(crate) mod place;
pub mod probing;
pub mod profiles;
pub mod reading;
pub mod server;
pub mod targets;
