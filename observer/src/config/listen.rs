//! Where the server listens: an address with its port, or a Unix socket.
//! Written as `127.0.0.1:9435`, `[::1]:9435` or `unix:/run/observer/metrics.sock`.

use std::{
    fmt,
    net::{Ipv4Addr, SocketAddr},
    os::unix::ffi::OsStrExt as _,
    path::PathBuf,
    str::FromStr,
};

use serde::{Deserialize, Serialize};

/// What stands before the path of a Unix socket.
const UNIX: &str = "unix:";

/// Bytes that a Unix socket's path may have: `sun_path` of unix(7) without its closing zero.
const LONGEST_PATH: usize = 107;

/// What the server takes connections on.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(into = "String", try_from = "String")]
pub enum Listen {
    /// A TCP port.
    Address(SocketAddr),
    /// A Unix socket, by its absolute path.
    Unix(PathBuf),
}

impl Default for Listen {
    fn default() -> Self {
        Self::Address(SocketAddr::from((Ipv4Addr::LOCALHOST, 9435)))
    }
}

impl Listen {
    /// Whether only those with `CAP_NET_BIND_SERVICE` may listen there, unless the host has lowered the bound
    /// (`net.ipv4.ip_unprivileged_port_start`).
    pub const fn is_low_port(&self) -> bool {
        matches!(self, Self::Address(address) if address.port() < 1024 && address.port() != 0)
    }
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some(path) = text.strip_prefix(UNIX).map(PathBuf::from) else {
            let address = text.parse().map(Self::Address);
            return address.map_err(|_| format!("`{text}` is no address with a port"));
        };
        if !path.is_absolute() {
            return Err(format!("`{text}` names no absolute path"));
        }
        if path.as_os_str().as_bytes().len() > LONGEST_PATH {
            return Err(format!("the path in `{text}` is longer than {LONGEST_PATH} bytes"));
        }
        Ok(Self::Unix(path))
    }
}

impl TryFrom<String> for Listen {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Listen> for String {
    fn from(listen: Listen) -> Self {
        listen.to_string()
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(formatter),
            Self::Unix(path) => write!(formatter, "{UNIX}{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_printed_the_same() {
        for text in ["127.0.0.1:9435", "[::1]:80", "unix:/run/observer/metrics.sock"] {
            assert_eq!(text.parse::<Listen>().unwrap().to_string(), text);
        }
        assert_eq!(Listen::default().to_string(), "127.0.0.1:9435");
    }

    #[test]
    fn what_cannot_be_listened_on_is_refused() {
        let long = format!("unix:/{}", "a".repeat(LONGEST_PATH));
        for text in
            ["localhost", "127.0.0.1", "127.0.0.1:65536", "unix:", "unix:run/x.sock", "/run/x.sock", &long]
        {
            let refused = text.parse::<Listen>().unwrap_err();
            assert!(refused.contains(text), "{refused}");
        }
    }
}
