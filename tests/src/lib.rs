//! What the end-to-end tests share: the agent as a process, cgroups, scraping and reading metrics.
//! `demo` is the chat service, its load generator and the live demonstration of the two under observation.

pub mod agent;
pub mod bpf;
pub mod cgroup;
pub mod demo;
pub mod http;
pub mod metrics;
pub mod process;
pub mod puppet;
