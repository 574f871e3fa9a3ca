//! Straightforward decoders of bytes that are all at hand, which the framer is compared with here and in `fuzz`.
//! Written anew from the RFCs; where the framer is lenient on purpose they are too, and say so.

use httparse::Header;

/// What a chunked body proved to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Chunked {
    /// `bytes` of data; the message behind it begins at `end`.
    Complete {
        /// Without sizes, extensions and trailers.
        bytes: u64,
        /// Behind the empty line.
        end: usize,
    },
    /// Right so far, and its end is missing.
    Incomplete,
    /// Not chunked.
    Malformed,
}

/// RFC 9112 section 7.1. Lines may end with a line feed alone, and what is behind a chunk is not looked at.
pub(crate) fn chunked(body: &[u8]) -> Chunked {
    let (mut at, mut bytes) = (0, 0_u64);
    loop {
        let line = body.get(at..).unwrap_or_default();
        let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        if digits > 15 {
            return Chunked::Malformed;
        }
        let newline = match line.get(digits..).unwrap_or_default() {
            [_, ..] if digits == 0 => return Chunked::Malformed,
            [] | [b'\r'] => return Chunked::Incomplete,
            [b'\n' | b';' | b' ' | b'\t', ..] | [b'\r', b'\n', ..] => {
                let Some(newline) = line.iter().position(|byte| *byte == b'\n') else {
                    return Chunked::Incomplete;
                };
                newline
            }
            _ => return Chunked::Malformed,
        };
        let size = line[..digits].iter().fold(0_u64, |size, digit| {
            size * 16 + u64::from(char::from(*digit).to_digit(16).unwrap_or_default())
        });
        at += newline + 1;
        if size == 0 {
            break;
        }
        bytes = bytes.saturating_add(size);
        let left = body.len().saturating_sub(at) as u64;
        if left < size + 2 {
            return Chunked::Incomplete;
        }
        at += usize::try_from(size + 2).unwrap_or(usize::MAX);
    }
    loop {
        let line = body.get(at..).unwrap_or_default();
        let Some(newline) = line.iter().position(|byte| *byte == b'\n') else { return Chunked::Incomplete };
        at += newline + 1;
        if newline == 0 || &line[..newline] == b"\r" {
            return Chunked::Complete { bytes, end: at };
        }
    }
}

/// What one side of a WebSocket sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Frames {
    /// Messages that are complete.
    pub(crate) messages: u32,
    /// Payload of data frames, as far as it is there.
    pub(crate) bytes: u64,
    /// 0 while there is none.
    pub(crate) close_code: u16,
    /// A whole close frame was sent.
    pub(crate) closed: bool,
    /// Something was no frame; nothing is known behind it.
    pub(crate) broken: bool,
}

/// RFC 6455 section 5.2. That fragments belong together is not looked at.
pub(crate) fn websocket(mut bytes: &[u8], from_client: bool) -> Frames {
    let mut frames = Frames::default();
    while let [kind, short, rest @ ..] = bytes {
        let (opcode, is_masked, short) = (kind & 15, short & 0x80 != 0, short & 0x7f);
        let is_control = opcode >= 8;
        let length_bytes = [0, 2, 8][usize::from(short > 125) + usize::from(short > 126)];
        let header_bytes = length_bytes + if is_masked { 4 } else { 0 };
        let code_bytes = if opcode == 8 && short >= 2 { 2 } else { 0 };
        if rest.len() < header_bytes + code_bytes {
            break;
        }
        let (length, behind) = rest.split_at(length_bytes);
        let length = length.iter().fold(0, |length, byte| length << 8 | u64::from(*byte));
        let length = if length_bytes == 0 { u64::from(short) } else { length };
        let (mask, payload) = behind.split_at(header_bytes - length_bytes);
        if is_masked != from_client
            || !matches!(opcode, 0..=2 | 8..=10)
            || kind & 0x30 != 0
            || (is_control && (short > 125 || kind & 0x80 == 0))
            || length >> 63 != 0
        {
            frames.broken = true;
            break;
        }
        if code_bytes == 2 {
            let unmask = |index: usize| payload[index] ^ mask.get(index).copied().unwrap_or_default();
            frames.close_code = u16::from_be_bytes([unmask(0), unmask(1)]);
        }
        let present = length.min(payload.len() as u64);
        if !is_control {
            frames.bytes += present;
        }
        if present < length {
            break;
        }
        frames.messages += u32::from(!is_control && kind & 0x80 != 0);
        if opcode == 8 {
            frames.closed = true;
            break;
        }
        bytes = &payload[usize::try_from(present).unwrap_or(payload.len())..];
    }
    frames
}

/// How a head says where its body ends, RFC 9112 section 6.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// It does not.
    Unsaid,
    /// After so many bytes.
    Length(u64),
    /// With its last chunk.
    Chunked,
    /// With the connection: another transfer coding is the last.
    Coded,
    /// One could read it in two ways.
    Ambiguous,
}

/// Of fields as httparse gives them.
pub(crate) fn framing(fields: &[Header<'_>]) -> Framing {
    let values = |name: &str| -> Vec<&[u8]> {
        fields.iter().filter(|field| field.name.eq_ignore_ascii_case(name)).map(|field| field.value).collect()
    };
    match (&values("content-length")[..], &values("transfer-encoding")[..]) {
        ([], []) => Framing::Unsaid,
        ([length], []) if !length.is_empty() && length.iter().all(u8::is_ascii_digit) => {
            str::from_utf8(length)
                .ok()
                .and_then(|text| text.parse().ok())
                .map_or(Framing::Ambiguous, Framing::Length)
        }
        // Blanks part codings as commas do. Twice chunked is chunked to whoever looks for the end only.
        ([], [codings]) => {
            let is_parted = |byte: &u8| matches!(byte, b',' | b' ' | b'\t');
            let codings: Vec<_> = codings.split(is_parted).filter(|coding| !coding.is_empty()).collect();
            let is_chunked = |coding: &&[u8]| coding.eq_ignore_ascii_case(b"chunked");
            match (codings.iter().position(is_chunked), codings.last().is_some_and(is_chunked)) {
                (Some(first), true) if first > 0 || codings.len() == 1 => Framing::Chunked,
                (None, _) => Framing::Coded,
                _ => Framing::Ambiguous,
            }
        }
        _ => Framing::Ambiguous,
    }
}
