//! From a request target to the segments of its path. The query never gets past here.
//! Works on bytes: what is no UTF-8, or encoded, is a segment like any other.

use std::borrow::Cow;

use crate::profiles::Method;

/// Segments of a path that are looked at; what is behind them is a rest for every route.
const MAX_SEGMENTS: usize = 32;

/// The path of a request target in any form of RFC 9112 section 3.2: `/path?query`, `http://host/path`, `*`. `None` for
/// a target without a path, as that of CONNECT.
pub(super) fn of_target(target: &[u8]) -> Option<&[u8]> {
    let end = target.iter().position(|byte| matches!(byte, b'?' | b'#')).unwrap_or(target.len());
    let target = target.get(..end)?;
    match target {
        [b'/', ..] | [b'*'] => Some(target),
        _ => {
            let scheme = target.windows(3).position(|three| three == b"://")?;
            let rest = target.get(scheme + 3..)?;
            let path = rest.iter().position(|byte| *byte == b'/').unwrap_or(rest.len());
            Some(match rest.get(path..) {
                None | Some([]) => b"/",
                Some(path) => path,
            })
        }
    }
}

/// Stands for the target of every CONNECT, which is a host and a port and would be a label of its own for each.
pub(super) const AUTHORITY: &[u8] = b"{authority}";

/// [`AUTHORITY`] for the target of a CONNECT (RFC 9112 section 3.2.3); `None` for what is none.
pub(super) fn of_authority(method: Method, target: &[u8]) -> Option<&'static [u8]> {
    let port = target.rsplit(|byte| *byte == b':').next()?;
    let is_authority = method == Method::CONNECT
        && target.contains(&b':')
        && !port.is_empty()
        && port.iter().all(u8::is_ascii_digit);
    is_authority.then_some(AUTHORITY)
}

/// The segments of a path, percent-decoded, without empty ones: `//a/` has one.
pub(super) fn segments(path: &[u8]) -> Vec<Cow<'_, [u8]>> {
    let segments = path.split(|byte| *byte == b'/').filter(|segment| !segment.is_empty());
    segments.take(MAX_SEGMENTS).map(decode).collect()
}

/// Once, as a server does; a `%` without two hex digits stands for itself.
fn decode(segment: &[u8]) -> Cow<'_, [u8]> {
    if !segment.contains(&b'%') {
        return Cow::Borrowed(segment);
    }
    let mut decoded = Vec::with_capacity(segment.len());
    let mut rest = segment;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        let pair = (byte == b'%').then(|| after.split_first_chunk::<2>()).flatten();
        match pair.and_then(|([high, low], after)| Some((digit(*high)? << 4 | digit(*low)?, after))) {
            Some((byte, after)) => {
                decoded.push(byte);
                rest = after;
            }
            None => decoded.push(byte),
        }
    }
    Cow::Owned(decoded)
}

fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_target_gives_its_path() {
        for (target, path) in [
            ("/a/b?c=/d", Some("/a/b")),
            ("/a#b?c", Some("/a")),
            ("http://host:8080/a?b", Some("/a")),
            ("https://host", Some("/")),
            ("https://host?a=/b", Some("/")),
            ("*", Some("*")),
            ("host:443", None),
            ("", None),
            ("a/b", None),
        ] {
            assert_eq!(of_target(target.as_bytes()), path.map(str::as_bytes), "{target}");
        }
    }

    #[test]
    fn segments_are_decoded_once_and_empty_ones_left_out() {
        let all = |path: &str| -> Vec<String> {
            segments(path.as_bytes()).iter().map(|it| String::from_utf8_lossy(it).into_owned()).collect()
        };
        assert_eq!(all("//api//%63hat/"), ["api", "chat"]);
        assert_eq!(all("/a%2Fb/%2563"), ["a/b", "%63"]);
        assert_eq!(all("/100%/%4/%zz"), ["100%", "%4", "%zz"]);
        assert!(all("/").is_empty());
        assert_eq!(segments(b"/%ff\xfe")[0].as_ref(), b"\xff\xfe");
        assert_eq!(segments("/a".repeat(1000).as_bytes()).len(), MAX_SEGMENTS);
    }
}
