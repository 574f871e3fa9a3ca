//! The roles of Node.js processes, each told anew while the process may still be starting and now and then afterwards.

use std::{collections::HashMap, path::Path};

use super::Named;
use crate::{reading::Readers, targets::TargetId};

/// Looks at a new process in which its arguments are read each time.
const SETTLING: u32 = 4;

/// Looks after which the arguments of a settled process are read again: a title may be set later.
const ARGUMENTS_EVERY: u32 = 8;

/// What is known of the names of processes.
#[derive(Debug, Default)]
pub(super) struct Names(HashMap<u32, Known>);

#[derive(Debug)]
struct Known {
    comm: String,
    role: String,
    looks: u32,
}

impl Names {
    /// The role of a live process; `None` where it has gone or is a zombie.
    pub(super) fn role(
        &mut self,
        proc_root: &Path,
        readers: &Readers,
        target: TargetId,
        process: u32,
    ) -> Option<String> {
        let named = Named::of(proc_root, process)?;
        let known = self.0.get_mut(&process).filter(|known| known.comm == named.comm);
        let looks = known.as_ref().map_or(0, |known| known.looks.saturating_add(1));
        let settled = looks > SETTLING && looks % ARGUMENTS_EVERY != process % ARGUMENTS_EVERY;
        if let Some(known) = known {
            known.looks = looks;
            if settled && !named.has_no_program() {
                return Some(known.role.clone());
            }
        }
        let role = match readers.command_line(target, process) {
            Ok(arguments) if arguments.is_empty() && named.has_no_program() => return None,
            Ok(arguments) => named.role(&arguments),
            // What was known stays; without it, the program alone names it.
            Err(_) => match self.0.get(&process) {
                Some(known) => known.role.clone(),
                None => named.role(&[]),
            },
        };
        self.0.insert(process, Known { comm: named.comm, role: role.clone(), looks });
        Some(role)
    }

    /// Forgets processes that have ended.
    pub(super) fn keep_only(&mut self, is_there: impl Fn(u32) -> bool) {
        self.0.retain(|id, _| is_there(*id));
    }
}
