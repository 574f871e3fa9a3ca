//! The general rule, for paths that no profile lists: what looks like an id, a number or a file becomes a placeholder.
//! Free text cannot be told from a route's own words by its shape; the budget bounds what this rule lets through.

use super::tree::Segments;
use crate::profiles::pattern::Shape;

/// Segments that are shown; what is behind them is `*`.
const SHOWN: usize = 6;
/// A longer segment is a value, whatever it is made of.
const LONGEST_WORD: usize = 40;
/// What is as long as this and mixes letters and digits is an id. Nanoids have 21 characters by default, ULIDs 26.
const SHORTEST_ID: usize = 16;
/// Hex digits as long as this are a hash, when one of them is a number: `deadbeef` is a word.
const SHORTEST_HASH: usize = 8;

/// Folders that hold files in the frameworks that chat apps are made with.
const STATIC_FOLDERS: [&[&str]; 9] = [
    &["_next", "static"],
    &["_spa"],
    &["_app", "immutable"],
    &["assets"],
    &["static"],
    &["icons"],
    &["images"],
    &["fonts"],
    &["pyodide"],
];

/// Writes the template of a path into `template`, in the place of what it held.
pub(super) fn template(path: &Segments<'_>, id_prefixes: &[String], template: &mut String) {
    template.clear();
    let starts = |folder: &&&[&str]| {
        path.len() >= folder.len()
            && folder.iter().zip(path).all(|(name, segment)| name.as_bytes() == segment.as_ref())
    };
    if let Some(folder) = STATIC_FOLDERS.iter().find(starts) {
        for name in *folder {
            template.push('/');
            template.push_str(name);
        }
        template.push_str("/*");
        return;
    }
    for (index, segment) in path.iter().take(SHOWN).enumerate() {
        template.push('/');
        let last = index + 1 == path.len();
        match placeholder(segment, last, id_prefixes) {
            Some(placeholder) => template.push_str(placeholder),
            // Without a placeholder it is ASCII.
            None => template.push_str(&String::from_utf8_lossy(segment)),
        }
    }
    if path.len() > SHOWN {
        template.push_str("/*");
    } else if path.is_empty() {
        template.push('/');
    }
}

/// Whether a segment has a shape that profiles may ask for.
pub(super) fn has_shape(segment: &[u8], shape: Shape) -> bool {
    match shape {
        Shape::Number => !segment.is_empty() && segment.iter().all(u8::is_ascii_digit),
        Shape::Uuid => is_uuid(segment),
        Shape::Variant => is_variant(segment),
    }
}

/// What stands in the place of a segment; `None` for a word, which stands for itself.
fn placeholder(segment: &[u8], last: bool, id_prefixes: &[String]) -> Option<&'static str> {
    // Most segments are such; no rule below is for them.
    let plain = |byte: &u8| byte.is_ascii_lowercase() || *byte == b'-';
    if segment.len() <= LONGEST_WORD && segment.iter().all(plain) && segment.iter().any(|byte| *byte != b'-')
    {
        return None;
    }
    let digits = segment.iter().filter(|byte| byte.is_ascii_digit()).count();
    let letters = segment.iter().filter(|byte| byte.is_ascii_alphabetic()).count();
    let hex = || segment.iter().all(u8::is_ascii_hexdigit);
    let word = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
    if !segment.iter().all(word) || segment.len() > LONGEST_WORD && !hex() {
        return Some("{value}");
    }
    if is_uuid(segment) {
        return Some("{uuid}");
    }
    if digits > 0 && letters == 0 {
        // Also dates, versions and addresses.
        return Some("{number}");
    }
    if segment.len() >= SHORTEST_HASH && digits > 0 && hex() {
        return Some("{hash}");
    }
    if segment.len() > LONGEST_WORD || letters == 0 {
        return Some("{value}");
    }
    if is_variant(segment) {
        return Some("{variant}");
    }
    if is_prefixed_id(segment, id_prefixes) {
        return Some("{id}");
    }
    if last && is_file(segment) {
        return Some("{file}");
    }
    // Names with dots, as tRPC's procedures, change class at each of them.
    let dotted = segment.contains(&b'.');
    (!dotted && (is_mixed(segment, digits) || is_random(segment))).then_some("{id}")
}

/// Letters and digits at the length of an id: `V1StGXR8_Z5jdHi6B-myT`.
fn is_mixed(segment: &[u8], digits: usize) -> bool {
    segment.len() >= SHORTEST_ID && digits > 0
}

/// Whether capitals, small letters, digits and signs change so often that it is no word: `dQw4w9WgXcQ`. Catches the
/// short ids, and the one nanoid in 30 that has no digit.
fn is_random(segment: &[u8]) -> bool {
    let class = |byte: u8| match byte {
        b'A'..=b'Z' => 0,
        b'a'..=b'z' => 1,
        b'0'..=b'9' => 2,
        _ => 3,
    };
    let changes = segment.array_windows().filter(|[one, other]| class(*one) != class(*other)).count();
    let capitals = segment.iter().filter(|byte| byte.is_ascii_uppercase()).count();
    let small = segment.iter().any(u8::is_ascii_lowercase);
    // A name like `getUserStateWithMessages` has one capital in five or six characters, a nanoid two in five.
    let long = segment.len() >= SHORTEST_ID && (capitals * 4 > segment.len() || changes * 3 > segment.len());
    let short = segment.len() >= SHORTEST_HASH && changes * 2 > segment.len();
    capitals > 0 && small && (long || short)
}

fn is_uuid(segment: &[u8]) -> bool {
    let hex = |part: &[u8], length| part.len() == length && part.iter().all(u8::is_ascii_hexdigit);
    match segment.len() {
        32 => hex(segment, 32),
        36 => {
            let mut parts = segment.split(|byte| *byte == b'-');
            [8, 4, 4, 4, 12].iter().all(|length| parts.next().is_some_and(|part| hex(part, *length)))
        }
        _ => false,
    }
}

/// `zh-CN__0__dark`, `en__1`: a locale, whether it is a phone, a theme.
fn is_variant(segment: &[u8]) -> bool {
    let Ok(text) = str::from_utf8(segment) else { return false };
    let mut parts = text.splitn(3, "__");
    let locale = parts.next().is_some_and(|locale| {
        let (language, region) = locale.split_once('-').unwrap_or((locale, "XX"));
        let two = |text: &str, of: fn(&u8) -> bool| text.len() == 2 && text.bytes().all(|byte| of(&byte));
        two(language, u8::is_ascii_lowercase) && two(region, u8::is_ascii_uppercase)
    });
    let theme = |theme: &str| {
        !theme.is_empty() && theme.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    locale && matches!(parts.next(), Some("0" | "1")) && parts.next().is_none_or(theme)
}

/// `msg_V7aK2mPxQw`: a prefix that the profile names, or any short one before something with both letters and digits.
fn is_prefixed_id(segment: &[u8], id_prefixes: &[String]) -> bool {
    let at = segment.iter().position(|byte| matches!(byte, b'_' | b'-')).unwrap_or(segment.len());
    let (prefix, rest) = segment.split_at(at);
    let Some((sign, id)) = rest.split_first() else {
        return false;
    };
    let long = id.len() >= 8 && id.iter().all(u8::is_ascii_alphanumeric);
    let named = || *sign == b'_' && id_prefixes.iter().any(|known| known.as_bytes() == prefix);
    let general = || {
        (2..=10).contains(&prefix.len())
            && prefix.iter().all(u8::is_ascii_lowercase)
            && id.iter().any(u8::is_ascii_digit)
            && id.iter().any(u8::is_ascii_alphabetic)
    };
    long && (named() || general())
}

/// A name with an extension of up to five characters: `robots.txt`, `model.safetensors` is none.
fn is_file(segment: &[u8]) -> bool {
    let Some(extension) = segment.rsplit(|byte| *byte == b'.').next().filter(|it| it.len() < segment.len())
    else {
        return false;
    };
    (1..=5).contains(&extension.len())
        && extension.iter().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        && extension.iter().any(u8::is_ascii_lowercase)
}

#[cfg(test)]
mod tests {
    use super::{super::path::segments, *};

    fn shown(path: &str) -> String {
        let mut text = String::new();
        template(&segments(path.as_bytes()), &["ssn".to_owned()], &mut text);
        text
    }

    #[test]
    fn words_stay_and_ids_become_placeholders() {
        for (path, template) in [
            ("/", "/"),
            ("/api/chat", "/api/chat"),
            ("/api/v1/chat-history/my_files", "/api/v1/chat-history/my_files"),
            ("/users/42/posts/7", "/users/{number}/posts/{number}"),
            ("/logs/2024-11-02", "/logs/{number}"),
            ("/peers/10.0.0.1", "/peers/{number}"),
            ("/chat/3f2504e0-4f89-11d3-9a0c-0305e82c3301", "/chat/{uuid}"),
            ("/chat/3F2504E04F8911D39A0C0305E82C3301", "/chat/{uuid}"),
            ("/commit/0a1b2c3d", "/commit/{hash}"),
            ("/users/507f1f77bcf86cd799439011", "/users/{hash}"),
            ("/blob/e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", "/blob/{hash}"),
            ("/facade/deadbeef", "/facade/deadbeef"),
            ("/n/V1StGXR8_Z5jdHi6B-myT", "/n/{id}"),
            ("/n/VkStGXRq_ZXjdHiXB-myT", "/n/{id}"),
            ("/v/dQw4w9WgXcQ", "/v/{id}"),
            ("/n/01ARZ3NDEKTSV4RRFFQ69G5FAV", "/n/{id}"),
            ("/s/ssn_abcdefgh", "/s/{id}"),
            ("/s/oth_abcdefgh", "/s/oth_abcdefgh"),
            ("/s/chatcmpl-9xKaBcDeFg", "/s/{id}"),
            ("/m/gpt-4o-mini-2024-07-18", "/m/{id}"),
            ("/zh-CN__0__dark/chat", "/{variant}/chat"),
            ("/en__1", "/{variant}"),
            ("/robots.txt", "/{file}"),
            ("/files/report.final.pdf", "/files/{file}"),
            ("/model.safetensors", "/model.safetensors"),
            ("/getUserStateWithMessages", "/getUserStateWithMessages"),
            ("/mail/a@b.example", "/mail/{value}"),
            ("/x/a%20b", "/x/{value}"),
            ("/x/a%3Fkey=1", "/x/{value}"),
            ("/x/%ff%fe", "/x/{value}"),
            ("/x/..", "/x/{value}"),
            ("/x;jsessionid=1", "/{value}"),
        ] {
            assert_eq!(shown(path), template, "{path}");
        }
        assert_eq!(shown(&format!("/{}", "a".repeat(41))), "/{value}");
    }

    #[test]
    fn folders_of_files_are_one_route_and_long_paths_are_cut() {
        assert_eq!(shown("/_next/static/chunks/main-0123456789abcdef.js"), "/_next/static/*");
        assert_eq!(shown("/assets"), "/assets/*");
        assert_eq!(shown("/_next/image"), "/_next/image");
        assert_eq!(shown("/a/b/c/d/e/f"), "/a/b/c/d/e/f");
        assert_eq!(shown("/a/b/c/d/e/f/g"), "/a/b/c/d/e/f/*");
    }
}
