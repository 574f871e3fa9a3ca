//! Which profile is chosen, and what the operator's own files may say.
//! Errors are compared as an operator sees them.

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
