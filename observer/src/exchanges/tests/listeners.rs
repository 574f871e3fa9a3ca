//! Whoever listens hears every record, also while a scrape holds the counts, and costs the counts nothing.

use std::sync::mpsc;

use tokio::sync::broadcast::error::TryRecvError;

use super::Case;
use crate::{
    exchanges::{
        LAG,
        fixture::{exchange, numbered},
    },
    kernel::Record,
};

#[test]
fn listeners_hear_while_a_scrape_holds_the_counts() {
    let case = Case::of("");
    let mut listeners = [case.exchanges.listen(), case.exchanges.listen()];
    let (taken, done) = mpsc::channel();
    // As a scrape does for as long as its walk takes.
    let scrape = case.exchanges.state.lock().unwrap();
    std::thread::scope(|scope| {
        case.end([exchange()]);
        scope.spawn(|| {
            case.exchanges.take_in();
            taken.send(()).unwrap();
        });
        done.recv_timeout(std::time::Duration::from_secs(20)).unwrap();
        for listener in &mut listeners {
            assert_eq!(listener.try_recv().unwrap(), Record::Exchange(exchange()));
        }
        drop(scrape);
    });
    case.scrape().expect("chat_http_requests_total", &[], 1.0);
}

#[test]
fn one_that_lags_loses_its_own_and_no_other_does() {
    let case = Case::of("");
    let mut lags = case.exchanges.listen();
    let mut hears = case.exchanges.listen();
    let mut count = 0;
    for _ in 0..30 {
        case.end((0..100).map(numbered));
        case.exchanges.take_in();
        while hears.try_recv().is_ok() {
            count += 1;
        }
    }
    assert_eq!(count, 3000);
    assert_eq!(lags.try_recv(), Err(TryRecvError::Lagged(3000 - LAG as u64)));
    case.scrape().expect("chat_http_requests_total", &[], 3000.0);
}
