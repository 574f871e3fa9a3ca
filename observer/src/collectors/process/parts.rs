//! What a Python process is in a program of several processes: its main process, an HTTP server, a worker, a manager.
//! A forked process has its parent's command line, so it is told by how it was started and by its sockets.

use super::{
    descriptors::{Descriptors, accepting_unix},
    files::ProcessDirectory,
    role::role_of,
    role_words::{APP_SERVERS, PYTHONS},
};
use crate::profiles::ProcessNames;

/// A part of a program of several processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// Runs a script or module, and was started by none like it.
    Main,
    /// Accepts connections on a socket that it shares with the process that started it.
    HttpServer,
    /// Started by `multiprocessing` to work.
    Worker,
    /// Holds what the others share, as the process of a `multiprocessing.Manager`.
    Manager,
}

/// A process with what its command line says.
pub(super) struct Told {
    pub(super) directory: ProcessDirectory,
    pub(super) role: String,
    pub(super) command_line: Vec<u8>,
}

impl Told {
    /// Reads what its command line says.
    pub(super) fn new(directory: ProcessDirectory, comm: &str, command_line: Vec<u8>) -> Self {
        let role = role_of(&directory, comm, &command_line);
        Self { directory, role, command_line }
    }

    /// What a Python process runs, empty for bare code; `None` of any other program.
    fn python(&self) -> Option<&str> {
        let (program, runs) = self.role.split_once(' ').unwrap_or((&self.role, ""));
        PYTHONS.contains(&program).then_some(runs)
    }

    fn is_python(&self, runs: &str) -> bool {
        self.python() == Some(runs)
    }
}

impl Part {
    /// The part of this process; `parents` are those that started it, the nearest first, as far as they are in the
    /// target.
    pub(super) fn of(process: &Told, parents: &[Told]) -> Option<Self> {
        let runs = process.python()?;
        let parent = parents.first().filter(|parent| parent.python().is_some());
        let spawned = runs == "spawn_main";
        let forked = parent.is_some_and(|parent| parent.command_line == process.command_line);
        match parent {
            _ if runs.is_empty() || runs.ends_with("_tracker") => return None,
            None if !spawned => return (runs != "forkserver").then_some(Self::Main),
            // Another program, started as one starts any.
            Some(_) if !spawned && !forked => return None,
            _ => {}
        }
        // Who asked for it: the fork server starts processes for its own parent.
        let served = parents.iter().find(|parent| !parent.is_python("forkserver"));
        let own = Descriptors::of(&process.directory);
        let theirs = served.map(|served| Descriptors::of(&served.directory)).unwrap_or_default();
        if let Some(served) = served
            && (serves(&own, &theirs) || is_app_server(served) && !theirs.polls)
        {
            return Some(Self::HttpServer);
        }
        if forked && !spawned {
            let accepting = accepting_unix(&process.directory);
            if own.sockets.difference(&theirs.sockets).any(|socket| accepting.contains(socket)) {
                return Some(Self::Manager);
            }
        }
        Some(if spawned || runs == "forkserver" { Self::Worker } else { Self::Main })
    }

    /// Whether it stays so: the others may begin to serve or to manage later.
    pub(super) fn is_final(self) -> bool {
        matches!(self, Self::HttpServer | Self::Manager)
    }

    /// The role of a process that is this part: as the target's profile names it, else in general words.
    pub(super) fn role(self, told: &str, names: Option<&ProcessNames>) -> String {
        let program = told.split(' ').next().unwrap_or(told);
        let (own, general) = match self {
            Self::Main => (names.and_then(|names| names.main.as_ref()), None),
            Self::HttpServer => (names.and_then(|names| names.http_server.as_ref()), Some("http server")),
            Self::Worker => (names.and_then(|names| names.worker.as_ref()), Some("worker")),
            Self::Manager => (names.and_then(|names| names.manager.as_ref()), Some("manager")),
        };
        match (own, general) {
            (Some(name), _) => name.clone(),
            (None, Some(general)) => format!("{program} {general}"),
            (None, None) => told.to_owned(),
        }
    }
}

/// Whether a process waits for connections on a socket of the one that started it, which does not: what it inherited of
/// an event loop that its parent runs is no server of its own.
fn serves(own: &Descriptors, theirs: &Descriptors) -> bool {
    own.watched.intersection(&theirs.sockets).any(|socket| !theirs.watched.contains(socket))
}

/// Whether this is uvicorn, gunicorn or the like, all of whose processes serve where it has no event loop itself.
fn is_app_server(process: &Told) -> bool {
    let runs = process.python().unwrap_or_default();
    APP_SERVERS.contains(&runs.split(' ').next().unwrap_or_default())
}

#[cfg(test)]
#[path = "parts_tests.rs"]
mod tests;
