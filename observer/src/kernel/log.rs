//! What the kernel half logs about itself, for those who work on it (`--kernel-log`).
//! Without the flag its level is a frozen zero, so that the verifier drops every log call from the programs.

use anyhow::Context as _;
use aya::Ebpf;
use aya_log::EbpfLogger;
use log::{Log, Metadata, Record};
use tokio::io::unix::AsyncFd;

/// The global that holds the level in the kernel half.
pub(super) const LEVEL: &str = aya_log::LEVEL;
/// The level of [`LEVEL`] at which everything is logged, and the one at which nothing is.
pub(super) const EVERYTHING: u8 = 0xff;
pub(super) const NOTHING: u8 = 0;

/// Hands lines on to the agent's own log.
struct ToAgentLog;

impl Log for ToAgentLog {
    fn enabled(&self, _metadata: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        tracing::info!(file = record.file(), line = record.line(), "kernel: {}", record.args());
    }

    fn flush(&self) {}
}

/// The agent's end of the kernel half's log.
pub struct KernelLog(EbpfLogger<ToAgentLog>);

impl KernelLog {
    pub(super) fn new(ebpf: &mut Ebpf) -> anyhow::Result<Self> {
        Ok(Self(EbpfLogger::init_with_logger(ebpf, ToAgentLog).context("cannot read the kernel half's log")?))
    }

    /// Logs until it is dropped.
    pub async fn run(self) -> anyhow::Result<()> {
        // SAFETY: the log's ring keeps its descriptor open, and one and the same, for as long as it lives.
        let log = unsafe { AsyncFd::register(self.0) };
        let mut log = log.context("cannot wait for the kernel half's log")?;
        loop {
            let mut ready = log.readable_mut().await.context("cannot wait for the kernel half's log")?;
            ready.get_inner_mut().flush();
            ready.clear_ready();
        }
    }
}
