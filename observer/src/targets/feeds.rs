//! The inventory's side of all sources: runs them beside each other, and takes from each no more than its share.
//! A source that hangs, fails, ends or floods costs the others nothing.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{sync::Notify, task::JoinSet, time};

use super::source::{Change, Feed, Question, Source};

/// Changes that are taken from one source in one window of time.
const SHARE: usize = 128;
/// Such a window.
const WINDOW: Duration = Duration::from_millis(50);
/// Windows in a row after which a source that has more than its share is said to flood: two seconds.
const FLOOD: u32 = 40;

/// All sources, running.
pub(super) struct Feeds {
    states: Vec<State>,
    wake: Arc<Notify>,
    /// When those that had more than their share are taken from again.
    next_turn: Option<Instant>,
    /// Ends the sources when dropped.
    _running: JoinSet<()>,
}

struct State {
    feed: Feed,
    /// Whether it has said what it knows, or that it cannot.
    answered: bool,
    /// Why it cannot look, as of the last that it said.
    unreachable: Option<String>,
    /// When its window began, and what was taken in it.
    window: Instant,
    taken: usize,
    /// Windows in a row in which it had its share or more.
    behind: u32,
    flooded: bool,
}

impl Feeds {
    /// Starts all sources.
    pub(super) fn start(sources: Vec<Box<dyn Source>>) -> Self {
        let wake = Arc::new(Notify::new());
        let mut running = JoinSet::new();
        let mut states = Vec::with_capacity(sources.len());
        for source in sources {
            let (feed, changes, questions) = Feed::new(source.name(), &wake);
            running.spawn(source.run(changes, questions));
            states.push(State {
                feed,
                answered: false,
                unreachable: None,
                window: Instant::now(),
                taken: 0,
                behind: 0,
                flooded: false,
            });
        }
        Self { states, wake, next_turn: None, _running: running }
    }

    /// Completes when some source has something to say that may be taken now. May be dropped and called again.
    pub(super) async fn wait(&self) {
        let next_turn = async {
            match self.next_turn {
                Some(at) => time::sleep_until(time::Instant::from_std(at)).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = next_turn => {}
            () = self.wake.notified() => {}
        }
    }

    /// Takes from each source its share of what waits, and gives it to `take` with the source's number.
    pub(super) fn turn(&mut self, mut take: impl FnMut(usize, Change)) {
        self.next_turn = None;
        for (source, state) in self.states.iter_mut().enumerate() {
            let elapsed = state.window.elapsed();
            if elapsed >= WINDOW {
                if state.taken < SHARE || elapsed >= WINDOW * 2 {
                    state.behind = 0;
                }
                (state.window, state.taken) = (Instant::now(), 0);
            }
            let before = state.taken;
            while state.taken < SHARE
                && let Ok(change) = state.feed.changes.try_recv()
            {
                state.taken += 1;
                match &change {
                    Change::Snapshot(_) => (state.answered, state.unreachable) = (true, None),
                    Change::Unreachable(reason) => {
                        (state.answered, state.unreachable) = (true, Some(reason.clone()));
                    }
                    _ => {}
                }
                take(source, change);
            }
            if state.taken < SHARE {
                continue;
            }
            let next = state.window + WINDOW;
            self.next_turn = Some(self.next_turn.map_or(next, |other| other.min(next)));
            state.behind += u32::from(before < SHARE);
            if state.behind >= FLOOD && !std::mem::replace(&mut state.flooded, true) {
                tracing::warn!(
                    source = state.feed.name,
                    "a source tells of changes faster than they are looked at; it waits, and others go on"
                );
            }
        }
    }

    /// Whether these sources have all said what they know, or that they cannot.
    pub(super) fn answered(&self, awaited: &[bool]) -> bool {
        self.states.iter().zip(awaited).all(|(state, awaited)| state.answered || !awaited)
    }

    /// Names of the sources, and why each cannot look.
    pub(super) fn reasons(&self) -> impl Iterator<Item = (&'static str, Option<&str>)> {
        self.states.iter().map(|state| (state.feed.name, state.unreachable.as_deref()))
    }

    /// Asks one source.
    pub(super) fn ask(&self, source: usize, question: Question) {
        self.states[source].feed.ask(question);
    }

    /// Asks all of them.
    pub(super) fn ask_all(&self, question: &Question) {
        self.states.iter().for_each(|state| state.feed.ask(question.clone()));
    }
}
