//! The methods of HTTP that are told apart: a number of the kernel half's list, [`METHODS`].
//! They come from the wire, so that whatever is not registered is one value.

use std::fmt;

use observer_ebpf::records::exchange::METHODS;
use serde::{Deserialize, Deserializer, de::Error as _};

const _: () = assert!(METHODS.len() == 10);

/// A registered method, or [`Method::OTHER`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Method(u8);

impl Method {
    /// Any token that is no registered method.
    pub const OTHER: Self = Self(9);
    /// `GET`
    pub const GET: Self = Self(0);
    /// `POST`
    pub const POST: Self = Self(2);
    /// `CONNECT`, whose target is a host and a port (RFC 9110 section 9.3.6).
    pub const CONNECT: Self = Self(7);

    /// The method of this number in [`METHODS`].
    pub fn from_number(number: u8) -> Self {
        Self(number.min(Self::OTHER.0))
    }

    /// Reads a request line's method, which is case-sensitive (RFC 9110 section 9.1).
    pub fn from_bytes(method: &[u8]) -> Self {
        let registered = METHODS.iter().zip(0..Self::OTHER.0).find(|(name, _)| name.as_bytes() == method);
        registered.map_or(Self::OTHER, |(_, number)| Self(number))
    }

    /// Its number, which is the index into [`METHODS`].
    pub fn number(self) -> u8 {
        self.0
    }

    /// The index into [`METHODS`].
    pub fn index(self) -> usize {
        usize::from(self.0)
    }

    /// The label value.
    pub fn as_str(self) -> &'static str {
        METHODS[self.index()]
    }
}

impl fmt::Debug for Method {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Method {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        let method = Self::from_bytes(name.as_bytes());
        if method == Self::OTHER {
            let registered = METHODS[..Self::OTHER.index()].join("`, `");
            return Err(D::Error::custom(format_args!(
                "`{name}` is no method; the methods are `{registered}`"
            )));
        }
        Ok(method)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registered_methods_read_back_and_nothing_else_does() {
        for (number, name) in METHODS.iter().enumerate().take(METHODS.len() - 1) {
            let method = Method::from_bytes(name.as_bytes());
            assert_eq!((method.as_str(), method.index()), (*name, number));
            assert_eq!(Method::from_number(number.try_into().unwrap()), method);
        }
        for other in [&b"get"[..], b"", b"PROPFIND", b"other", b"GET ", b"\xff"] {
            assert_eq!(Method::from_bytes(other), Method::OTHER);
        }
        assert_eq!(Method::from_number(99), Method::OTHER);
        let named = [Method::GET, Method::POST, Method::CONNECT, Method::OTHER].map(Method::as_str);
        assert_eq!(named, ["GET", "POST", "CONNECT", "other"]);
    }
}
