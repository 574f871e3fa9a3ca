//! A Landlock domain in which nothing may be opened, connected to or signalled, for single threads of the agent.
//! Not for all of them: nobody in a domain may look into processes outside of it, which is the agent's work.

use anyhow::Context as _;
use landlock::{
    ABI, Access as _, AccessFs, AccessNet, LandlockStatus, Ruleset, RulesetAttr as _, RulesetStatus, Scope,
};

/// What the newest kernels tell apart; an older one refuses as much of it as it knows.
const NEWEST: ABI = ABI::V10;

/// How much of it this kernel enforces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Domain {
    /// All of it.
    Whole,
    /// What the kernel's version of Landlock knows.
    Partial(ABI),
    /// Nothing: the kernel has no Landlock, or it was not switched on when it booted.
    None,
}

/// Puts this thread, and those that it will start, into the domain.
pub(super) fn enter() -> anyhow::Result<Domain> {
    let status = Ruleset::default()
        .handle_access(AccessFs::from_all(NEWEST))
        .and_then(|rules| rules.handle_access(AccessNet::from_all(NEWEST)))
        .and_then(|rules| rules.scope(Scope::from_all(NEWEST)))
        .and_then(Ruleset::create)
        .and_then(landlock::RulesetCreated::restrict_self)
        .context("landlock_restrict_self()")?;
    Ok(match (status.ruleset, status.landlock) {
        (RulesetStatus::FullyEnforced, _) => Domain::Whole,
        (RulesetStatus::PartiallyEnforced, LandlockStatus::Available { effective_abi, .. }) => {
            Domain::Partial(effective_abi)
        }
        _ => Domain::None,
    })
}

#[cfg(test)]
mod tests {
    use std::{fs, io::ErrorKind, thread};

    use super::*;

    #[test]
    fn only_the_thread_that_enters_is_kept_from_opening_files() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().to_owned();
        let inside =
            thread::spawn(move || (enter().unwrap(), fs::read(path).err().map(|error| error.kind())));
        let (domain, error) = inside.join().unwrap();
        let expected = (domain != Domain::None).then_some(ErrorKind::PermissionDenied);
        assert_eq!(error, expected, "{domain:?}");
        assert!(fs::read(file.path()).is_ok());
    }
}
