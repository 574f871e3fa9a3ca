//! What is remembered of a target's processes between scrapes, and how a scrape brings it up to date.
//! Nothing is kept of processes that are gone but their roles' totals.

use std::{
    collections::{BTreeMap, HashMap},
    hash::{DefaultHasher, Hash as _, Hasher as _},
    path::Path,
    sync::Arc,
};

use super::{
    super::overflow::{LabelOverflow, OTHER},
    arguments::Arguments,
    files::{ProcessDirectory, ProcessFiles},
    metrics::METRICS,
    parts::{Part, Told},
    restarts::Vacancies,
    totals::{Proportional, Sums, Totals},
};
use crate::profiles::ProcessNames;

/// Scrapes of a new process in which its settings are read each time: it may still be starting.
const SETTLING: u32 = 4;

/// Scrapes after which the settings of a settled process are read again.
const SETTINGS_EVERY: u32 = 8;

/// Processes of a target of which all files are read, and of which one file is, the others among them. For more a scrape would
/// take longer than it may; they are counted.
const READ: usize = 512;
const READ_BRIEFLY: usize = 1536;

/// How many processes above a process are looked at: its parent, and who asked the fork server for it.
const PARENTS: usize = 2;

/// One target's processes.
#[derive(Default)]
pub(super) struct State {
    processes: HashMap<(i32, u64), Seen>,
    pub(super) roles: BTreeMap<Arc<str>, Totals>,
    /// What lived at the last look, summed.
    pub(super) sums: BTreeMap<Arc<str>, Sums>,
    vacancies: Vacancies,
}

/// A live process as of the last scrape.
struct Seen {
    role: Arc<str>,
    /// The role that it has where there is room for it.
    wanted: String,
    /// Whether its role may change without a change of its names.
    open: bool,
    comm: String,
    /// Of its command line: when it changes (a title set later), the role is looked up again.
    command_line: u64,
    max_fds: Option<u64>,
    counted: Totals,
    scrapes: u32,
    /// Whether it is new in its role, and may take the place of one that ended.
    is_new: bool,
}

/// How a target's processes are looked at.
pub(super) struct Look<'a> {
    pub(super) proc_root: &'a Path,
    pub(super) overflow: &'a LabelOverflow,
    pub(super) max_roles: usize,
    /// What the target's profile calls its processes.
    pub(super) names: Option<&'a ProcessNames>,
    /// All processes of the target, in order.
    pub(super) pids: &'a [i32],
    /// How often the target has come back.
    pub(super) restarts: u64,
    pub(super) arguments: &'a Arguments<'a>,
}

impl State {
    /// Brings it up to date and sums what lives; `proportional` reads a process's share of memory.
    pub(super) fn update(
        &mut self,
        look: &Look<'_>,
        proportional: impl Fn(&ProcessDirectory) -> Proportional,
    ) {
        let mut sums: BTreeMap<Arc<str>, Sums> = BTreeMap::new();
        let mut alive = HashMap::with_capacity(look.pids.len());
        let other_run = self.vacancies.begin(look.restarts);
        for (index, pid) in look.pids.iter().enumerate().take(READ_BRIEFLY) {
            let Some(directory) = ProcessDirectory::open(look.proc_root, &pid.to_string()) else {
                continue;
            };
            let briefly = index >= READ;
            let files = if briefly { directory.read_briefly() } else { directory.read() };
            let Some(files) = files else {
                continue;
            };
            let share = if briefly { Proportional::default() } else { proportional(&directory) };
            let key = (*pid, files.start_ticks);
            let mut seen = if briefly {
                self.glance_at(look, key, &files)
            } else {
                self.look_at(look, key, directory, &files)
            };
            seen.is_new &= !other_run;
            let mut counted = Totals::of(&files);
            if briefly {
                counted.voluntary_switches = seen.counted.voluntary_switches;
                counted.involuntary_switches = seen.counted.involuntary_switches;
            }
            // A file that could not be read this time has not started from nothing when it can be the next time.
            counted.io = counted.io.or(seen.counted.io);
            self.roles.entry(Arc::clone(&seen.role)).or_default().add(counted, seen.counted);
            seen.counted = counted;
            sums.entry(Arc::clone(&seen.role)).or_default().add(&files, seen.max_fds, share);
            alive.insert(key, seen);
        }
        if let Some(more) = look.pids.len().checked_sub(READ_BRIEFLY).filter(|more| *more > 0) {
            sums.entry(self.other(look)).or_default().processes += more as u64;
        }
        if look.pids.len() > READ {
            look.arguments.note_too_many();
        }
        let ended = std::mem::replace(&mut self.processes, alive);
        if !other_run {
            for seen in ended.values() {
                self.vacancies.leave(&seen.role);
            }
        }
        for seen in self.processes.values().filter(|seen| seen.is_new) {
            if self.vacancies.fill(&seen.role) {
                self.roles.entry(Arc::clone(&seen.role)).or_default().restarts += 1;
            }
        }
        if self.processes.is_empty() {
            self.vacancies.clear();
        }
        self.sums = sums;
    }

    /// What is known of a process that is one of too many: its role, if it had one before.
    fn glance_at(&mut self, look: &Look<'_>, key: (i32, u64), files: &ProcessFiles) -> Seen {
        if let Some(mut seen) = self.processes.remove(&key) {
            seen.is_new = false;
            return seen;
        }
        Seen {
            role: self.other(look),
            wanted: OTHER.to_owned(),
            open: true,
            comm: files.comm.clone(),
            command_line: 0,
            max_fds: None,
            // It may have been looked at before and left out since: it counts from now on.
            counted: Totals::of(files),
            scrapes: 0,
            is_new: false,
        }
    }

    /// The role of processes that are too many.
    fn other(&mut self, look: &Look<'_>) -> Arc<str> {
        let role = self.admit(look, OTHER);
        self.roles.entry(Arc::clone(&role)).or_default();
        role
    }

    /// What is known of a process, its settings read again where they may have changed.
    fn look_at(
        &mut self,
        look: &Look<'_>,
        key: (i32, u64),
        directory: ProcessDirectory,
        files: &ProcessFiles,
    ) -> Seen {
        let mut before = self.processes.remove(&key);
        if let Some(seen) = &mut before {
            seen.scrapes = seen.scrapes.saturating_add(1);
            seen.is_new = false;
        }
        // Processes take turns, so that no scrape has to read the settings of all.
        let turn = key.0.unsigned_abs() % SETTINGS_EVERY;
        let settled = |seen: &Seen| seen.scrapes > SETTLING && seen.scrapes % SETTINGS_EVERY != turn;
        if let Some(seen) = before.take_if(|seen| settled(seen) && seen.comm == files.comm) {
            return seen;
        }
        let max_fds = directory.max_fds();
        // Read by its id: it counts if the process that is looked at still has it.
        let arguments = look.arguments.of(key.0).filter(|_| directory.origin().is_some());
        let could_look = arguments.is_some();
        if let Some(seen) = before.take_if(|seen| !could_look && seen.comm == files.comm) {
            return Seen { max_fds, ..seen };
        }
        let arguments = arguments.unwrap_or_default();
        let command_line = hash(&arguments);
        let same_names_of = |seen: &Seen| (&seen.comm, seen.command_line) == (&files.comm, command_line);
        let same_names = |seen: &Seen| !seen.open && same_names_of(seen);
        if let Some(seen) = before.take_if(|seen| same_names(seen)) {
            return Seen { max_fds, ..seen };
        }
        let closely = look.arguments.may_look_closely();
        if let Some(seen) = before.take_if(|seen| !closely && same_names_of(seen)) {
            return Seen { max_fds, ..seen };
        }
        let told = Told::new(directory, &files.comm, arguments);
        let part = closely.then(|| Part::of(&told, &look.parents(files.parent))).flatten();
        let wanted = match part {
            Some(part) => part.role(&told.role, look.names),
            None => told.role,
        };
        let same_role = before.as_ref().filter(|seen| seen.wanted == wanted);
        let role = same_role.map_or_else(|| self.admit(look, &wanted), |seen| Arc::clone(&seen.role));
        let is_new = same_role.is_none() && before.as_ref().is_none_or(|seen| seen.scrapes <= SETTLING);
        Seen {
            role,
            wanted,
            open: !could_look || !closely || part.is_some_and(|part| !part.is_final()),
            comm: files.comm.clone(),
            command_line,
            max_fds,
            counted: before.as_ref().map(|seen| seen.counted).unwrap_or_default(),
            scrapes: before.as_ref().map(|seen| seen.scrapes).unwrap_or_default(),
            is_new,
        }
    }

    /// The role of a process, or [`OTHER`] where the target has no room for another one.
    fn admit(&self, look: &Look<'_>, role: &str) -> Arc<str> {
        if let Some((known, _)) = self.roles.get_key_value(role) {
            return Arc::clone(known);
        }
        let named = self.roles.keys().filter(|known| known.as_ref() != OTHER).count();
        if named < look.max_roles || role == OTHER {
            return role.into();
        }
        let [processes, ..] = &METRICS;
        look.overflow.record(processes, "process");
        OTHER.into()
    }

    #[cfg(test)]
    pub(super) fn remembers_processes(&self) -> bool {
        !self.processes.is_empty()
    }
}

impl Look<'_> {
    /// The processes above one whose parent has this id, as far as they are in the target.
    fn parents(&self, parent: i32) -> Vec<Told> {
        let mut next = parent;
        let mut found = Vec::new();
        while found.len() < PARENTS && self.pids.binary_search(&next).is_ok() {
            let opened = ProcessDirectory::open(self.proc_root, &next.to_string());
            let Some((directory, (comm, parent))) =
                opened.and_then(|opened| opened.origin().map(|origin| (opened, origin)))
            else {
                break;
            };
            let Some(command_line) = self.arguments.of(next) else { break };
            found.push(Told::new(directory, &comm, command_line));
            next = parent;
        }
        found
    }
}

fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}
