//! The processes that read, from the agent's side: a few, each asked one question at a time.
//! One that does not answer in time is lost until it does; whoever asked goes on, and its target is left alone for a while.

use std::{
    io,
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::process::CommandExt as _,
    },
    process::{Child, Command, Stdio},
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use rustix::net::{
    RecvFlags, SendFlags,
    sockopt::{Timeout, set_socket_timeout},
};

use super::{
    CannotLook, READER,
    request::{Answer, Request},
    shares::Shares,
    wire,
};
use crate::targets::{TargetId, over_budget::OverBudget};

/// Readers, which are how many may be lost at the same time.
const READERS: usize = 4;

/// Of these, how many one target may have lost.
const LOST_BY_ONE: usize = 1;

/// How long an answer may take: well below what a scrape may, and what a process may that has just started.
const WITHIN: Duration = Duration::from_millis(250);
const WITHIN_OF_EXECUTABLE: Duration = Duration::from_millis(500);

/// How long is waited for a reader.
const FREE_WITHIN: Duration = Duration::from_millis(300);

/// How often it is said that readers are lost.
const SAY_EVERY: Duration = Duration::from_mins(10);

/// The readers.
pub(super) struct Pool {
    state: Mutex<State>,
    freed: Condvar,
    over_budget: OverBudget,
}

struct State {
    free: Vec<Reader>,
    /// Readers that have not answered yet, and whose question it was.
    lost: Vec<(Reader, TargetId)>,
    shares: Shares,
    said: Option<Instant>,
}

/// A reader's process ends by itself when its socket is closed, unless it waits for ever: so nobody waits for it.
struct Reader {
    socket: OwnedFd,
    _process: Child,
}

impl Reader {
    fn start() -> io::Result<Self> {
        let (socket, theirs) = wire::pair()?;
        let mut command = Command::new("/proc/self/exe");
        // Its outputs are nobody's: whoever reads the agent's must not wait for one that is lost.
        command.arg0("observer").arg(READER).env_clear().stdin(theirs);
        let process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        Ok(Self { socket, _process: process })
    }

    /// The answer to its last question, if it is there by now.
    fn has_answered(&self) -> bool {
        matches!(wire::receive::<Answer>(&self.socket, RecvFlags::DONTWAIT), Ok(Some(_)))
    }
}

impl Pool {
    pub(super) fn start(over_budget: OverBudget) -> io::Result<Self> {
        let free = (0..READERS).map(|_| Reader::start()).collect::<io::Result<_>>()?;
        let state = State { free, lost: Vec::new(), shares: Shares::default(), said: None };
        Ok(Self { state: Mutex::new(state), freed: Condvar::new(), over_budget })
    }

    /// Asks for a target, which has a share of it.
    pub(super) fn ask(
        &self,
        target: TargetId,
        request: &Request,
    ) -> Result<(Answer, Option<OwnedFd>), CannotLook> {
        let reader = self.take(target)?;
        let begun = Instant::now();
        let within =
            if matches!(request, Request::Executable { .. }) { WITHIN_OF_EXECUTABLE } else { WITHIN };
        let asked = set_socket_timeout(&reader.socket, Timeout::Recv, Some(within))
            .map_err(io::Error::from)
            .and_then(|()| wire::send(reader.socket.as_fd(), request, None, SendFlags::DONTWAIT))
            .and_then(|()| wire::receive(reader.socket.as_fd(), RecvFlags::empty()));
        let now = Instant::now();
        let mut state = self.state();
        state.shares.took(target, now - begun, now);
        let answered = match asked {
            Ok(Some(answered)) => {
                state.free.push(reader);
                Ok(answered)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                state.shares.was_late(target, now);
                state.lost.push((reader, target));
                self.over_budget.note(target, "reading");
                state.say(target, now);
                Err(CannotLook::Late)
            }
            // It has ended, by nothing that the agent did.
            Ok(None) => {
                tracing::warn!("a process that reads for the agent has ended");
                Err(CannotLook::Busy)
            }
            Err(error) => Err(CannotLook::Refused(error.to_string())),
        };
        drop(state);
        self.freed.notify_one();
        answered
    }

    /// A reader that is free.
    fn take(&self, target: TargetId) -> Result<Reader, CannotLook> {
        let deadline = Instant::now() + FREE_WITHIN;
        let mut state = self.state();
        loop {
            let now = Instant::now();
            state.take_back();
            let lost = state.lost.iter().filter(|(_, by)| *by == target).count();
            if lost >= LOST_BY_ONE || !state.shares.may_ask(target, now) {
                self.over_budget.note(target, "reading");
                return Err(CannotLook::OverShare);
            }
            if let Some(reader) = state.free.pop() {
                return Ok(reader);
            }
            if now >= deadline || state.lost.len() == READERS {
                return Err(CannotLook::Busy);
            }
            let waited = self.freed.wait_timeout(state, deadline - now);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Takes back lost readers that have answered meanwhile.
    fn take_back(&mut self) {
        let (back, lost) =
            std::mem::take(&mut self.lost).into_iter().partition(|(lost, _)| lost.has_answered());
        self.lost = lost;
        let back: Vec<(Reader, TargetId)> = back;
        self.free.extend(back.into_iter().map(|(reader, _)| reader));
    }

    fn say(&mut self, target: TargetId, now: Instant) {
        if self.said.is_none_or(|said| now - said > SAY_EVERY) {
            self.said = Some(now);
            tracing::warn!(
                target,
                lost = self.lost.len(),
                of = READERS,
                "files of a target do not answer, and a reader waits for them; the target's own figures are incomplete"
            );
        }
    }
}
