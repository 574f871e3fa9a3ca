//! Docker that is away, odd, or no Docker at all, behind a socket of the test's own.

use std::sync::Arc;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixListener,
    sync::Notify,
};

use super::*;
use crate::targets::source::Feed;

#[test]
fn an_image_without_a_name_is_told_apart() {
    assert!(is_image_id("sha256:0123456789ab"));
    assert!(is_image_id(&"a".repeat(64)));
    assert!(!is_image_id("acme/chat:2.4.1"));
    assert!(!is_image_id("cafe"));
}

fn whole(body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// Answers each request with what `answer` makes of its first line, then with `endless` again and again.
fn answering(
    directory: &Path,
    answer: impl Fn(&str) -> (Vec<u8>, &'static [u8]) + Send + Sync + 'static,
) -> PathBuf {
    let socket = directory.join("docker.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let answer = Arc::new(answer);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let answer = Arc::clone(&answer);
            tokio::spawn(async move {
                let mut request = [0; 4096];
                let length = stream.read(&mut request).await.unwrap_or_default();
                let request = String::from_utf8_lossy(&request[..length]).into_owned();
                let (first, endless) = answer(request.lines().next().unwrap_or_default());
                let mut going = stream.write_all(&first).await.is_ok();
                while going && !endless.is_empty() {
                    going = stream.write_all(endless).await.is_ok();
                }
            });
        }
    });
    socket
}

async fn list(socket: &Path) -> anyhow::Result<Vec<Workload>> {
    Session::open(socket).await?.containers("").await
}

#[tokio::test]
async fn what_is_not_docker_is_an_error_and_no_panic() {
    let answers: [&'static [u8]; 5] = [
        b"",
        b"\x00\xff\xfe garbage \r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n<html></>",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}",
        b"HTTP/1.1 500 Oops\r\ncontent-length: 0\r\n\r\n",
    ];
    for answer in answers {
        let directory = tempfile::tempdir().unwrap();
        let socket = answering(directory.path(), move |_| (answer.to_vec(), b""));
        assert!(list(&socket).await.is_err(), "{answer:?}");
    }
}

#[tokio::test]
async fn a_socket_that_is_absent_or_refuses_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("docker.sock");
    assert!(list(&socket).await.is_err());
    drop(UnixListener::bind(&socket).unwrap());
    assert!(list(&socket).await.is_err());
}

#[tokio::test]
async fn a_state_that_docker_has_not_hides_no_container() {
    let directory = tempfile::tempdir().unwrap();
    let socket = answering(directory.path(), |request| {
        let body = if request.contains("/version") {
            r#"{"ApiVersion":"1.41","Components":[{"Name":"Podman Engine","Version":"4.3.1"}]}"#
        } else {
            assert!(request.starts_with("GET /v1.41/containers/json?all=true"), "{request}");
            r#"[{"Id":"a1","Names":["/web"],"State":"running"},{"Id":"b2","Names":["/db"],"State":"stopped"}]"#
        };
        (whole(body), b"")
    });
    let containers = list(&socket).await.unwrap();
    let shown: Vec<_> =
        containers.iter().map(|it| (it.name.as_str(), it.info.runtime.as_str(), it.running)).collect();
    assert_eq!(shown, [("web", "podman", true), ("db", "podman", false)]);
}

/// What a source says first of a Docker whose list, or whose events, have no end.
async fn endless(events: bool, part: &'static [u8]) -> (Vec<Change>, Duration) {
    const CHUNKED: &[u8] = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let directory = tempfile::tempdir().unwrap();
    let socket = answering(directory.path(), move |request| {
        let is_list = request.contains("/containers/json");
        if request.contains("/version") {
            (whole(r#"{"ApiVersion":"1.41"}"#), b"")
        } else if is_list && events {
            (whole("[]"), b"")
        } else {
            (CHUNKED.to_vec(), part)
        }
    });
    let wake = Arc::new(Notify::new());
    let (mut feed, changes, questions) = Feed::new("docker", &wake);
    let following = tokio::spawn(Docker::new(socket).follow(changes, questions));
    let begun = Instant::now();
    let mut heard = Vec::new();
    while !matches!(heard.last(), Some(Change::Unreachable(_))) {
        heard.push(feed.changes.recv().await.unwrap());
    }
    drop(feed);
    following.await.unwrap();
    (heard, begun.elapsed())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_or_a_line_without_an_end_is_given_up() {
    // A chunk of 4,096 bytes without a line feed.
    const PART: &[u8] = &{
        let mut part = [b'x'; 4096 + 8];
        (part[0], part[1], part[2], part[3], part[4], part[5]) = (b'1', b'0', b'0', b'0', b'\r', b'\n');
        (part[4096 + 6], part[4096 + 7]) = (b'\r', b'\n');
        part
    };
    for (events, said) in [(false, "length limit exceeded"), (true, "a line has more than 262144 bytes")] {
        let (heard, took) = endless(events, PART).await;
        let Some(Change::Unreachable(why)) = heard.last() else { panic!("{heard:?}") };
        assert!(why.contains(said), "{why}");
        assert_eq!(heard.len(), if events { 2 } else { 1 }, "{heard:?}");
        assert!(took < Duration::from_secs(6), "{took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_unreachable_docker_is_reported_each_time_and_tried_ever_less_often() {
    let directory = tempfile::tempdir().unwrap();
    let wake = Arc::new(Notify::new());
    let (mut feed, changes, questions) = Feed::new("docker", &wake);
    let following =
        tokio::spawn(Docker::new(directory.path().join("docker.sock")).follow(changes, questions));
    let begun = tokio::time::Instant::now();
    let mut at = Vec::new();
    for _ in 0..8 {
        assert!(matches!(feed.changes.recv().await, Some(Change::Unreachable(_))));
        at.push(begun.elapsed().as_secs());
    }
    assert_eq!(at, [0, 1, 3, 7, 15, 31, 61, 91]);
    drop(feed);
    following.await.unwrap();
}
