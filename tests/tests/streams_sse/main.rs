//! Streams of every kind for a minute: each route's numbers are the driver's, also while the streams are open.
//! All tests judge the same run.

mod run;

use std::time::Duration;

use anyhow::{Result, ensure};
use run::{MESSAGES, STALL, WEBSOCKETS, finished};
use tests::{
    metrics::Metrics,
    streams::{
        compare,
        record::{Counted, Record},
    },
};

/// Whether `value` is within half a second of `seconds`.
fn about(value: Duration, seconds: f64) -> bool {
    (value.as_secs_f64() - seconds).abs() < 0.5
}

/// The records of one route, which must be so many and must be what the metrics say.
fn expect(route: &str, streams: usize) -> Result<Vec<Record>> {
    let run = finished()?;
    let records: Vec<Record> = run.records.iter().filter(|record| record.route == route).cloned().collect();
    ensure!(records.len() == streams, "{route}: {records:?}");
    let comparison = compare::all(&records, STALL, &run.last);
    ensure!(comparison.equal(), "{route}:\n{comparison}");
    Ok(records)
}

/// Checks every scrape between these seconds of the run, of which there are several.
fn meanwhile(from: u64, to: u64, check: impl Fn(Duration, &Metrics) -> Result<()>) -> Result<()> {
    let within = |time: Duration| (Duration::from_secs(from)..Duration::from_secs(to)).contains(&time);
    let scrapes: Vec<_> = finished()?.scrapes.iter().filter(|(time, _)| within(*time)).collect();
    ensure!(scrapes.len() >= 2, "no scrapes between {from} s and {to} s");
    scrapes.into_iter().try_for_each(|(time, metrics)| check(*time, metrics))
}

fn equal(what: &str, time: Duration, value: f64, expected: f64) -> Result<()> {
    ensure!((value - expected).abs() < 0.5, "{what} after {time:?}: {value} instead of {expected}");
    Ok(())
}

#[test]
fn a_story_of_a_minute_with_a_pause_is_one_stream_with_one_stall() -> Result<()> {
    let story = expect("/sse/story", 1)?.remove(0);
    ensure!(about(story.duration, 60.0), "{story:?}");
    ensure!(story.first_event.is_some_and(|first| about(first, 1.0)), "{story:?}");
    ensure!(story.gaps.iter().filter(|gap| about(**gap, 15.0)).count() == 1, "{story:?}");
    Ok(())
}

#[test]
fn an_open_stream_and_its_stall_are_seen_while_they_last() -> Result<()> {
    let route = [("route", "/sse/story")];
    meanwhile(3, 58, |time, metrics| {
        equal("active", time, metrics.sum("chat_streams_active", &route), 1.0)?;
        equal("ended", time, metrics.sum("chat_streams_total", &route), 0.0)?;
        let age = metrics.sum("chat_stream_oldest_age_seconds", &[("kind", "sse")]);
        ensure!((age - time.as_secs_f64()).abs() < 1.0, "oldest after {time:?}: {age} s");
        Ok(())
    })?;
    // Silent from 22.75 s to 37.75 s, a stall from 32.75 s on.
    let stalls = |metrics: &Metrics| metrics.sum("chat_stream_stalls_total", &route);
    meanwhile(3, 32, |time, metrics| equal("stalls", time, stalls(metrics), 0.0))?;
    meanwhile(34, 37, |time, metrics| equal("stalls", time, stalls(metrics), 1.0))?;
    meanwhile(39, 58, |time, metrics| equal("stalls", time, stalls(metrics), 1.0))
}

#[test]
fn heartbeats_are_no_event() -> Result<()> {
    let record = expect("/sse/heartbeat", 1)?.remove(0);
    ensure!(record.first_event.is_some_and(|first| about(first, 30.5)), "{record:?}");
    let route = [("route", "/sse/heartbeat")];
    meanwhile(3, 30, |time, metrics| {
        equal("active", time, metrics.sum("chat_streams_active", &route), 1.0)?;
        let events = metrics.sum("chat_stream_time_to_first_event_seconds_count", &route);
        equal("first events", time, events, 0.0)?;
        equal("chunks", time, metrics.sum("chat_stream_chunks_total", &route), 0.0)?;
        // `:\n\n` each second.
        let bytes = metrics.sum("chat_stream_bytes_total", &route);
        ensure!((bytes - 3.0 * time.as_secs_f64()).abs() < 4.5, "bytes after {time:?}: {bytes}");
        Ok(())
    })
}

#[test]
fn a_hundred_websockets_are_a_hundred_sessions() -> Result<()> {
    let records = expect("/websocket/chat", WEBSOCKETS as usize)?;
    for Record { duration, sent, received, .. } in &records {
        ensure!(about(*duration, 60.0), "{duration:?}");
        ensure!(sent == received && sent.messages == u64::from(MESSAGES), "{sent:?} {received:?}");
    }
    let route = [("route", "/websocket/chat")];
    meanwhile(3, 58, |time, metrics| {
        let active = metrics.sum("chat_streams_active", &route);
        equal("active", time, active, f64::from(WEBSOCKETS))
    })
}

#[test]
fn compressed_events_count_by_chunk() -> Result<()> {
    expect("/sse/compressed", 1).map(drop)
}

#[test]
fn lines_of_json_are_a_stream() -> Result<()> {
    let record = expect("/ndjson/lines", 1)?.remove(0);
    let Counted { messages, bytes } = record.sent;
    // Each line is 32 bytes, and blank lines came between them.
    ensure!(messages == 100 && bytes > 3200, "{record:?}");
    Ok(())
}

#[test]
fn a_download_without_a_length_that_takes_long_is_a_stream() -> Result<()> {
    expect("/chunked/slow", 1).map(drop)
}

#[test]
fn a_short_download_and_one_of_known_length_are_requests() -> Result<()> {
    let run = finished()?;
    ensure!(run.answered.len() == 2, "{:?}", run.answered);
    for answered in &run.answered {
        let comparison = answered.compare(&run.last);
        ensure!(comparison.equal(), "{answered:?}:\n{comparison}");
    }
    Ok(())
}
