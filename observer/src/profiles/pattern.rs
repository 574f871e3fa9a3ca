//! The syntax of paths in profiles: literals, choices, placeholders, and a rest.
//! Read once when a profile is loaded; the tree in `exchanges::routes` is made of it.

use std::{fmt, str::FromStr};

use serde::Deserialize;

/// Segments that a pattern may have.
pub const MAX_SEGMENTS: usize = 12;

/// A path of a profile: `/api/{version}/files/**`.
///
/// - `chat` matches itself, `favicon*` and `*.webmanifest` what starts or ends so;
/// - `{edge|openai}` is either of these, each a route of its own;
/// - `{name}` is one segment of any text; `{number}`, `{uuid}` and `{variant}` only one of that shape;
/// - `**`, at the end, is any number of further segments, also none.
///
/// A trailing slash makes no difference.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(try_from = "String")]
pub struct Pattern {
    text: String,
    segments: Vec<Segment>,
    rest: bool,
}

/// What one segment of a path is compared with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segment {
    /// Exactly this.
    Literal(String),
    /// Starts with the first and ends with the second.
    Glob(String, String),
    /// Any of these.
    Choice(Vec<String>),
    /// Anything, and what it is called in the template.
    Any(String),
    /// Anything of this shape.
    Shaped(Shape),
}

/// Shapes that a placeholder may be bound to by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shape {
    /// Digits only.
    Number,
    /// A UUID of 36 characters, or of 32 without its dashes.
    Uuid,
    /// Locale and switches, as LobeChat puts them before its pages: `zh-CN__0__dark`.
    Variant,
}

/// Why a pattern was refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{pattern}` is no path of a route: {reason}")]
pub struct PatternError {
    pattern: String,
    reason: &'static str,
}

impl Pattern {
    /// Its segments, without the rest.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Whether it ends in `**`.
    pub fn has_rest(&self) -> bool {
        self.rest
    }

    /// This pattern with one more segment.
    #[must_use]
    pub fn with(mut self, segment: Segment) -> Self {
        self.text = format!("{}/{segment}", self.text.trim_end_matches('/'));
        self.segments.push(segment);
        self
    }

    /// This pattern with any number of further segments.
    #[must_use]
    pub fn with_rest(mut self) -> Self {
        self.text = format!("{}/**", self.text.trim_end_matches('/'));
        self.rest = true;
        self
    }

    /// The patterns without choices that this one stands for.
    pub fn expand(&self) -> Vec<Self> {
        let mut lists: Vec<Vec<Segment>> = vec![Vec::new()];
        for segment in &self.segments {
            let options = match segment {
                Segment::Choice(names) => names.iter().cloned().map(Segment::Literal).collect(),
                other => vec![other.clone()],
            };
            let longer = |list: &Vec<Segment>| {
                let list = list.clone();
                options
                    .iter()
                    .map(move |option| [list.as_slice(), std::slice::from_ref(option)].concat())
                    .collect()
            };
            lists = lists.iter().flat_map::<Vec<_>, _>(longer).collect();
        }
        let pattern = |segments: Vec<Segment>| {
            let root = Self { text: "/".to_owned(), segments: Vec::new(), rest: false };
            let pattern = segments.into_iter().fold(root, Self::with);
            if self.rest { pattern.with_rest() } else { pattern }
        };
        lists.into_iter().map(pattern).collect()
    }

    /// Equal for patterns that match the same paths, whatever their placeholders are called.
    pub fn shape(&self) -> String {
        let unnamed = |segment: &Segment| match segment {
            Segment::Any(_) => "/{}".to_owned(),
            other => format!("/{other}"),
        };
        let segments = self.segments.iter().map(unnamed).collect::<String>();
        if self.rest { format!("{segments}/**") } else { segments }
    }

    /// The label value of what it matches.
    pub fn template(&self) -> String {
        let mut template = String::new();
        for segment in &self.segments {
            template.push('/');
            template.push_str(&segment.to_string());
        }
        if self.rest {
            template.push_str("/*");
        } else if template.is_empty() {
            template.push('/');
        }
        template
    }
}

impl Shape {
    /// The shape that a placeholder of this name is bound to.
    fn named(name: &str) -> Option<Self> {
        [Self::Number, Self::Uuid, Self::Variant].into_iter().find(|shape| shape.name() == name)
    }

    /// The name of its placeholder.
    pub fn name(self) -> &'static str {
        match self {
            Self::Number => "number",
            Self::Uuid => "uuid",
            Self::Variant => "variant",
        }
    }
}

impl fmt::Display for Segment {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Literal(text) => formatter.write_str(text),
            Self::Glob(start, end) => write!(formatter, "{start}*{end}"),
            Self::Choice(names) => write!(formatter, "{{{}}}", names.join("|")),
            Self::Any(name) => write!(formatter, "{{{name}}}"),
            Self::Shaped(shape) => write!(formatter, "{{{}}}", shape.name()),
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let refuse = |reason| PatternError { pattern: text.to_owned(), reason };
        let path = text.strip_prefix('/').ok_or_else(|| refuse("it does not start with `/`"))?;
        let mut segments = Vec::new();
        let mut rest = false;
        for segment in path.split('/').filter(|segment| !segment.is_empty()) {
            if rest {
                return Err(refuse("`**` stands at the end only"));
            }
            if segment == "**" {
                rest = true;
            } else {
                segments.push(read_segment(segment).map_err(refuse)?);
            }
        }
        if segments.len() > MAX_SEGMENTS {
            return Err(refuse("it has more than 12 segments; end it with `**`"));
        }
        Ok(Self { text: text.to_owned(), segments, rest })
    }
}

impl TryFrom<String> for Pattern {
    type Error = PatternError;

    fn try_from(text: String) -> Result<Self, PatternError> {
        text.parse()
    }
}

fn read_segment(text: &str) -> Result<Segment, &'static str> {
    if let Some(inner) = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')) {
        let names: Vec<&str> = inner.split('|').collect();
        if !names.iter().all(|name| is_literal(name)) {
            return Err("between `{` and `}` stands a name, or texts with `|` between them");
        }
        return Ok(match (names.len(), Shape::named(inner)) {
            (1, Some(shape)) => Segment::Shaped(shape),
            (1, None) => Segment::Any(inner.to_owned()),
            _ => Segment::Choice(names.into_iter().map(str::to_owned).collect()),
        });
    }
    if let Some((start, end)) = text.split_once('*') {
        return if is_part(start) && is_part(end) && text.len() > 1 {
            Ok(Segment::Glob(start.to_owned(), end.to_owned()))
        } else {
            Err("a `*` stands once in a segment, with text before or after it")
        };
    }
    if is_literal(text) {
        Ok(Segment::Literal(text.to_owned()))
    } else {
        Err(
            "a segment is of letters, digits and `-._~@:`, or is a placeholder in `{}`; queries are not compared",
        )
    }
}

fn is_literal(text: &str) -> bool {
    !text.is_empty() && is_part(text)
}

fn is_part(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~@:".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Pattern {
        text.parse().unwrap()
    }

    #[test]
    fn what_is_written_is_the_template() {
        for (text, template) in [
            ("/", "/"),
            ("/**", "/*"),
            ("/webapi/chat/{provider}", "/webapi/chat/{provider}"),
            ("/api/v1/files/", "/api/v1/files"),
            ("/_next/static/**", "/_next/static/*"),
            ("/favicon*", "/favicon*"),
            ("/{variant}/**", "/{variant}/*"),
        ] {
            assert_eq!(pattern(text).template(), template);
        }
    }

    #[test]
    fn choices_are_routes_of_their_own() {
        let templates = |text| pattern(text).expand().iter().map(Pattern::template).collect::<Vec<_>>();
        assert_eq!(
            templates("/{a|b}/{x}/{c|d}/**"),
            ["/a/{x}/c/*", "/a/{x}/d/*", "/b/{x}/c/*", "/b/{x}/d/*"]
        );
        assert_eq!(templates("/"), ["/"]);
    }

    #[test]
    fn a_placeholder_s_name_may_bind_its_shape() {
        assert_eq!(pattern("/{uuid}").segments(), [Segment::Shaped(Shape::Uuid)]);
        assert_eq!(pattern("/{chat}").segments(), [Segment::Any("chat".to_owned())]);
    }

    #[test]
    fn what_is_no_path_is_refused_with_itself() {
        for text in ["", "api", "/a?b=1", "/a b", "/**/a", "/{", "/{}", "/{a|}", "/a*b*", "/*", "/x{id}"] {
            let error = text.parse::<Pattern>().unwrap_err().to_string();
            assert!(error.contains(&format!("`{text}`")), "{error}");
        }
        assert!("/a".repeat(MAX_SEGMENTS).parse::<Pattern>().is_ok());
        assert!("/a".repeat(MAX_SEGMENTS + 1).parse::<Pattern>().is_err());
    }
}
