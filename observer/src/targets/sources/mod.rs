//! The sources of targets, a file or folder each. They share nothing but how a workload is described.

pub(super) mod docker;
mod listeners;
pub(super) mod names;
mod proc;
mod processes;
pub(super) mod socket_table;
mod systemd;

pub(super) use self::proc::near;
pub(crate) use self::processes::executable;
use self::{docker::Docker, proc::Proc, systemd::Systemd};
pub(super) use self::{listeners::Listeners, processes::link};
use super::{Settings, source::Source};
use crate::cgroup::Hierarchy;

/// All that these settings call for, in the order in which they name what several of them know.
pub(super) fn all(settings: &Settings, hierarchy: &Hierarchy) -> Vec<Box<dyn Source>> {
    let docker =
        settings.docker_socket.clone().map(|socket| Box::new(Docker::new(socket)) as Box<dyn Source>);
    let systemd = Systemd::new(settings, hierarchy).map(|systemd| Box::new(systemd) as Box<dyn Source>);
    let proc = Proc::new(settings, hierarchy).map(|proc| Box::new(proc) as Box<dyn Source>);
    docker.into_iter().chain(systemd).chain(proc).collect()
}
