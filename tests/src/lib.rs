//! What the end-to-end tests share: the agent as a process, cgroups, Docker, known traffic, reading metrics.
//! `demo` is the chat service, its load generator and the live demonstration; `bench` measures what observing costs.

pub mod agent;
pub mod apps;
pub mod bench;
pub mod bpf;
pub mod cgroup;
pub mod churn;
pub mod collections;
pub mod corners;
pub mod demo;
pub mod docker;
pub mod fake_docker;
pub mod faults;
pub mod guest;
pub mod hostile;
pub mod http;
pub mod memory_cgroup;
pub mod metrics;
pub mod namespace;
pub mod neighbour;
pub mod nodejs;
pub mod pools;
pub mod process;
pub mod prometheus;
pub mod puppet;
pub mod random;
pub mod sleeper;
pub mod soak;
pub mod streams;
pub mod traffic;
pub mod wire;
