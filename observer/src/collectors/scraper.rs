//! One scrape: every collector, then the agent about itself, then the text.
//! It reads files and takes as long as they take: a server calls it from a thread that may block.

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use super::{Families, Metric, Registry, agent::Agent, held_targets::HeldTargets, metric::full_name};

/// Everything that a scrape needs.
pub struct Scraper {
    registry: Registry,
    agent: Agent,
    prefix: String,
    targets: Option<Arc<HeldTargets>>,
}

impl Scraper {
    /// `prefix` stands before the names of target metrics (`chat`).
    pub fn new(registry: Registry, agent: Agent, prefix: impl Into<String>) -> Self {
        Self { registry, agent, prefix: prefix.into(), targets: None }
    }

    /// Holds this list, which the collectors read, while a scrape lasts.
    #[must_use]
    pub fn holding(self, targets: Arc<HeldTargets>) -> Self {
        Self { targets: Some(targets), ..self }
    }

    /// Every metric that a scrape may show, with the name under which it is served.
    pub fn metrics(&self) -> impl Iterator<Item = (String, &'static Metric)> + '_ {
        let metrics = self.registry.metrics().chain(Agent::metrics());
        metrics.map(|metric| (full_name(metric, &self.prefix), metric))
    }

    /// The exposition text of this moment.
    pub fn scrape(&self) -> anyhow::Result<Vec<u8>> {
        let started = Instant::now();
        let _held = self.targets.as_ref().map(|targets| targets.hold());
        let mut families = Families::new(self.prefix.as_str());
        let outcomes = self.registry.collect(&mut families);
        self.agent.collect(&mut families, &outcomes);
        let text = families.encode();
        self.agent.observe_scrape(started.elapsed());
        text
    }
}

/// The text of a scrape, which all who waited for it share, or why there is none.
pub type Shared = Result<Arc<[u8]>, String>;

/// Lets scrapes that wait at the same time share one result, never older than the question: whoever comes while one runs
/// gets the next, with all others who wait.
pub struct Turns<S> {
    scrape: S,
    state: Mutex<State>,
    done: Condvar,
}

#[derive(Default)]
struct State {
    running: bool,
    /// How many runs have begun, and the last that has ended with its result.
    begun: u64,
    ended: u64,
    result: Option<Shared>,
    /// How many wait.
    waiting: u64,
}

impl<S: Fn() -> anyhow::Result<Vec<u8>>> Turns<S> {
    /// Around what does the work.
    pub fn new(scrape: S) -> Self {
        Self { scrape, state: Mutex::default(), done: Condvar::new() }
    }

    /// A result of now. Blocks while a run lasts.
    pub fn take(&self) -> Shared {
        let mut state = self.state();
        let wanted = state.begun + 1;
        loop {
            if state.ended >= wanted
                && let Some(result) = state.result.clone()
            {
                // The last to leave lets it go: the text of many targets is large, and the next scrape makes its own.
                if state.waiting == 0 && !state.running {
                    state.result = None;
                }
                return result;
            }
            if !state.running {
                state.running = true;
                state.begun += 1;
                drop(state);
                let result = self.run();
                state = self.state();
                state.running = false;
                state.ended = state.begun;
                state.result = Some(result);
                self.done.notify_all();
                continue;
            }
            state.waiting += 1;
            state = self.done.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.waiting -= 1;
        }
    }

    fn run(&self) -> Shared {
        // A panic must not leave the others waiting for ever.
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(&self.scrape));
        match result {
            Ok(Ok(text)) => Ok(text.into()),
            Ok(Err(error)) => Err(format!("{error:#}")),
            Err(_) => Err("a scrape panicked, which is a bug".to_owned()),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Barrier,
            atomic::{AtomicU64, Ordering},
            mpsc,
        },
        thread,
    };

    use super::*;

    #[test]
    fn those_who_wait_share_the_next_result() {
        let runs = AtomicU64::new(0);
        let (begun, has_begun) = mpsc::channel();
        let (go, may_go) = mpsc::channel::<()>();
        let may_go = Mutex::new(may_go);
        let turns = Turns::new(|| {
            begun.send(()).unwrap();
            may_go.lock().unwrap().recv().unwrap();
            Ok(runs.fetch_add(1, Ordering::SeqCst).to_string().into_bytes())
        });
        thread::scope(|scope| {
            let first = scope.spawn(|| turns.take().unwrap());
            has_begun.recv().unwrap();
            let waiting: Vec<_> = (0..20).map(|_| scope.spawn(|| turns.take().unwrap())).collect();
            // They all come while the first run lasts.
            while turns.state().waiting < 20 {
                thread::yield_now();
            }
            go.send(()).unwrap();
            has_begun.recv().unwrap();
            go.send(()).unwrap();
            assert_eq!(&*first.join().unwrap(), b"0");
            let results: Vec<_> = waiting.into_iter().map(|it| it.join().unwrap()).collect();
            assert!(results.iter().all(|result| **result == *b"1"), "{results:?}");
            assert!(results.iter().all(|result| Arc::ptr_eq(result, &results[0])), "one text, not copies");
        });
        assert_eq!(runs.load(Ordering::SeqCst), 2);
        assert!(turns.state().result.is_none(), "nothing is kept");
    }

    #[test]
    fn failures_and_panics_are_shared_too_and_pass() {
        let runs = AtomicU64::new(0);
        let turns = Turns::new(|| match runs.fetch_add(1, Ordering::SeqCst) {
            0 => Err(anyhow::anyhow!("no")),
            1 => panic!("in a test"),
            _ => Ok(b"fine".to_vec()),
        });
        assert_eq!(turns.take(), Err("no".to_owned()));
        assert!(turns.take().unwrap_err().contains("panicked"));
        let barrier = Barrier::new(4);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    barrier.wait();
                    assert_eq!(turns.take().as_deref(), Ok(&b"fine"[..]));
                });
            }
        });
    }
}
