//! The log: one line per event that a person can act on, as text or JSON on standard error.
//! Levels come from `log.level`, which may name modules.

mod budget;

use std::io::{self, IsTerminal as _};

use anyhow::Context as _;
use tracing::Subscriber;
use tracing_subscriber::{
    Layer as _, Registry,
    filter::{FilterExt as _, Targets},
    fmt::MakeWriter,
    layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

use self::budget::LogBudget;
use crate::config::{Log, LogFormat};

/// Switches the log on for the whole process; call it once.
pub fn init(log: &Log) -> anyhow::Result<()> {
    let colours = io::stderr().is_terminal();
    subscriber(log, io::stderr, colours)?.try_init().context("cannot switch the log on")
}

fn subscriber<W>(log: &Log, writer: W, colours: bool) -> anyhow::Result<Box<dyn Subscriber + Send + Sync>>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let filter: Targets = log.level.parse().with_context(|| format!("`{}` is no log level", log.level))?;
    let budget = LogBudget::default();
    let writer = budget.telling(writer, log.format);
    let lines = tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(colours).with_target(false);
    let lines = match log.format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => {
            lines.json().flatten_event(true).with_current_span(false).with_span_list(false).boxed()
        }
    };
    Ok(Box::new(Registry::default().with(lines.with_filter(filter.and(budget)))))
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write,
        sync::{Arc, Mutex},
    };

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: LogFormat, level: &str) -> String {
        let log = Log { format, level: level.to_owned() };
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = subscriber(&log, move || writer.clone(), false).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(container = "web", "attached");
            tracing::debug!(target: "other", "detail");
        });
        let bytes = lines.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn text_is_one_line_with_its_fields() {
        let text = logged(LogFormat::Text, "info");
        assert!(text.ends_with(" INFO attached container=\"web\"\n"), "{text}");
        assert_eq!(text.lines().count(), 1);
    }

    #[test]
    fn json_is_one_flat_object_per_line() {
        let text = logged(LogFormat::Json, "info");
        assert_eq!(text.lines().count(), 1);
        assert!(text.starts_with("{\"timestamp\":\"") && text.ends_with("}\n"), "{text}");
        assert!(text.contains("\"level\":\"INFO\",\"message\":\"attached\",\"container\":\"web\""), "{text}");
    }

    #[test]
    fn what_is_said_again_and_again_is_left_out_and_others_are_heard() {
        for (format, other) in [(LogFormat::Text, "subject=\"b\""), (LogFormat::Json, "\"container\":\"b\"")]
        {
            let log = Log { format, level: "info".to_owned() };
            let lines = Lines::default();
            let writer = lines.clone();
            let subscriber = subscriber(&log, move || writer.clone(), false).unwrap();
            tracing::subscriber::with_default(subscriber, || {
                for container in std::iter::repeat_n("a", 1000).chain(["b"]) {
                    tracing::warn!(container, "cannot be attached to");
                }
            });
            let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
            assert_eq!(text.lines().count(), 6, "{text}");
            assert!(text.contains(&other.replace("subject", "container")), "{text}");
        }
    }

    #[test]
    fn levels_hold_by_module() {
        assert_eq!(logged(LogFormat::Text, "warn"), "");
        assert_eq!(logged(LogFormat::Text, "off"), "");
        assert_eq!(logged(LogFormat::Text, "debug").lines().count(), 2);
        let text = logged(LogFormat::Text, "warn,other=debug");
        assert!(text.ends_with("DEBUG detail\n") && text.lines().count() == 1, "{text}");
    }
}
