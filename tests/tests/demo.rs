//! The demo's parts against each other, without an observer: what the load generator says it did must be what the
//! service saw, connection by connection and to the byte. Needs no root.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use tests::demo::{
    counted::CountedListener,
    load::{self, Options},
    model,
    scenario::MIX,
    service,
    tally::{Ledger, Reason, Side, Tally},
};
use tokio::{
    net::TcpListener,
    sync::watch,
    time::{sleep, timeout},
};

/// Serves `router` on a free port with what it accepts counted in `ledger`.
async fn serve(router: axum::Router, ledger: &Arc<Ledger>) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    let listener = CountedListener::new(listener, Arc::clone(ledger));
    tokio::spawn(axum::serve(listener, router).into_future());
    Ok(address)
}

/// Waits until `ledger` tells what is expected, or shows how it differs.
async fn settles(ledger: &Ledger, expected: impl Fn() -> Tally) {
    let equal = async {
        while ledger.tally() != expected() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    let _ = timeout(Duration::from_secs(5), equal).await;
    assert_eq!(ledger.tally(), expected());
}

#[tokio::test(flavor = "multi_thread")]
async fn both_ends_tell_the_same_of_every_connection() {
    let called = Arc::new(Ledger::new(Side::Peer));
    let calls = Arc::new(Ledger::new(Side::Target));
    let served = Arc::new(Ledger::new(Side::Target));
    let model = serve(model::router(), &called).await.unwrap();
    let address = serve(service::router(model, Arc::clone(&calls)), &served).await.unwrap();

    let (stop, stopped) = watch::channel(false);
    let options = Options { service: address, seed: 42, rate: 400, held: 3 };
    let load = tokio::spawn(load::run(options, Arc::new(Ledger::new(Side::Peer)), stopped));
    sleep(Duration::from_secs(3)).await;
    stop.send_replace(true);
    let summary = load.await.unwrap().unwrap();

    assert_eq!(summary.errors, Vec::<String>::new());
    assert_eq!(summary.scenarios.len(), MIX.len(), "every scenario was played: {:?}", summary.scenarios);
    assert_eq!(summary.tally.open, 3);
    for reason in [Reason::LocalClose, Reason::PeerClose, Reason::PeerReset] {
        assert!(summary.tally.closed.contains_key(&reason), "{reason:?} never occurred");
    }
    settles(&served, || summary.tally.clone()).await;
    // The model's side of a call that was dropped ends a moment later.
    settles(&calls, || called.tally()).await;
    let called = called.tally();
    assert!(called.opened > 0 && called.open == 0, "{called:?}");
    assert!(called.closed.contains_key(&Reason::LocalClose), "no call was dropped: {called:?}");
}
