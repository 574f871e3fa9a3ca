//! Label values that every HTTP metric shares: methods and status codes.
//! Both come from the wire, so both are mapped onto a closed set.

use std::fmt;

use serde::Deserialize;

/// A registered method, or anything else.
///
/// The methods are those of RFC 9110 section 9.3, and PATCH of RFC 5789.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[serde(rename_all = "UPPERCASE")]
#[expect(missing_docs, reason = "the names are the methods themselves")]
pub enum Method {
    Get,
    Head,
    Post,
    Put,
    Delete,
    Connect,
    Options,
    Trace,
    Patch,
    /// Any other token.
    #[serde(skip)]
    Other,
}

impl Method {
    /// All that are registered.
    pub const REGISTERED: [Self; 9] = [
        Self::Get,
        Self::Head,
        Self::Post,
        Self::Put,
        Self::Delete,
        Self::Connect,
        Self::Options,
        Self::Trace,
        Self::Patch,
    ];

    /// Reads a request line's method, which is case-sensitive (RFC 9110 section 9.1).
    pub fn from_bytes(method: &[u8]) -> Self {
        match method {
            b"GET" => Self::Get,
            b"HEAD" => Self::Head,
            b"POST" => Self::Post,
            b"PUT" => Self::Put,
            b"DELETE" => Self::Delete,
            b"CONNECT" => Self::Connect,
            b"OPTIONS" => Self::Options,
            b"TRACE" => Self::Trace,
            b"PATCH" => Self::Patch,
            _ => Self::Other,
        }
    }

    /// The label value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
            Self::Connect => "CONNECT",
            Self::Options => "OPTIONS",
            Self::Trace => "TRACE",
            Self::Patch => "PATCH",
            Self::Other => "other",
        }
    }
}

/// Shows a status code as a label value: three digits, `000` where there was no answer or it is not known, or `other`
/// for what is no status code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StatusCode(pub u16);

impl fmt::Display for StatusCode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            status @ (0 | 100..=999) => write!(formatter, "{status:03}"),
            _ => formatter.write_str("other"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registered_methods_read_back_and_nothing_else_does() {
        for method in Method::REGISTERED {
            assert_eq!(Method::from_bytes(method.as_str().as_bytes()), method);
        }
        for other in [&b"get"[..], b"", b"PROPFIND", b"other", b"GET ", b"\xff"] {
            assert_eq!(Method::from_bytes(other).as_str(), "other");
        }
    }

    #[test]
    fn a_status_code_has_three_digits() {
        for (status, label) in
            [(200, "200"), (471, "471"), (999, "999"), (0, "000"), (99, "other"), (1000, "other")]
        {
            assert_eq!(StatusCode(status).to_string(), label);
        }
    }
}
