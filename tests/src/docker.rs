//! A Docker daemon of a test's own: in a network namespace, on a socket and in a folder that nobody else has.
//! Images are made here, from what the host has; no registry is asked.

use std::{
    fs,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use tempfile::TempDir;

use crate::{namespace::Namespace, traffic};

/// Docker's first address of IPv4, on the bridge; the test's side of every container's network.
pub const GATEWAY: &str = "172.17.0.1";
/// The same of IPv6, from the network in the daemon's arguments.
pub const GATEWAY_6: &str = "fd00:6f62::1";

/// A daemon, gone with all its containers when dropped.
#[derive(Debug)]
pub struct Daemon {
    directory: TempDir,
    process: Child,
}

impl Daemon {
    /// Starts one and waits until it answers.
    pub fn start() -> Result<Self> {
        let directory = TempDir::new().context("cannot make a folder")?;
        let process = Self::spawn(directory.path())?;
        let daemon = Self { directory, process };
        let answers = || daemon.docker(&["version"]).is_ok();
        wait_until("dockerd answers (see `cargo xtask setup`)", answers)?;
        Ok(daemon)
    }

    /// Starts one whose containers can only share its own network, for machines without bridges, and waits until it
    /// answers. Its containers' files may lie on the first file system of the machine, which cannot be left behind.
    pub fn start_without_networks() -> Result<Self> {
        let directory = TempDir::new().context("cannot make a folder")?;
        let log = fs::File::create(directory.path().join("log"))?;
        let folder = |name: &str| directory.path().join(name);
        let mut command = Command::new("dockerd");
        command.arg("--data-root").arg(folder("data")).arg("--exec-root").arg(folder("exec"));
        command.arg("--pidfile").arg(folder("docker.pid"));
        command.arg(format!("--host=unix://{}", folder("docker.sock").display()));
        command.args(["--bridge=none", "--iptables=false", "--ip6tables=false", "--storage-driver=vfs"]);
        command.env("DOCKER_RAMDISK", "true").stdout(Stdio::null()).stderr(log).process_group(0);
        let process = command.spawn().context("cannot start dockerd")?;
        let daemon = Self { directory, process };
        if let Err(error) = wait_until("dockerd answers", || daemon.docker(&["version"]).is_ok()) {
            let log = fs::read_to_string(daemon.directory().join("log")).unwrap_or_default();
            bail!("{error:#}; it wrote:\n{log}");
        }
        Ok(daemon)
    }

    fn spawn(directory: &Path) -> Result<Child> {
        let script = "ip link set lo up; exec dockerd --data-root $D/data --exec-root $D/exec \
            --pidfile $D/docker.pid -H unix://$D/docker.sock \
            --bip 172.17.0.1/16 --ipv6 --fixed-cidr-v6 fd00:6f62::/64";
        let log = fs::OpenOptions::new().create(true).append(true).open(directory.join("log"))?;
        Command::new("unshare")
            .args(["-n", "sh", "-c", script])
            .env("D", directory)
            .stdout(Stdio::null())
            .stderr(log)
            .process_group(0)
            .spawn()
            .context("cannot start dockerd with `unshare`: this test needs root and what `cargo xtask setup` installs")
    }

    /// Its folder, which goes with it.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Its API's socket.
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("docker.sock")
    }

    /// The network namespace with its bridge, from which containers are reached.
    pub fn namespace(&self) -> Result<Namespace> {
        Namespace::of(self.process.id())
    }

    /// Runs `docker` with `arguments`; what it wrote.
    pub fn docker(&self, arguments: &[&str]) -> Result<String> {
        let output = self.execute(arguments)?;
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    }

    /// What a container wrote, its errors last.
    pub fn logs(&self, container: &str) -> Result<String> {
        let output = self.execute(&["logs", container])?;
        Ok(String::from_utf8([output.stdout, output.stderr].concat())?)
    }

    /// `docker` with `arguments`, to be started.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("docker");
        command.arg("-H").arg(format!("unix://{}", self.socket().display())).args(arguments);
        command
    }

    fn execute(&self, arguments: &[&str]) -> Result<Output> {
        let mut command = self.command(arguments);
        let output = command
            .stdin(Stdio::null())
            .output()
            .context("cannot start `docker`: run `cargo xtask setup`")?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "docker {arguments:?}: {errors}");
        Ok(output)
    }

    /// Runs a program in a container; how it ended.
    pub fn run_inside(&self, container: &str, program: &[&str]) -> Result<ExitStatus> {
        let mut command = self.command(&["exec", container]);
        command.args(program).stdin(Stdio::null()).status().context("cannot start `docker`")
    }

    /// What `docker inspect` says of a container, by a Go template.
    pub fn inspect(&self, container: &str, template: &str) -> Result<String> {
        self.docker(&["inspect", "-f", template, container])
    }

    /// An image that holds a shell and nothing else.
    pub fn import_shell(&self, image: &str) -> Result<()> {
        self.import(image, &self.root()?)
    }

    /// An image that holds a shell, Node.js and the server of [`traffic`] as `/app/server.js`.
    pub fn import_node(&self, image: &str) -> Result<()> {
        let root = self.root()?;
        fs::create_dir_all(root.join("app"))?;
        fs::copy(traffic::server_script(), root.join("app/server.js"))?;
        let node = which("node")?;
        copy_into(&root, &node, Path::new("/bin/node"))?;
        for library in libraries(&node)? {
            copy_into(&root, &library, &library)?;
        }
        self.import(image, &root)
    }

    /// An image of these files, each by its path in the image and where it is taken from, and of nothing else.
    pub fn import_files(&self, image: &str, files: &[(PathBuf, PathBuf)]) -> Result<()> {
        let root = self.directory.path().join(format!("files-{image}"));
        for (path, file) in files {
            copy_into(&root, file, path)?;
        }
        self.import(image, &root)
    }

    /// A folder with a shell, for an image.
    fn root(&self) -> Result<PathBuf> {
        let root = self.directory.path().join("rootfs");
        copy_into(&root, Path::new("/bin/busybox"), Path::new("/bin/sh"))?;
        Ok(root)
    }

    fn import(&self, image: &str, root: &Path) -> Result<()> {
        let archive = self.directory.path().join("rootfs.tar");
        let packed = Command::new("tar").arg("-C").arg(root).arg("-cf").arg(&archive).arg(".").status()?;
        ensure!(packed.success(), "tar failed");
        let command = r#"CMD ["sh","-c","sleep 1000"]"#;
        let label = "LABEL org.opencontainers.image.version=2.4.1-label";
        let archive = archive.display().to_string();
        self.docker(&["import", "--change", command, "--change", label, &archive, image])?;
        Ok(())
    }

    /// Ends it; its containers go on only in the folder.
    pub fn end(&mut self) -> Result<()> {
        let pid = fs::read_to_string(self.directory.path().join("docker.pid"))?;
        let ended = Command::new("kill").arg(pid.trim()).status()?;
        ensure!(ended.success(), "cannot end dockerd");
        self.process.wait()?;
        Ok(())
    }

    /// Starts it again where it was, and waits until it answers.
    pub fn start_again(&mut self) -> Result<()> {
        self.process = Self::spawn(self.directory.path())?;
        wait_until("dockerd answers again", || self.docker(&["version"]).is_ok())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Ok(containers) = self.docker(&["ps", "-aq"]) {
            for container in containers.lines() {
                let _ = self.docker(&["rm", "-f", container]);
            }
        }
        if self.end().is_err() {
            let _ = self.process.kill();
            let _ = self.process.wait();
        }
    }
}

/// Waits a minute at most until `condition` holds.
pub fn wait_until(what: &str, condition: impl Fn() -> bool) -> Result<()> {
    let begun = Instant::now();
    while !condition() {
        if begun.elapsed() > Duration::from_mins(1) {
            bail!("waited in vain until {what}");
        }
        thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// Copies a file to a path below `root`.
fn copy_into(root: &Path, file: &Path, path: &Path) -> Result<()> {
    let to = root.join(path.strip_prefix("/")?);
    fs::create_dir_all(to.parent().context("a file has a folder")?)?;
    fs::copy(file, &to).with_context(|| format!("no {}: run `cargo xtask setup`", file.display()))?;
    Ok(())
}

/// Where a program is.
fn which(program: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places = std::env::split_paths(&path).map(|folder| folder.join(program));
    places
        .find(|place| place.is_file())
        .with_context(|| format!("no `{program}` is installed: run `cargo xtask setup`"))
}

/// The libraries that a program is linked with, its loader among them, as `ldd` tells.
pub fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let output = Command::new("ldd").arg(program).output().context("cannot start `ldd`")?;
    let text = String::from_utf8(output.stdout).context("ldd's output is not UTF-8")?;
    let paths = text.split_whitespace().filter(|word| word.starts_with('/'));
    Ok(paths.map(PathBuf::from).collect())
}
