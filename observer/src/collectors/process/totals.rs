//! What the processes of a role come to: counters that outlive them, and sums of those that live.
//! Counters grow by what a process counted since it was last looked at.

use super::files::ProcessFiles;

/// Counters, of a process since its start or of a role since the agent's.
#[derive(Clone, Copy, Default)]
pub(super) struct Totals {
    pub(super) user_ticks: u64,
    pub(super) system_ticks: u64,
    pub(super) voluntary_switches: u64,
    pub(super) involuntary_switches: u64,
    pub(super) io: Option<(u64, u64)>,
    /// Of a role only.
    pub(super) restarts: u64,
}

/// Memory with shared pages divided among the processes that map them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Proportional {
    /// Not asked for.
    #[default]
    NotRead,
    /// Of a process, or of one of the role's, it may not be read; then there is no sum.
    Refused,
    /// What the kernel says, in bytes.
    Bytes(u64),
}

/// The live processes of a role, summed.
#[derive(Default)]
pub(super) struct Sums {
    pub(super) processes: u64,
    pub(super) resident_bytes: u64,
    pub(super) proportional: Proportional,
    pub(super) virtual_bytes: u64,
    pub(super) open_fds: Option<u64>,
    pub(super) max_fds: Option<u64>,
    pub(super) threads: u64,
    pub(super) oldest_start_ticks: Option<u64>,
}

impl Totals {
    pub(super) fn of(files: &ProcessFiles) -> Self {
        Self {
            user_ticks: files.user_ticks,
            system_ticks: files.system_ticks,
            voluntary_switches: files.voluntary_switches,
            involuntary_switches: files.involuntary_switches,
            io: files.io,
            restarts: 0,
        }
    }

    /// Adds what a process counted between two looks at it.
    pub(super) fn add(&mut self, now: Self, earlier: Self) {
        self.user_ticks += now.user_ticks.saturating_sub(earlier.user_ticks);
        self.system_ticks += now.system_ticks.saturating_sub(earlier.system_ticks);
        self.voluntary_switches += now.voluntary_switches.saturating_sub(earlier.voluntary_switches);
        self.involuntary_switches += now.involuntary_switches.saturating_sub(earlier.involuntary_switches);
        if let Some((read, written)) = now.io {
            let (read_before, written_before) = earlier.io.unwrap_or_default();
            let total = self.io.get_or_insert_default();
            total.0 += read.saturating_sub(read_before);
            total.1 += written.saturating_sub(written_before);
        }
    }
}

impl Proportional {
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Bytes(one), Self::Bytes(other)) => Self::Bytes(one + other),
            (Self::Refused, _) | (_, Self::Refused) => Self::Refused,
            (Self::NotRead, known) | (known, Self::NotRead) => known,
        }
    }
}

impl Sums {
    /// Of a role without a live process.
    pub(super) fn none(proportional: bool) -> Self {
        let proportional = if proportional { Proportional::Bytes(0) } else { Proportional::NotRead };
        Self { proportional, ..Self::default() }
    }

    pub(super) fn add(&mut self, files: &ProcessFiles, max_fds: Option<u64>, proportional: Proportional) {
        self.processes += 1;
        self.resident_bytes += files.resident_bytes;
        self.proportional = self.proportional.and(proportional);
        self.virtual_bytes += files.virtual_bytes;
        self.threads += files.threads;
        if let Some(open_fds) = files.open_fds {
            *self.open_fds.get_or_insert_default() += open_fds;
        }
        self.max_fds = lowest(self.max_fds, max_fds);
        self.oldest_start_ticks = lowest(self.oldest_start_ticks, Some(files.start_ticks));
    }
}

fn lowest(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    one.into_iter().chain(other).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_process_that_may_not_be_read_leaves_no_sum() {
        let bytes = Proportional::Bytes;
        assert_eq!(Proportional::NotRead.and(bytes(3)).and(bytes(4)), bytes(7));
        assert_eq!(bytes(3).and(Proportional::Refused).and(bytes(4)), Proportional::Refused);
        assert_eq!(Proportional::default().and(Proportional::NotRead), Proportional::NotRead);
    }
}
