//! What is asked of a reader, and what it answers.

use serde::{Deserialize, Serialize};

use super::identity::FileId;
use crate::nodejs::{Executable, Point};

/// Processes that may be asked for at once.
pub const MOST_AT_ONCE: usize = 64;

/// What a process runs.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Executed {
    /// Its executable; the program that was given to it, where that is a dynamic linker.
    pub id: FileId,
}

/// A question.
#[derive(Debug, Deserialize, Serialize)]
pub(super) enum Request {
    CommandLine { process: u32 },
    Executed { processes: Vec<u32> },
    Executable { process: u32 },
    InPlace { process: u32, points: Vec<Point> },
}

/// Its answer.
#[derive(Debug, Deserialize, Serialize)]
pub(super) enum Answer {
    CommandLine(Vec<u8>),
    Executed(Vec<Option<Executed>>),
    /// The descriptor comes beside it, where there is an executable of Node.js.
    Executable {
        id: FileId,
        executable: Option<Executable>,
        bytes: u64,
    },
    InPlace(bool),
    /// There is no such process any more.
    Gone,
    Refused(String),
}
