//! Bounds the log: what a target can make the agent say again and again is said some times, and then how often it was not.
//! Each place in the code has a budget, and within it each subject that it speaks of, so that one cannot silence another.

use std::{
    collections::HashMap,
    fmt::Write as _,
    hash::{BuildHasher as _, RandomState},
    io::{self, Write},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tracing::{
    Event, Level, Metadata, Subscriber,
    callsite::Identifier,
    field::{Field, Visit},
};
use tracing_subscriber::{
    fmt::{
        MakeWriter, format,
        time::{FormatTime as _, SystemTime},
    },
    layer::{Context, Filter},
};

use crate::config::LogFormat;

/// Lines of one place about one subject in a period, and about all of its subjects.
const OF_SUBJECT: u32 = 5;
const OF_PLACE: u32 = 50;
const PERIOD: Duration = Duration::from_mins(1);

/// Fields that say whom a line is about; the first that it has counts.
const SUBJECTS: [&str; 5] = ["target", "container", "cgroup", "selector", "socket"];

/// Lets lines pass within their budgets.
#[derive(Clone, Debug, Default)]
pub(super) struct LogBudget(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    places: Mutex<HashMap<Identifier, Place>>,
    /// Lines that were left out before the one that is written now.
    left_out: Mutex<HashMap<Identifier, u64>>,
    hasher: RandomState,
}

impl LogBudget {
    /// Writes by `inner`, and says behind a line how many like it were left out.
    pub(super) fn telling<W>(&self, inner: W, format: LogFormat) -> Telling<W> {
        Telling { budget: self.clone(), inner, format }
    }
}

/// What one place in the code has said in this period.
#[derive(Debug)]
struct Place {
    began: Instant,
    lines: u32,
    /// By the hash of what the subject is called: as many as there are lines, at the most.
    subjects: HashMap<u64, u32>,
    left_out: u64,
}

/// Whether a line is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Written,
    /// After so many of the last period that were not.
    WrittenAfter(u64),
    LeftOut,
}

impl Place {
    fn new(now: Instant) -> Self {
        Self { began: now, lines: 0, subjects: HashMap::new(), left_out: 0 }
    }

    fn judge(&mut self, subject: u64, now: Instant) -> Verdict {
        let left_out = if now.duration_since(self.began) >= PERIOD {
            std::mem::replace(self, Self::new(now)).left_out
        } else {
            0
        };
        let of_subject = self.subjects.get(&subject).copied().unwrap_or_default();
        if self.lines >= OF_PLACE || of_subject >= OF_SUBJECT {
            self.left_out += 1;
            return Verdict::LeftOut;
        }
        self.lines += 1;
        self.subjects.insert(subject, of_subject + 1);
        if left_out > 0 { Verdict::WrittenAfter(left_out) } else { Verdict::Written }
    }
}

impl<S: Subscriber> Filter<S> for LogBudget {
    fn enabled(&self, _metadata: &Metadata<'_>, _context: &Context<'_, S>) -> bool {
        true
    }

    fn event_enabled(&self, event: &Event<'_>, _context: &Context<'_, S>) -> bool {
        let metadata = event.metadata();
        // Whoever asks for details wants all of them.
        if *metadata.level() > Level::INFO {
            return true;
        }
        let mut subject = Subject { rank: SUBJECTS.len(), text: String::new() };
        event.record(&mut subject);
        let Self(shared) = self;
        let subject = shared.hasher.hash_one(&subject.text);
        let now = Instant::now();
        let verdict = {
            let mut places = shared.places.lock().unwrap_or_else(PoisonError::into_inner);
            // As many as there are places in the code.
            places.entry(metadata.callsite()).or_insert_with(|| Place::new(now)).judge(subject, now)
        };
        if let Verdict::WrittenAfter(lines) = verdict {
            let mut left_out = shared.left_out.lock().unwrap_or_else(PoisonError::into_inner);
            left_out.insert(metadata.callsite(), lines);
        }
        verdict != Verdict::LeftOut
    }
}

/// Writes lines, and how many were left out.
pub(super) struct Telling<W> {
    budget: LogBudget,
    inner: W,
    format: LogFormat,
}

impl<'w, W: MakeWriter<'w>> MakeWriter<'w> for Telling<W> {
    type Writer = Line<W::Writer>;

    fn make_writer(&'w self) -> Self::Writer {
        Line { writer: self.inner.make_writer(), left_out: None, format: self.format }
    }

    fn make_writer_for(&'w self, metadata: &Metadata<'_>) -> Self::Writer {
        let LogBudget(shared) = &self.budget;
        let mut left_out = shared.left_out.lock().unwrap_or_else(PoisonError::into_inner);
        let left_out = left_out.remove(&metadata.callsite());
        Line { writer: self.inner.make_writer_for(metadata), left_out, format: self.format }
    }
}

/// Writes one line.
pub(super) struct Line<W> {
    writer: W,
    left_out: Option<u64>,
    format: LogFormat,
}

impl<W: Write> Write for Line<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.writer.write(bytes)?;
        if bytes[..written].ends_with(b"\n")
            && let Some(lines) = self.left_out.take()
        {
            let mut time = String::new();
            SystemTime.format_time(&mut format::Writer::new(&mut time)).map_err(io::Error::other)?;
            let message = "in the minute before, lines like the one above were left out";
            match self.format {
                LogFormat::Text => writeln!(self.writer, "{time}  INFO {message} lines={lines}")?,
                LogFormat::Json => writeln!(
                    self.writer,
                    "{{\"timestamp\":\"{time}\",\"level\":\"INFO\",\"message\":\"{message}\",\"lines\":{lines}}}"
                )?,
            }
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

/// Finds the field that says whom a line is about.
struct Subject {
    rank: usize,
    text: String,
}

impl Visit for Subject {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let rank = SUBJECTS.iter().position(|name| *name == field.name());
        if let Some(rank) = rank.filter(|rank| *rank < self.rank) {
            self.rank = rank;
            self.text.clear();
            // Writing to a string does not fail.
            write!(self.text, "{value:?}").ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_and_a_place_have_so_many_lines_in_a_period() {
        let begun = Instant::now();
        let mut place = Place::new(begun);
        let written = |place: &mut Place, subject, now| place.judge(subject, now) != Verdict::LeftOut;
        assert_eq!((0..100).filter(|_| written(&mut place, 1, begun)).count(), OF_SUBJECT as usize);
        assert!(written(&mut place, 2, begun), "another one's share is its own");
        let all = (3..1000).filter(|subject| written(&mut place, *subject, begun)).count();
        assert_eq!(all, (OF_PLACE - OF_SUBJECT - 1) as usize);
        assert_eq!(place.subjects.len(), 2 + all);
        let left_out = place.left_out;
        assert_eq!(place.judge(1, begun + PERIOD), Verdict::WrittenAfter(left_out));
        assert_eq!(place.judge(1, begun + PERIOD), Verdict::Written);
    }
}
