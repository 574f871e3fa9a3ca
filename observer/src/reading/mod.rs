//! Reads what a target can make wait for ever: its executables and its arguments, which may lie on a file system that
//! the target itself serves. Processes of the agent's own do it, and the agent goes on without one that does not return.

mod identity;
mod linker;
mod maps;
mod pool;
mod process;
mod request;
mod shares;
#[cfg(test)]
mod tests;
mod wire;

use std::{os::fd::OwnedFd, path::PathBuf, sync::Arc};

pub use self::{
    identity::FileId,
    linker::is_linker,
    process::read_for_agent,
    request::{Executed, MOST_AT_ONCE},
};
use self::{
    pool::Pool,
    request::{Answer, Request},
};
use crate::{
    nodejs::{Point, Reading},
    targets::{TargetId, over_budget::OverBudget},
};

/// The subcommand by which the agent starts the processes that read for it.
pub const READER: &str = "reader";

/// Why nothing was read. It says nothing of what there is: what was known before stays.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CannotLook {
    /// The process is gone, which is for others to find out.
    #[error("the process has ended")]
    Gone,
    /// The target has used up its share of reading.
    #[error("the target takes more than its share of reading")]
    OverShare,
    /// No answer came in time.
    #[error("there was no answer in time; the files may lie on a file system that does not answer")]
    Late,
    /// All readers are busy, or lost.
    #[error("all readers are busy")]
    Busy,
    /// The kernel or the file refused.
    #[error("{0}")]
    Refused(String),
}

/// An executable that was read, and the descriptor that it was read by.
#[derive(Debug)]
pub struct Found {
    /// Which file it is.
    pub id: FileId,
    /// What it is.
    pub reading: Reading,
    /// To probe it by, where it is Node.js.
    pub file: Option<OwnedFd>,
}

/// Whoever reads. Clones share it.
#[derive(Clone)]
pub struct Readers(Arc<Inner>);

struct Inner {
    by: By,
    over_budget: OverBudget,
}

enum By {
    /// Processes of their own.
    Processes(Pool),
    /// This one, which waits: where nothing is served meanwhile, and in tests.
    Here(PathBuf),
}

impl Readers {
    /// Starts them; to be called before privileges are given up.
    pub fn start() -> std::io::Result<Self> {
        let over_budget = OverBudget::default();
        let by = By::Processes(Pool::start(over_budget.clone())?);
        Ok(Self(Arc::new(Inner { by, over_budget })))
    }

    /// Reads below `proc_root` by itself.
    pub fn here(proc_root: PathBuf) -> Self {
        Self(Arc::new(Inner { by: By::Here(proc_root), over_budget: OverBudget::default() }))
    }

    /// Is told of targets that take too much, of reading and of all else.
    pub fn over_budget(&self) -> &OverBudget {
        &self.0.over_budget
    }

    /// The begin of a process's arguments, each ended by a zero byte.
    pub fn command_line(&self, target: TargetId, process: u32) -> Result<Vec<u8>, CannotLook> {
        match self.ask(target, &Request::CommandLine { process })? {
            (Answer::CommandLine(bytes), _) => Ok(bytes),
            (other, _) => Err(unexpected(&other)),
        }
    }

    /// What these processes run, up to [`MOST_AT_ONCE`], in their order.
    pub fn executed(&self, target: TargetId, processes: &[u32]) -> Result<Vec<Option<Executed>>, CannotLook> {
        match self.ask(target, &Request::Executed { processes: processes.to_vec() })? {
            (Answer::Executed(found), _) => Ok(found),
            (other, _) => Err(unexpected(&other)),
        }
    }

    /// Reads the executable of a process, or the program that its dynamic linker has loaded.
    pub fn executable(&self, target: TargetId, process: u32) -> Result<Found, CannotLook> {
        match self.ask(target, &Request::Executable { process })? {
            (Answer::Executable { id, executable, bytes }, file) => {
                Ok(Found { id, reading: Reading { executable, bytes }, file })
            }
            (other, _) => Err(unexpected(&other)),
        }
    }

    /// Whether the process has probes of the kernel's at these points of the file that it runs.
    pub fn in_place(&self, target: TargetId, process: u32, points: &[Point]) -> Result<bool, CannotLook> {
        match self.ask(target, &Request::InPlace { process, points: points.to_vec() })? {
            (Answer::InPlace(there), _) => Ok(there),
            (other, _) => Err(unexpected(&other)),
        }
    }

    fn ask(&self, target: TargetId, request: &Request) -> Result<(Answer, Option<OwnedFd>), CannotLook> {
        let (answer, file) = match &self.0.by {
            By::Processes(pool) => pool.ask(target, request)?,
            By::Here(proc_root) => process::answer(proc_root, request),
        };
        match answer {
            Answer::Gone => Err(CannotLook::Gone),
            Answer::Refused(error) => Err(CannotLook::Refused(error)),
            answer => Ok((answer, file)),
        }
    }
}

fn unexpected(answer: &Answer) -> CannotLook {
    CannotLook::Refused(format!("a reader gave another answer than was asked for: {answer:?}"))
}
