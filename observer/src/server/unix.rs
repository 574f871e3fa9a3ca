//! A Unix socket that only the agent's user and group can connect to, and that goes with the agent.
//! One that was left by a killed agent is replaced; anything else at its path is left alone.

use std::{
    fmt,
    fs::{self, File, Permissions},
    io,
    os::{
        fd::AsFd as _,
        unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _},
    },
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use tokio::net::{UnixListener, UnixStream};

/// Read and write for owner and group: connecting is writing (unix(7)).
const MODE: u32 = 0o660;

/// Connections that may wait to be accepted, as many as the standard library asks for on a port.
const BACKLOG: u32 = 128;

/// The listening socket; its file is removed with it.
pub(super) struct UnixSocket {
    listener: UnixListener,
    path: PathBuf,
    /// Device and number of the file, which another agent may have replaced.
    file: (u64, u64),
}

impl UnixSocket {
    pub(super) async fn bind(path: &Path) -> anyhow::Result<Self> {
        make_way(path).await?;
        let named = || {
            format!(
                "cannot listen on {}; choose a path in a folder that exists and that this user may write to, with \
                 --listen or `listen` in the configuration",
                path.display()
            )
        };
        let socket = tokio::net::UnixSocket::new_stream().with_context(named)?;
        // The file gets the mode that the socket has (`unix_bind_bsd`, net/unix/af_unix.c): nobody else can connect
        // between its making and the next change of its mode.
        let before = File::from(socket.as_fd().try_clone_to_owned().with_context(named)?);
        before.set_permissions(Permissions::from_mode(0o600)).with_context(named)?;
        socket.bind(path).with_context(named)?;
        fs::set_permissions(path, Permissions::from_mode(MODE)).with_context(named)?;
        let metadata = fs::symlink_metadata(path).with_context(named)?;
        let listener = socket.listen(BACKLOG).with_context(named)?;
        Ok(Self { listener, path: path.to_owned(), file: (metadata.dev(), metadata.ino()) })
    }

    pub(super) async fn accept(&self) -> io::Result<UnixStream> {
        let (stream, _) = self.listener.accept().await?;
        Ok(stream)
    }
}

impl Drop for UnixSocket {
    fn drop(&mut self) {
        let now = fs::symlink_metadata(&self.path).map(|metadata| (metadata.dev(), metadata.ino()));
        if now.is_ok_and(|now| now == self.file) {
            // One that cannot be removed is replaced by the next agent.
            fs::remove_file(&self.path).ok();
        }
    }
}

impl fmt::Display for UnixSocket {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "unix:{}", self.path.display())
    }
}

/// Removes the socket of an agent that is gone.
async fn make_way(path: &Path) -> anyhow::Result<()> {
    let Ok(metadata) = fs::symlink_metadata(path) else {
        return Ok(());
    };
    let shown = path.display();
    if !metadata.file_type().is_socket() {
        bail!("cannot listen on {shown}: it exists and is no socket; choose another path with --listen");
    }
    match UnixStream::connect(path).await {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path)
            .with_context(|| format!("cannot remove {shown}, the socket of an agent that is gone")),
        _ => bail!(
            "the socket {shown} is taken by another process; stop it, or choose another path with --listen"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_is_closed_to_others_and_goes_with_its_owner() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.sock");
        let socket = UnixSocket::bind(&path).await.unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, MODE);
        assert_eq!(socket.to_string(), format!("unix:{}", path.display()));
        let (accepted, connected) = tokio::join!(socket.accept(), UnixStream::connect(&path));
        assert!(accepted.is_ok() && connected.is_ok());
        drop(socket);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn only_a_socket_that_nobody_listens_on_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.sock");
        // The standard library's listener leaves its file behind, as a killed agent does.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let socket = UnixSocket::bind(&path).await.unwrap();
        let error = UnixSocket::bind(&path).await.err().unwrap().to_string();
        assert!(error.contains("taken") && error.contains("--listen"), "{error}");
        drop(socket);

        fs::write(&path, "precious").unwrap();
        let error = UnixSocket::bind(&path).await.err().unwrap().to_string();
        assert!(error.contains("no socket"), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
        let absent = folder.path().join("absent/metrics.sock");
        let error = format!("{:#}", UnixSocket::bind(&absent).await.err().unwrap());
        assert!(error.contains("folder that exists") && error.contains("No such file"), "{error}");
    }

    #[tokio::test]
    async fn the_file_of_another_agent_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.sock");
        let first = UnixSocket::bind(&path).await.unwrap();
        fs::remove_file(&path).unwrap();
        let second = UnixSocket::bind(&path).await.unwrap();
        drop(first);
        assert!(path.exists());
        drop(second);
        assert!(!path.exists());
    }
}
