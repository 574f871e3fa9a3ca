//! What is known of each app: one TOML file per app, compiled in.
//! An app is recognised by its image; a selector may name one with `,app=`.

use globset::{Glob, GlobBuilder, GlobSet, GlobSetBuilder};
use serde::Deserialize;

use crate::targets::selector::Selector;

/// Name of each profile's file and its text.
const COMPILED_IN: [(&str, &str); 8] = [
    ("lobechat", include_str!("lobechat.toml")),
    ("anythingllm", include_str!("anythingllm.toml")),
    ("openwebui", include_str!("openwebui.toml")),
    ("librechat", include_str!("librechat.toml")),
    ("litserve", include_str!("litserve.toml")),
    ("ollama", include_str!("ollama.toml")),
    ("vllm", include_str!("vllm.toml")),
    ("litellm", include_str!("litellm.toml")),
];

/// One app.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// Value of the `app` label: lower-case letters and digits.
    pub name: String,
    /// The name as the app's makers write it.
    pub title: String,
    /// Globs for the image's repository, without registry host, tag and digest. Each also matches below any
    /// folder, so that a mirror (`registry.example/mirror/ollama/ollama`) is recognised too.
    pub images: Vec<String>,
}

/// All profiles, ready to be asked.
#[derive(Clone, Debug)]
pub struct Profiles {
    all: Vec<Profile>,
    images: GlobSet,
    /// For each glob of `images`, the index of its profile.
    owners: Vec<usize>,
}

/// A selector names a profile that there is none of.
#[derive(Debug, thiserror::Error)]
#[error("target `{selector}`: there is no profile `{app}`; the profiles are {known}")]
pub struct UnknownProfile {
    selector: String,
    app: String,
    known: String,
}

/// Why a profile was refused.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// No TOML, a key that a profile has not, or one that is missing.
    #[error("profile `{0}`: {1}")]
    Parse(String, toml::de::Error),
    /// `images` holds something that is no glob.
    #[error("profile `{0}`: {1}")]
    Glob(String, globset::Error),
}

impl Profiles {
    /// The profiles that are compiled in. An error is a mistake in one of their files.
    pub fn compiled_in() -> Result<Self, ProfileError> {
        let parse = |(file, text): (&str, &str)| {
            toml::from_str::<Profile>(text).map_err(|error| ProfileError::Parse(file.to_owned(), error))
        };
        Self::new(COMPILED_IN.into_iter().map(parse).collect::<Result<_, _>>()?)
    }

    /// These profiles; where two match an image, the first wins.
    pub fn new(profiles: Vec<Profile>) -> Result<Self, ProfileError> {
        let mut images = GlobSetBuilder::new();
        let mut owners = Vec::new();
        for (index, profile) in profiles.iter().enumerate() {
            let refuse = |error| ProfileError::Glob(profile.name.clone(), error);
            for image in &profile.images {
                images.add(glob(image).map_err(refuse)?);
                images.add(glob(&format!("*/{image}")).map_err(refuse)?);
                owners.extend([index, index]);
            }
        }
        let images = images.build().map_err(|error| ProfileError::Glob("all of them".to_owned(), error))?;
        Ok(Self { all: profiles, images, owners })
    }

    /// The profile of this name.
    pub fn get(&self, name: &str) -> Option<&Profile> {
        self.all.iter().find(|profile| profile.name == name)
    }

    /// The profile whose app this image holds; `image` is a reference as the container runtime gives it.
    pub fn for_image(&self, image: &str) -> Option<&Profile> {
        let globs = self.images.matches(repository(image));
        let owner = globs.into_iter().filter_map(|glob| self.owners.get(glob)).min()?;
        self.all.get(*owner)
    }

    /// All of them, in the order in which they are asked.
    pub fn iter(&self) -> impl Iterator<Item = &Profile> {
        self.all.iter()
    }

    /// Whether every profile that a selector names with `,app=` exists.
    pub fn check(&self, selectors: &[Selector]) -> Result<(), UnknownProfile> {
        for selector in selectors {
            let Some(app) = &selector.app else { continue };
            if self.get(app).is_none() {
                let known: Vec<&str> = self.iter().map(|profile| profile.name.as_str()).collect();
                return Err(UnknownProfile {
                    selector: selector.text().to_owned(),
                    app: app.clone(),
                    known: known.join(", "),
                });
            }
        }
        Ok(())
    }
}

/// With `{,-suffix}` for a part that may be absent.
fn glob(image: &str) -> Result<Glob, globset::Error> {
    GlobBuilder::new(image).empty_alternates(true).build()
}

/// `lobehub/lobe-chat` of `docker.io/lobehub/lobe-chat:1.2@sha256:…`. The first part is a registry's host where it
/// holds a `.` or a `:` or is `localhost`, which is the rule of the Docker reference grammar.
fn repository(image: &str) -> &str {
    let name = image.split_once('@').map_or(image, |(name, _)| name);
    let name = match name.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => name,
        _ => name,
    };
    match name.split_once('/') {
        Some((host, rest)) if host.contains(['.', ':']) || host == "localhost" => rest,
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profiles() -> Profiles {
        Profiles::compiled_in().unwrap()
    }

    #[test]
    fn each_file_parses_and_is_named_as_its_profile() {
        let profiles = profiles();
        let names: Vec<&str> = profiles.iter().map(|profile| profile.name.as_str()).collect();
        assert_eq!(names, COMPILED_IN.map(|(file, _)| file));
        for profile in profiles.iter() {
            assert!(!profile.title.is_empty() && !profile.images.is_empty(), "{profile:?}");
        }
    }

    #[test]
    fn a_key_that_no_profile_has_is_refused_with_its_place() {
        let text = "name = \"a\"\ntitle = \"A\"\nimages = []\nimage = []\n";
        let error = toml::from_str::<Profile>(text).unwrap_err().to_string();
        assert!(error.contains("line 4") && error.contains("`image`"), "{error}");
    }

    #[test]
    fn an_image_chooses_its_profile() {
        let profiles = profiles();
        for (image, name) in [
            ("lobehub/lobe-chat:1.143.3", Some("lobechat")),
            ("lobehub/lobe-chat-database", Some("lobechat")),
            ("docker.io/lobehub/lobehub@sha256:0123", Some("lobechat")),
            ("localhost:5000/lobehub/lobe-chat", Some("lobechat")),
            ("mintplexlabs/anythingllm:pg", Some("anythingllm")),
            ("ghcr.io/mintplex-labs/anything-llm", Some("anythingllm")),
            ("ghcr.io/open-webui/open-webui:v0.6.43", Some("openwebui")),
            ("ghcr.io/danny-avila/librechat-dev-api:latest", Some("librechat")),
            ("ghcr.io/danny-avila/librechat-rag-api-dev-lite", None),
            ("acme/my-litserve-model:3", Some("litserve")),
            ("ollama/ollama:0.9.0-rocm", Some("ollama")),
            ("registry.example/mirror/ollama/ollama", Some("ollama")),
            ("vllm/vllm-openai:v0.10.1", Some("vllm")),
            ("ghcr.io/berriai/litellm-database:main-stable", Some("litellm")),
            ("postgres:17", None),
            ("notollama/ollama-ui", None),
            ("", None),
        ] {
            let found = profiles.for_image(image).map(|profile| profile.name.as_str());
            assert_eq!(found, name, "{image}");
        }
    }

    #[test]
    fn a_profile_that_there_is_none_of_is_refused_with_the_known_ones() {
        let selectors = ["port:1,app=lobechat", "pid:2,app=lobe"].map(|text| text.parse().unwrap());
        assert!(profiles().check(&selectors[..1]).is_ok());
        let error = profiles().check(&selectors).unwrap_err().to_string();
        assert!(error.contains("`pid:2,app=lobe`") && error.contains("lobechat, anythingllm"), "{error}");
    }
}
