//! The two parties of a run: one serves its connections, the other makes them, some at a time. Either may be the target.
//! Both know every conversation from its number, which the first request carries in its query.

use std::{
    net::SocketAddr,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result, bail};
use tokio::{
    io::AsyncReadExt,
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::timeout,
};

use super::{conversation::Mix, play::play, tally::Tally};

/// What stands before the number of a conversation.
const NUMBER: &[u8] = b"?c=";

/// Bytes within which the number must have come.
const NAMED_WITHIN: usize = 4096;

/// How long a first request may take.
const ASKED_WITHIN: Duration = Duration::from_mins(1);

/// What the cuts of the server's writes are made from, beside those of the client's.
const OF_SERVER: u64 = 0x5eed;

/// Serves that many connections; what was asked and answered over them.
pub async fn serve(listener: TcpListener, mix: Mix, connections: u64) -> Result<Tally> {
    let mut parties = JoinSet::new();
    let mut tally = Tally::default();
    let mut accepted = 0;
    while accepted < connections {
        // What has failed ends all of it.
        tokio::select! {
            Some(ended) = parties.join_next() => tally.add(ended.context("a party panicked")??),
            stream = listener.accept() => {
                parties.spawn(answer(stream.context("cannot accept")?.0, mix));
                accepted += 1;
            }
        }
    }
    tally.add(all(parties).await?);
    Ok(tally)
}

/// Plays the server of one connection.
async fn answer(mut stream: TcpStream, mix: Mix) -> Result<Tally> {
    let (number, before) = timeout(ASKED_WITHIN, named(&mut stream)).await.context("nothing was asked")??;
    let conversation = mix.conversation(number);
    let seed = mix.seed_of(number) ^ OF_SERVER;
    let played = play(stream, &conversation.server, &conversation.client, &before, seed).await;
    played.with_context(|| format!("conversation {number}, the server"))?;
    Ok(conversation.tally)
}

/// Reads up to a conversation's number; that, and what was read.
async fn named(stream: &mut TcpStream) -> Result<(u64, Vec<u8>)> {
    let mut bytes = Vec::new();
    while bytes.len() < NAMED_WITHIN {
        if stream.read_buf(&mut bytes).await.context("cannot read")? == 0 {
            bail!("it was closed before anything was asked");
        }
        if let Some(number) = number(&bytes) {
            return Ok((number, bytes));
        }
    }
    bail!("the first request says no number")
}

fn number(bytes: &[u8]) -> Option<u64> {
    let from = bytes.windows(NUMBER.len()).position(|window| window == NUMBER)? + NUMBER.len();
    let rest = bytes.get(from..)?;
    let digits = rest.get(..rest.iter().position(|byte| !byte.is_ascii_digit())?)?;
    str::from_utf8(digits).ok()?.parse().ok()
}

/// Makes the connections of these numbers, so many at once; what was asked and answered over them.
pub async fn ask(server: SocketAddr, mix: Mix, numbers: Range<u64>, at_once: usize) -> Result<Tally> {
    let next = Arc::new(AtomicU64::new(numbers.start));
    let mut parties = JoinSet::new();
    for _ in 0..at_once {
        let next = Arc::clone(&next);
        parties.spawn(async move {
            let mut tally = Tally::default();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= numbers.end {
                    return Ok(tally);
                }
                let asked = converse(server, mix, number).await;
                tally.add(asked.with_context(|| format!("conversation {number}, the client"))?);
            }
        });
    }
    all(parties).await
}

/// Plays the client of one connection.
async fn converse(server: SocketAddr, mix: Mix, number: u64) -> Result<Tally> {
    let conversation = mix.conversation(number);
    let stream = TcpStream::connect(server).await.context("cannot connect")?;
    play(stream, &conversation.client, &conversation.server, &[], mix.seed_of(number)).await?;
    Ok(conversation.tally)
}

/// The sum of all, or the first failure.
async fn all(mut parties: JoinSet<Result<Tally>>) -> Result<Tally> {
    let mut tally = Tally::default();
    while let Some(ended) = parties.join_next().await {
        tally.add(ended.context("a party panicked")??);
    }
    Ok(tally)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::random::kinds::Kinds;

    #[test]
    fn a_number_is_read_once_all_of_it_is_there() {
        assert_eq!(number(b"GET /a/b?c=17&n=4 HTTP"), Some(17));
        for unfinished in [&b"GET /a?c=17"[..], b"GET /a?c", b"GET /a?c=x "] {
            assert_eq!(number(unfinished), None);
        }
    }

    #[tokio::test]
    async fn both_parties_play_every_kind_to_its_end_and_tell_the_same() {
        for (kind, kinds) in Kinds::all().each() {
            let mix = Mix::new(7, kinds);
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            let address = listener.local_addr().unwrap();
            let serving = tokio::spawn(serve(listener, mix, 10));
            let asked = ask(address, mix, 5..15, 4).await.unwrap();
            let served = serving.await.unwrap().unwrap();
            assert!(asked == served && asked.exchanges() >= 10, "{}: {asked:?}", kind.name());
        }
    }

    #[tokio::test]
    async fn parties_of_different_seeds_find_out() {
        let [one, other] = [7, 8].map(|seed| Mix::new(seed, Kinds::all()));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = tokio::spawn(serve(listener, one, 1));
        let asked = ask(address, other, 0..1, 1).await;
        let served = serving.await.unwrap();
        assert!(asked.is_err() || served.is_err());
    }
}
