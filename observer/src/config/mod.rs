//! The configuration: its sections, their defaults, and where they come from (flags over file over defaults).
//! What each key means and allows stands in [`reference`], which errors and `observer config` quote.

mod access;
#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz;
mod listen;
mod load;

pub mod reference;
mod render;
#[cfg(test)]
mod tests;
pub mod value;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};

pub use self::{
    access::{Access, Tls},
    listen::Listen,
    load::ConfigError,
    value::LogFormat,
};
use crate::targets::selector::Selector;

/// The effective configuration of one run.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where the HTTP server listens.
    pub listen: Listen,
    /// How it encrypts, and whether clients need a certificate.
    pub tls: Tls,
    /// Who may read what it serves.
    pub access: Access,
    /// What to observe.
    pub targets: Targets,
    /// What is known of apps beside what is compiled in.
    pub profiles: Profiles,
    /// Where containers' names and images come from.
    pub docker: Docker,
    /// How metrics are named.
    pub metrics: Metrics,
    /// What is read of processes.
    pub processes: Processes,
    /// When an answer is a stream, and when a stream has stalled.
    pub streams: Streams,
    /// What is observed of Node.js.
    pub nodejs: NodeJs,
    /// What is logged, and how.
    pub log: Log,
    /// Sizes that bound memory and series.
    pub limits: Limits,
    /// Limits of the HTTP server.
    pub server: Server,
}

/// `[targets]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Targets {
    /// What is observed; a target is taken when any of them matches.
    #[serde(with = "value::selectors")]
    pub select: Vec<Selector>,
    /// How long the series of a target that left are still served.
    #[serde(with = "value::duration")]
    pub linger: Duration,
    /// How often the host is searched for what announces itself by no event: ports, executables, units.
    #[serde(with = "value::period")]
    pub rescan: Duration,
}

/// `[profiles]`
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Profiles {
    /// Profiles of the operator's own: files, or folders of which every `.toml` is read.
    pub files: Vec<PathBuf>,
}

/// `[docker]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Docker {
    /// Socket of the Docker API, empty for none; see [`Docker::socket`].
    pub socket: PathBuf,
}

/// `[metrics]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Metrics {
    /// Stands before the name of every metric of a target.
    #[serde(deserialize_with = "value::deserialize_prefix")]
    pub prefix: String,
}

/// `[processes]`
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Processes {
    /// Whether each process's share of memory is read.
    pub pss: bool,
}

/// `[streams]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Streams {
    /// An answer of unknown length is a stream once its body has taken longer than this.
    #[serde(with = "value::period")]
    pub after: Duration,
    /// A pause between two events of a stream is a stall when it is longer than this.
    #[serde(with = "value::period")]
    pub stall: Duration,
}

/// `[nodejs]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct NodeJs {
    /// Whether Node.js processes of targets are probed.
    pub enabled: bool,
}

/// `[log]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// How a line looks.
    pub format: LogFormat,
    /// A level, or levels by module.
    #[serde(deserialize_with = "value::deserialize_level")]
    pub level: String,
}

/// `[limits]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Size in bytes of the ring that carries records from the kernel.
    #[serde(deserialize_with = "value::deserialize_ring_bytes")]
    pub ring_bytes: u32,
    /// Size in bytes of the ring that carries HTTP exchanges from the kernel.
    #[serde(deserialize_with = "value::deserialize_ring_bytes")]
    pub exchange_ring_bytes: u32,
    /// Outbound peer addresses that are counted apart, over all targets.
    #[serde(deserialize_with = "value::between::<_, 1, 1_048_576>")]
    pub peers: u32,
    /// Values of the label `process` per target.
    #[serde(deserialize_with = "value::between::<_, 1, 1024>")]
    pub process_roles: u32,
    /// Node.js processes that are counted, over all targets.
    #[serde(deserialize_with = "value::between::<_, 1, 65_536>")]
    pub nodejs_processes: u32,
    /// Connections whose HTTP is followed at once, over all targets; 0 leaves it to the agent's memory limit.
    #[serde(deserialize_with = "value::between::<_, 0, 16_777_216>")]
    pub http_connections: u32,
    /// Values of the label `route` per target.
    #[serde(deserialize_with = "value::between::<_, 1, 10_000>")]
    pub routes: u32,
    /// Series per target.
    #[serde(deserialize_with = "value::between::<_, 100, 1_000_000>")]
    pub series: u32,
}

/// `[server]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Server {
    /// Size in bytes up to which a request's head is read.
    #[serde(deserialize_with = "value::between::<_, 8192, 1_048_576>")]
    pub header_bytes: u32,
    /// How long a connection may stay open without completing a request.
    #[serde(with = "value::period")]
    pub idle_timeout: Duration,
    /// Connections held at once.
    #[serde(deserialize_with = "value::between::<_, 1, 65_536>")]
    pub max_connections: u32,
}

impl Docker {
    /// The socket, or none where Docker is switched off.
    pub fn socket(&self) -> Option<&Path> {
        (!self.socket.as_os_str().is_empty()).then_some(&*self.socket)
    }
}

impl Default for Targets {
    fn default() -> Self {
        Self { select: Vec::new(), linger: Duration::from_mins(5), rescan: Duration::from_secs(5) }
    }
}

impl Default for Docker {
    fn default() -> Self {
        Self { socket: PathBuf::from("/var/run/docker.sock") }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self { prefix: "chat".to_owned() }
    }
}

impl Default for Streams {
    fn default() -> Self {
        Self { after: Duration::from_secs(2), stall: Duration::from_secs(10) }
    }
}

impl Default for NodeJs {
    fn default() -> Self {
        Self { enabled: true }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { format: LogFormat::Text, level: "info".to_owned() }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            ring_bytes: 1 << 20,
            exchange_ring_bytes: 4 << 20,
            peers: 16_384,
            process_roles: 16,
            nodejs_processes: 1024,
            http_connections: 0,
            routes: 200,
            series: 5000,
        }
    }
}

impl Default for Server {
    fn default() -> Self {
        Self {
            header_bytes: 16_384,
            idle_timeout: Duration::from_secs(30),
            // Below 1,024, the number of open files a process is usually allowed.
            max_connections: 512,
        }
    }
}
