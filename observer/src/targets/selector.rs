//! What an operator writes to name targets: `container:web-*`, `port:3210,app=lobechat`.
//! The grammar stands in [`GRAMMAR`], which every error message quotes.

use std::{fmt, path::PathBuf, str::FromStr};

use globset::{GlobBuilder, GlobMatcher};

use crate::profiles::Profiles;

/// The grammar, as error messages and `--help` show it.
pub const GRAMMAR: &str = "container:GLOB, image:GLOB, unit:GLOB, cgroup:PATH, port:N, exe:GLOB or pid:N, \
each with an optional ,app=PROFILE";

/// One `--target` argument or one entry of `targets.select`.
#[derive(Clone, Debug)]
pub struct Selector {
    /// What it matches.
    pub matcher: Matcher,
    /// The profile it forces, if any.
    pub app: Option<String>,
    text: String,
}

/// What a selector compares.
#[derive(Clone, Debug)]
pub enum Matcher {
    /// The container's name, without Docker's leading slash.
    Container(GlobMatcher),
    /// The image reference; `*` also matches `/`, so `*lobe-chat*` finds it under any registry.
    Image(GlobMatcher),
    /// The systemd unit's name, with its suffix.
    Unit(GlobMatcher),
    /// A cgroup by its path below the v2 root, with a leading slash.
    Cgroup(PathBuf),
    /// The cgroup of the process that listens on this TCP port.
    Port(u16),
    /// The cgroups of processes whose executable's path, or its last component, matches.
    Exe(GlobMatcher),
    /// The cgroup of this process.
    Pid(u32),
}

/// Why a selector was refused.
#[derive(Debug, thiserror::Error)]
#[error("target `{text}`: {reason}; a target is {GRAMMAR}")]
pub struct SelectorError {
    text: String,
    reason: String,
}

/// A selector names a profile that there is none of.
#[derive(Debug, thiserror::Error)]
#[error("target `{selector}`: there is no profile `{app}`; the profiles are {known}")]
pub struct UnknownProfile {
    selector: String,
    app: String,
    known: String,
}

impl Selector {
    /// Whether the profile that it names with `,app=` exists.
    pub fn check(&self, profiles: &Profiles) -> Result<(), UnknownProfile> {
        match &self.app {
            Some(app) if profiles.get(app).is_none() => {
                let (selector, app, known) = (self.text.clone(), app.clone(), profiles.names());
                Err(UnknownProfile { selector, app, known })
            }
            _ => Ok(()),
        }
    }

    /// As it was written, without the profile.
    pub fn without_app(&self) -> &str {
        self.text.split_once(",app=").map_or(&self.text, |(matcher, _)| matcher)
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl FromStr for Selector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, SelectorError> {
        let refuse = |reason: String| SelectorError { text: text.to_owned(), reason };
        let (matcher, app) = match text.rsplit_once(",app=") {
            Some((matcher, _)) if matcher.contains(",app=") => {
                return Err(refuse("it has two apps; keep one".to_owned()));
            }
            Some((_, "")) => return Err(refuse("the profile after `app=` is empty".to_owned())),
            Some((matcher, app)) => (matcher, Some(app.to_owned())),
            None => (text, None),
        };
        let (kind, value) = matcher.split_once(':').ok_or_else(|| refuse("it has no `:`".to_owned()))?;
        if value.is_empty() {
            return Err(refuse(format!("nothing follows `{kind}:`")));
        }
        // A backslash is a character of names: systemd writes `-` within them as `\x2d`.
        let glob = || GlobBuilder::new(value).backslash_escape(false).build();
        let glob = || glob().map(|glob| glob.compile_matcher()).map_err(|error| refuse(error.to_string()));
        let matcher = match kind {
            "container" => Matcher::Container(glob()?),
            "image" => Matcher::Image(glob()?),
            "unit" => Matcher::Unit(glob()?),
            "exe" => Matcher::Exe(glob()?),
            "cgroup" => Matcher::Cgroup(PathBuf::from(format!("/{}", value.trim_matches('/')))),
            "port" => match value.parse() {
                Ok(port) if port > 0 => Matcher::Port(port),
                _ => return Err(refuse(format!("`{value}` is no port between 1 and 65535"))),
            },
            "pid" => match value.parse() {
                Ok(pid) if pid > 0 => Matcher::Pid(pid),
                _ => return Err(refuse(format!("`{value}` is no process id"))),
            },
            _ => return Err(refuse(format!("`{kind}` is no kind of selector"))),
        };
        Ok(Self { matcher, app, text: text.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_read() {
        let parse = |text: &str| text.parse::<Selector>().unwrap();
        assert!(
            matches!(parse("container:web-*").matcher, Matcher::Container(glob) if glob.is_match("web-1"))
        );
        assert!(
            matches!(parse("image:*lobe-chat*").matcher, Matcher::Image(glob) if glob.is_match("a/lobe-chat:1"))
        );
        let escaped = parse(r"unit:my\x2dapp*.service").matcher;
        assert!(matches!(escaped, Matcher::Unit(glob) if glob.is_match(r"my\x2dapp-1.service")));
        assert!(matches!(parse("unit:chat.service").matcher, Matcher::Unit(_)));
        assert!(
            matches!(parse("cgroup:docker/x/").matcher, Matcher::Cgroup(path) if path.to_str() == Some("/docker/x"))
        );
        assert!(matches!(parse("cgroup:/").matcher, Matcher::Cgroup(path) if path.to_str() == Some("/")));
        assert!(matches!(parse("port:3210").matcher, Matcher::Port(3210)));
        assert!(matches!(parse("exe:*/node").matcher, Matcher::Exe(_)));
        let selector = parse("pid:7,app=lobechat");
        assert!(matches!(selector.matcher, Matcher::Pid(7)));
        assert_eq!(selector.app.as_deref(), Some("lobechat"));
        assert_eq!(selector.to_string(), "pid:7,app=lobechat");
    }

    #[test]
    fn a_profile_that_there_is_none_of_is_refused_with_the_known_ones() {
        let profiles = Profiles::compiled_in().unwrap();
        let check = |text: &str| text.parse::<Selector>().unwrap().check(&profiles);
        assert!(check("port:1,app=lobechat").is_ok() && check("port:1").is_ok());
        let error = check("pid:2,app=lobe").unwrap_err().to_string();
        assert!(error.contains("`pid:2,app=lobe`") && error.contains("lobechat, anythingllm"), "{error}");
    }

    #[test]
    fn a_bad_selector_names_itself_and_the_grammar() {
        for text in [
            "",
            "web",
            "container:",
            "image:[",
            "port:0",
            "port:65536",
            "pid:x",
            "pod:x/y",
            "pid:1,app=",
            "exe:a,app=b,app=c",
        ] {
            let error = text.parse::<Selector>().unwrap_err().to_string();
            assert!(error.contains(&format!("`{text}`")) && error.contains(GRAMMAR), "{error}");
        }
    }
}
