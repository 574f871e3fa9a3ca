//! One corner: which end the target is, what passes on its connections, and what the metrics are to tell of it.
//! Each has routes of its own, so that many can be played beside one agent.

use super::expected::Expected;
use crate::http::dialog::{Dialog, Side};

/// A corner.
#[derive(Clone, Debug)]
pub struct Case {
    /// What it is called where it fails.
    pub name: String,
    /// The end that the target is.
    pub target: Side,
    /// What passes, a connection each, all at once.
    pub dialogs: Vec<Dialog>,
    /// What the metrics are to tell.
    pub expected: Expected,
}

impl Case {
    /// The target is the server of one connection.
    pub fn served(name: impl Into<String>, dialog: Dialog, expected: Expected) -> Self {
        Self { name: name.into(), target: Side::Server, dialogs: vec![dialog], expected }
    }

    /// The target is the client of one connection.
    pub fn called(name: impl Into<String>, dialog: Dialog, expected: Expected) -> Self {
        Self { name: name.into(), target: Side::Client, dialogs: vec![dialog], expected }
    }

    /// The same on so many connections at once; what is expected is of all of them.
    #[must_use]
    pub fn at_once(mut self, connections: usize) -> Self {
        self.dialogs = self.dialogs.iter().cycle().take(self.dialogs.len() * connections).cloned().collect();
        self
    }
}

/// The target's role in its exchanges, for corners that are the same in both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It answers.
    Server,
    /// It asks.
    Client,
}

impl Role {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::Server, Self::Client];

    /// The word for routes.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Server => "served",
            Self::Client => "called",
        }
    }

    /// A corner in this role.
    pub fn case(self, name: impl Into<String>, dialog: Dialog, expected: Expected) -> Case {
        match self {
            Self::Server => Case::served(name, dialog, expected),
            Self::Client => Case::called(name, dialog, expected),
        }
    }
}
