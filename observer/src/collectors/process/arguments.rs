//! The arguments of a target's processes, of which a scrape reads no more than some: a process may have megabytes of them,
//! on a file system of its own, and a target as many processes as it likes.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
};

use crate::{reading::Readers, targets::TargetId};

/// Processes whose arguments one scrape reads, of one target. The rest waits for the next one, named by its program alone.
const MOST: u32 = 256;

/// Processes whose descriptors and parents one scrape looks at, of one target.
const CLOSELY: u32 = 64;

/// Reads arguments for one look at a target.
pub(super) struct Arguments<'a> {
    readers: &'a Readers,
    target: TargetId,
    left: Cell<u32>,
    closely: Cell<u32>,
    read: RefCell<HashMap<i32, Option<Vec<u8>>>>,
}

impl<'a> Arguments<'a> {
    pub(super) fn new(readers: &'a Readers, target: TargetId) -> Self {
        Self { readers, target, left: Cell::new(MOST), closely: Cell::new(CLOSELY), read: RefCell::default() }
    }

    /// Whether the descriptors of one more process may be looked at.
    pub(super) fn may_look_closely(&self) -> bool {
        let left = self.closely.get().checked_sub(1);
        self.closely.set(left.unwrap_or_default());
        left.is_some()
    }

    /// The target has more processes than are read.
    pub(super) fn note_too_many(&self) {
        self.readers.over_budget().note(self.target, "processes");
    }

    /// The begin of a process's arguments, each ended by a zero byte; `None` where they cannot be looked at now.
    pub(super) fn of(&self, pid: i32) -> Option<Vec<u8>> {
        if let Some(known) = self.read.borrow().get(&pid) {
            return known.clone();
        }
        let Some(left) = self.left.get().checked_sub(1) else {
            self.note_too_many();
            return None;
        };
        self.left.set(left);
        let process = u32::try_from(pid).ok()?;
        let read = self.readers.command_line(self.target, process).ok();
        self.read.borrow_mut().insert(pid, read.clone());
        read
    }
}
