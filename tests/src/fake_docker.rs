//! A Docker API of the test's own behind a socket, with one container whose name and image the test changes.
//! It answers what the agent asks, as dockerd 20.10 does, and tells of a change by an event.

use std::{
    io::{Read as _, Write as _},
    os::unix::net::{UnixListener, UnixStream},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use anyhow::{Context, Result};
use tempfile::TempDir;

/// The API; its threads end with the test's process.
pub struct FakeDocker {
    folder: TempDir,
    state: Arc<Mutex<State>>,
}

struct State {
    id: String,
    name: String,
    image: String,
    /// Those who follow the events.
    followers: Vec<UnixStream>,
}

impl FakeDocker {
    /// With a running container of this id.
    pub fn start(id: &str, name: &str, image: &str) -> Result<Self> {
        let folder = TempDir::new().context("cannot make a folder")?;
        let listener = UnixListener::bind(folder.path().join("docker.sock")).context("cannot listen")?;
        let state = Arc::new(Mutex::new(State {
            id: id.to_owned(),
            name: name.to_owned(),
            image: image.to_owned(),
            followers: Vec::new(),
        }));
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&shared);
                // Whoever asks may have gone meanwhile.
                thread::spawn(move || answer(stream, &shared).ok());
            }
        });
        Ok(Self { folder, state })
    }

    /// Where it answers.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("docker.sock")
    }

    /// Gives the container another name and image, and tells of it.
    pub fn rename(&self, name: &str, image: &str) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        (state.name, state.image) = (name.to_owned(), image.to_owned());
        let event = format!(
            "{{\"Type\":\"container\",\"Action\":\"rename\",\"Actor\":{{\"ID\":\"{}\"}}}}\n",
            state.id
        );
        let chunk = format!("{:x}\r\n{event}\r\n", event.len());
        state.followers.retain_mut(|follower| follower.write_all(chunk.as_bytes()).is_ok());
    }
}

fn answer(mut stream: UnixStream, state: &Mutex<State>) -> Result<()> {
    let mut request = Vec::new();
    let mut buffer = [0; 1024];
    while !request.ends_with(b"\r\n\r\n") {
        let length = stream.read(&mut buffer)?;
        anyhow::ensure!(length > 0, "it left");
        request.extend_from_slice(&buffer[..length]);
    }
    let request = String::from_utf8(request)?;
    let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
    if request.contains("/events") {
        stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")?;
        state.followers.push(stream);
        return Ok(());
    }
    let body = if request.contains("/containers/json") {
        let State { id, name, image, .. } = &*state;
        format!("[{{\"Id\":\"{id}\",\"Names\":[\"/{name}\"],\"Image\":\"{image}\",\"State\":\"running\"}}]")
    } else {
        "{\"ApiVersion\":\"1.41\"}".to_owned()
    };
    write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())?;
    Ok(())
}
