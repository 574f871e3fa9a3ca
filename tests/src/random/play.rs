//! One side of one connection: sends its flow, and checks that what comes is the other's, to the last byte.
//! Both directions are independent of each other but for what a flow waits for.

use std::{io::ErrorKind, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    time::{sleep, timeout},
};

use super::flow::{CLOSED, End, Flow, Writes};

/// How long a connection may take, on a busy machine and over a wire that loses packets.
const PLAYED_WITHIN: Duration = Duration::from_secs(90);

/// The most bytes that are read at once.
const READ: usize = 1 << 17;

/// How far the other side has come.
#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    received: usize,
    closed: bool,
}

impl Progress {
    fn is_behind(&self, bytes: usize) -> bool {
        if bytes == CLOSED { self.closed } else { self.received >= bytes }
    }
}

/// Plays `own` against a side that plays `other`, of which the bytes in `before` are there; `seed` says how `own` is cut.
pub async fn play(stream: TcpStream, own: &Flow, other: &Flow, before: &[u8], seed: u64) -> Result<()> {
    stream.set_nodelay(true).context("cannot set TCP_NODELAY")?;
    let (reading, writing) = stream.into_split();
    let (progress, watched) = watch::channel(Progress::default());
    let both = async {
        tokio::try_join!(read(reading, other, before, progress), write(writing, own, watched, seed)).map(drop)
    };
    timeout(PLAYED_WITHIN, both).await.context("it takes too long")?
}

async fn read(
    mut stream: OwnedReadHalf,
    expected: &Flow,
    before: &[u8],
    progress: watch::Sender<Progress>,
) -> Result<()> {
    let mut received = 0;
    let mut check = |bytes: &[u8]| {
        let rest = expected.bytes.get(received..).unwrap_or_default();
        ensure!(rest.starts_with(bytes), "what came behind {received} bytes is not what was to come");
        received += bytes.len();
        Ok(received)
    };
    progress.send_replace(Progress { received: check(before)?, closed: false });
    let mut piece = vec![0; READ];
    loop {
        let count = match stream.read(&mut piece).await {
            // The other side was done, and has closed a socket that still had our FIN to come.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => bail!("it was reset"),
            count => count.context("cannot read")?,
        };
        let received = check(piece.get(..count).unwrap_or_default())?;
        progress.send_replace(Progress { received, closed: count == 0 });
        if count == 0 {
            let all = expected.bytes.len();
            ensure!(received == all, "it was closed after {received} of {all} bytes");
            return Ok(());
        }
    }
}

async fn write(
    mut stream: OwnedWriteHalf,
    flow: &Flow,
    mut progress: watch::Receiver<Progress>,
    seed: u64,
) -> Result<()> {
    let mut writes = Writes::new(flow.cut, seed);
    let mut waits = flow.waits.iter().peekable();
    let mut sent = 0;
    while sent < flow.bytes.len() {
        // What has come meanwhile is not waited for once more, so that all of it may go in one write.
        let mut ready = flow.bytes.len();
        while let Some(wait) = waits.peek() {
            let has_come = progress.borrow().is_behind(wait.received);
            if wait.at > sent && !(has_come && wait.pause.is_zero()) {
                ready = wait.at;
                break;
            }
            if wait.at <= sent {
                reached(&mut progress, |progress| progress.is_behind(wait.received)).await?;
                sleep_for(wait.pause).await;
            }
            waits.next();
        }
        let count = writes.next(ready - sent);
        let piece = flow.bytes.get(sent..sent + count).unwrap_or_default();
        stream.write_all(piece).await.with_context(|| format!("cannot send behind {sent} bytes"))?;
        sent += count;
    }
    match flow.end {
        End::Received(least) => reached(&mut progress, |progress| progress.received >= least).await?,
        End::Other => reached(&mut progress, |progress| progress.closed).await?,
    }
    stream.shutdown().await.context("cannot close")
}

async fn reached(progress: &mut watch::Receiver<Progress>, far: impl Fn(&Progress) -> bool) -> Result<()> {
    // The sender is gone only once all has come.
    let waited = progress.wait_for(|progress| far(progress)).await.map(drop);
    waited.context("the other side has closed before that was there")
}

async fn sleep_for(pause: Duration) {
    if !pause.is_zero() {
        sleep(pause).await;
    }
}
