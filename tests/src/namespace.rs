//! A network namespace that a process of the test lives in: a runtime whose sockets are in it, and loss of packets.
//! Nothing outside the namespace is touched.

use std::{
    fs::{self, File},
    os::fd::AsFd,
    path::PathBuf,
    process::Command,
    sync::Arc,
};

use anyhow::{Context, Result, ensure};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::runtime::{Builder, Runtime};

/// A network namespace.
#[derive(Clone, Debug)]
pub struct Namespace {
    path: PathBuf,
    file: Arc<File>,
}

impl Namespace {
    /// The one that the process `pid` is in.
    pub fn of(pid: u32) -> Result<Self> {
        let path = PathBuf::from(format!("/proc/{pid}/ns/net"));
        let file = File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
        Ok(Self { path, file: Arc::new(file) })
    }

    /// A runtime whose tasks open their sockets in this namespace. What is passed to its `block_on` itself runs on the
    /// caller's thread, and so outside: spawn.
    pub fn runtime(&self) -> Result<Runtime> {
        let file = Arc::clone(&self.file);
        let enter = move || {
            // Checked below: a thread has no way to tell.
            let _ = move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network));
        };
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .on_thread_start(enter)
            .enable_all()
            .build()
            .context("cannot make a runtime")?;
        let inside = runtime.block_on(runtime.spawn(async { fs::read_link("/proc/thread-self/ns/net") }))?;
        let wanted =
            fs::read_link(&self.path).with_context(|| format!("cannot read {}", self.path.display()))?;
        ensure!(
            inside? == wanted,
            "cannot enter the network namespace {} (root needed)",
            self.path.display()
        );
        Ok(runtime)
    }

    /// Runs a program in this namespace; what it wrote.
    pub fn execute(&self, program: &str, arguments: &[&str]) -> Result<String> {
        let mut net = std::ffi::OsString::from("--net=");
        net.push(&self.path);
        let output = Command::new("nsenter")
            .arg(net)
            .arg(program)
            .args(arguments)
            .output()
            .context("cannot start `nsenter`")?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{program} {arguments:?}: {errors}");
        String::from_utf8(output.stdout).context("the output is not UTF-8")
    }

    /// Drops this share of the TCP packets that pass `interface`, each way, IPv4.
    pub fn lose(&self, interface: &str, share: f64) -> Result<()> {
        let share = share.to_string();
        for (chain, option) in [("INPUT", "-i"), ("OUTPUT", "-o")] {
            let rule = [
                "-w",
                "-I",
                chain,
                option,
                interface,
                "-p",
                "tcp",
                "-m",
                "statistic",
                "--mode",
                "random",
                "--probability",
                &share,
                "-j",
                "DROP",
            ];
            self.execute("iptables", &rule)?;
        }
        Ok(())
    }
}
