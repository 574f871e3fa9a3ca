//! Attacks of one container on the agent and on its neighbours, each really run beside a target that means no harm.
//! docs/threats.md says which attack is stopped by what, and which test here shows it.

mod at_once;
mod descriptors;
mod executables;
mod file_systems;
mod log;
mod peers;
mod pipelines;
mod processes;
mod scrapers;
mod series;
