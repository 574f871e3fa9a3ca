//! Sources that hang, flood and lie: others go on, and each is told of once.

use std::{io, sync::Mutex};

use super::*;
use crate::targets::{knowledge::Knowledge, source::Feed};

fn other(id: &str, path: &str) -> Workload {
    let place = Place::Cgroup(path.into());
    Workload { id: id.to_owned(), place, ..container(id, "acme/chat:1") }
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What was logged meanwhile by this thread.
fn logged(work: impl FnOnce()) -> String {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    tracing::subscriber::with_default(subscriber, work);
    String::from_utf8(log.0.lock().unwrap().clone()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_hangs_and_one_that_floods_disturb_no_other() {
    let host = Host::new();
    for path in ["/calm", "/later", "/flood"] {
        host.cgroup(path);
    }
    let (hangs, silent) = scripted("hangs");
    drop(silent.says);
    let (floods, flood) = scripted("floods");
    let (calm, script) = scripted("calm");
    script.say(Change::Snapshot(vec![other("calm", "/calm")]));
    flood.say(Change::Snapshot(Vec::new()));
    let settings = settings(&host, &["container:calm*", "container:flood*", "container:later"]);
    let begun = Instant::now();
    let case = Case::start(host, settings, vec![hangs, floods, calm]);
    until("the first look waits for the one that hangs, and no longer than it may", || case.handle.ready())
        .await;
    assert!(begun.elapsed() < FIRST_ANSWER * 5, "{:?}", begun.elapsed());
    assert_eq!(case.names(), ["calm"]);
    // 10,000 changes a second for two seconds: names, new workloads, lists.
    let stop = Arc::new(AtomicBool::new(false));
    let flooding = {
        let stop = Arc::clone(&stop);
        tokio::spawn(async move {
            let mut tick = time::interval(Duration::from_millis(10));
            let mut said = 0_u32;
            while !stop.load(Ordering::Relaxed) {
                tick.tick().await;
                for _ in 0..100 {
                    said += 1;
                    flood.say(match said % 3 {
                        0 => Change::Upsert(other(&format!("new-{said}"), "/nowhere")),
                        1 => Change::Upsert(Workload {
                            name: format!("flood-{said}"),
                            ..other("flood", "/flood")
                        }),
                        _ => Change::Snapshot(vec![other(&format!("flood-{said}"), "/flood")]),
                    });
                }
            }
            said
        })
    };
    let mut slowest = Duration::ZERO;
    for round in 0..20 {
        let name = format!("calm-{round}");
        let begun = Instant::now();
        script.say(Change::Upsert(Workload { name: name.clone(), ..other("calm", "/calm") }));
        until("heard beside a flood", || case.names().contains(&name)).await;
        slowest = slowest.max(begun.elapsed());
        time::sleep(Duration::from_millis(100)).await;
    }
    stop.store(true, Ordering::Relaxed);
    let said = flooding.await.unwrap();
    assert!(said > 10_000, "{said}");
    assert!(slowest < Duration::from_millis(500), "{slowest:?}");
    assert_eq!(case.recorder.attached_ever().iter().filter(|target| **target == 1).count(), 1);
}

#[test]
fn a_flood_is_taken_in_shares_and_said_once() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let log = logged(|| {
        runtime.block_on(async {
            let (floods, flood) = scripted("floods");
            let (calm, script) = scripted("calm");
            let mut feeds = Feeds::start(vec![floods, calm]);
            for said in 0..20_000 {
                flood.say(Change::Gone(said.to_string()));
            }
            script.say(Change::Snapshot(Vec::new()));
            let (mut heard, mut most) = ([0, 0], 0);
            while heard[0] < 20_000 {
                let mut turn = 0;
                time::timeout(Duration::from_secs(20), feeds.wait()).await.unwrap();
                feeds.turn(|source, _| {
                    heard[source] += 1;
                    turn += 1;
                });
                most = most.max(turn);
            }
            assert!(heard[1] == 1 && most <= 129, "{heard:?} {most}");
        });
    });
    assert_eq!(log.matches("faster than they are looked at").count(), 1, "{log}");
}

#[test]
fn what_lies_or_never_ends_is_bounded_and_said_once() {
    let log = logged(|| {
        let mut knowledge = Knowledge::new(["lies", "honest"]);
        for round in 0..3 {
            for id in ["a", "b", "c"] {
                knowledge.insert(0, Workload { name: format!("{id}{round}"), ..other(id, "/one") });
                knowledge.place(0, id, Path::new(""));
            }
        }
        knowledge.insert(1, other("d", "/one"));
        knowledge.place(1, "d", Path::new(""));
        let at: Vec<_> =
            knowledge.at(Path::new("/one")).map(|(source, it)| (source, it.id.clone())).collect();
        let expected = [(0, "a"), (0, "b"), (0, "c"), (1, "d")].map(|(source, id)| (source, id.to_owned()));
        assert_eq!(at, expected, "the first counts, whatever came last");
        for id in 0..40_000 {
            knowledge.insert(0, other(&id.to_string(), "/many"));
        }
        assert_eq!(knowledge.all().count(), 16_384 + 1);
        knowledge.remove(0, "a");
        assert!(knowledge.insert(0, other("again", "/many")));
    });
    assert_eq!(log.matches("two workloads are in one cgroup").count(), 1, "{log}");
    assert_eq!(log.matches("too many workloads").count(), 1, "{log}");
}

#[tokio::test]
async fn a_source_waits_while_its_own_changes_are_not_taken() {
    let wake = Arc::new(tokio::sync::Notify::new());
    let (feed, changes, _questions) = Feed::new("floods", &wake);
    let mut sent = 0;
    while time::timeout(Duration::from_millis(50), changes.send(Change::Gone(String::new()))).await.is_ok() {
        sent += 1;
        assert!(sent < 10_000);
    }
    assert_eq!(sent, 256, "what waits is bounded");
    drop(feed);
}
