//! LitServe and a Next.js server as `cargo xtask setup --tests` installs them, as processes in a test's cgroup.
//! Their sources are in fixtures/litserve and fixtures/next.

use std::{
    env,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, ensure};

use crate::{
    cgroup::Cgroup,
    http,
    process::{Background, wait_until},
};

/// How long LitServe's workers may take to be ready, on a busy machine.
const READY_WITHIN: Duration = Duration::from_mins(1);

/// A running application; it is killed when this is dropped, and its workers with its cgroup.
pub struct App {
    process: Background,
    address: SocketAddr,
}

impl App {
    /// LitServe with two workers, in `cgroup`.
    pub fn litserve(cgroup: &Cgroup) -> Result<Self> {
        let address = free_address()?;
        let mut command = cgroup.command("python3");
        command
            .env("PYTHONPATH", installed("litserve")?)
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/litserve/server.py"))
            .arg(address.port().to_string());
        Self::start(&mut command, address, "/health")
    }

    /// The standalone server that Next.js built, in `cgroup`.
    pub fn next(cgroup: &Cgroup) -> Result<Self> {
        let address = free_address()?;
        let mut command = cgroup.command("node");
        command
            .arg(installed("next/.next/standalone/server.js")?)
            .env("HOSTNAME", address.ip().to_string())
            .env("PORT", address.port().to_string())
            .env("NEXT_TELEMETRY_DISABLED", "1");
        Self::start(&mut command, address, "/api/plain")
    }

    /// An application that listens on `address` once `command` has run; it is ready when the path `ready` answers 200.
    pub(crate) fn start(command: &mut Command, address: SocketAddr, ready: &str) -> Result<Self> {
        let mut process = Background::start(command)?;
        wait_until("the application is ready", READY_WITHIN, || {
            let status = process.exited()?;
            ensure!(status.is_none(), "the application ended ({status:?}); it wrote:\n{}", process.output());
            Ok(http::get(address, ready).is_ok_and(|answer| answer.status == 200))
        })
        .with_context(|| format!("it wrote:\n{}", process.output()))?;
        Ok(Self { process, address })
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The process that was started.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// All that it and its processes wrote so far.
    pub fn output(&self) -> String {
        self.process.output()
    }

    /// What it logged of each stream, as JSON.
    pub fn log(&self) -> Vec<String> {
        let output = self.process.output();
        output.lines().filter_map(|line| Some(line.strip_prefix("log ")?.to_owned())).collect()
    }
}

/// A port of loopback on which nobody listens; neither application can be told to choose one.
pub(crate) fn free_address() -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot listen")?;
    listener.local_addr().context("no local address")
}

/// A file that the setup has made in `apps` below the target folder, in which this program is too.
pub fn installed(file: &str) -> Result<PathBuf> {
    let own = env::current_exe().context("cannot find the path of this program")?;
    let installed = own.ancestors().map(|folder| folder.join("apps").join(file)).find(|path| path.exists());
    installed.with_context(|| format!("apps/{file} is not installed; run `cargo xtask setup --tests`"))
}
