//! The observer agent: finds targets, attaches the kernel half to their cgroups, serves their metrics.
//! Data flows one way: targets and kernel feed collectors, a scrape collects, the server answers.

pub mod collectors;
pub mod kernel;
pub mod profiles;
pub mod targets;
