//! Which profile is chosen, and what the operator's own files may say.
//! Errors are compared as an operator sees them.

use std::path::Path;

use super::*;
use crate::profiles::events::{End, Outcome};

fn profiles() -> Profiles {
    Profiles::compiled_in().unwrap()
}

/// Loads a file of this text over the compiled-in profiles.
fn over(text: &str) -> Result<Profiles, String> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("own.toml");
    std::fs::write(&file, text).unwrap();
    Profiles::load(&[file]).map_err(|error| error.to_string())
}

/// The error must name the file and then `place`, and hold every one of `parts`.
fn refused(text: &str, place: &str, parts: &[&str]) {
    let error = over(text).unwrap_err();
    assert!(error.contains(&format!("/own.toml:{place}: ")), "{error}\n    should name {place}");
    for part in parts {
        assert!(error.contains(part), "{error}\n    should contain {part}");
    }
}

#[test]
fn each_file_parses_and_is_named_as_its_profile() {
    let profiles = profiles();
    let names: Vec<&str> = profiles.iter().map(|profile| profile.name.as_str()).collect();
    assert_eq!(names, COMPILED_IN.map(|(file, _)| file));
    for profile in profiles.iter() {
        assert!(profile.title != profile.name && !profile.routes.is_empty(), "{profile:?}");
        assert_eq!(profile.images.is_empty(), profile.name == GENERIC, "{profile:?}");
    }
    assert_eq!(profiles.for_app("lobechat").unwrap().name, "lobechat");
    assert_eq!(profiles.for_app("").unwrap().name, GENERIC);
}

#[test]
fn lobechat_s_own_status_codes_are_failures_of_the_upstream() {
    let outcomes = profiles().get("lobechat").unwrap().all_outcomes();
    for status in [470, 471, 472] {
        assert_eq!(outcomes.outcome(Some(status), End::Completed), Outcome::ServerError);
    }
    assert_eq!(outcomes.outcome(Some(401), End::Completed), Outcome::ClientError);
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
fn a_process_chooses_its_profile_by_executable_folder_and_port() {
    let profiles = profiles();
    for (exe, cwd, ports, name) in [
        ("/bin/node", "/app", &[3210][..], Some("lobechat")),
        ("/usr/bin/node", "/app/server", &[3001], Some("anythingllm")),
        ("/usr/bin/node", "/app/collector", &[8888], Some("anythingllm")),
        ("/usr/local/bin/node", "/app", &[9229, 3080], Some("librechat")),
        ("/usr/local/bin/python3.11", "/app/backend", &[8080], Some("openwebui")),
        ("/usr/local/bin/python3.11", "/app", &[8080], None),
        ("/usr/bin/ollama", "/", &[11434], Some("ollama")),
        ("/usr/bin/python3.13", "/app", &[4000], Some("litellm")),
        ("/bin/node", "/app", &[80], None),
        ("/bin/node", "/app", &[], None),
        ("/bin/deno", "/app", &[3210], None),
    ] {
        let process = Process { exe: Path::new(exe), cwd: Path::new(cwd), ports };
        let found = profiles.for_process(process).map(|profile| profile.name.as_str());
        assert_eq!(found, name, "{process:?}");
    }
}

#[test]
fn a_file_adds_a_profile_that_comes_first() {
    let profiles = over("name = \"mychat\"\nimages = [\"lobehub/lobe-chat\"]\n").unwrap();
    assert_eq!(profiles.for_image("lobehub/lobe-chat:1").unwrap().name, "mychat");
    assert_eq!(profiles.for_image("lobehub/lobehub").unwrap().name, "lobechat");
    assert_eq!(profiles.get("mychat").unwrap().title, "mychat");
    assert_eq!(profiles.iter().count(), COMPILED_IN.len() + 1);
}

#[test]
fn a_file_of_a_known_name_replaces_or_extends_it() {
    let replaced = over("name = \"lobechat\"\nimages = [\"acme/chat\"]\n").unwrap();
    assert!(replaced.for_image("lobehub/lobe-chat").is_none());
    assert_eq!(replaced.get("lobechat").unwrap().layers().count(), 1);

    let extended = over("name = \"lobechat\"\nextends = \"lobechat\"\n").unwrap();
    let profile = extended.for_image("lobehub/lobe-chat").unwrap();
    assert_eq!((profile.layers().count(), profile.title.as_str()), (2, "LobeChat"));
    assert!(profile.detect.is_some());
    assert_eq!(extended.iter().count(), COMPILED_IN.len());

    let other = over("name = \"mychat\"\nextends = \"lobechat\"\n").unwrap();
    let profile = other.get("mychat").unwrap();
    assert!(profile.images.is_empty() && profile.detect.is_none());
    assert_eq!(profile.all_outcomes().outcome(Some(471), End::Completed), Outcome::ServerError);
}

#[test]
fn a_folder_gives_its_toml_files_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("1.toml", "name = \"one\"\n");
    write("2.toml", "name = \"two\"\nextends = \"one\"\n");
    write("notes.txt", "not a profile");
    let profiles = Profiles::load(&[folder.path().to_owned()]).unwrap();
    let names: Vec<&str> = profiles.iter().map(|profile| profile.name.as_str()).take(2).collect();
    assert_eq!(names, ["one", "two"]);
    let missing = folder.path().join("missing");
    let error = Profiles::load(std::slice::from_ref(&missing)).unwrap_err().to_string();
    assert!(error.contains(missing.to_str().unwrap()) && error.contains("profiles.files"), "{error}");
}

#[test]
fn processes_are_named_by_the_profile_or_the_one_it_extends() {
    let own = over("name = \"own\"\nextends = \"litserve\"\nimages = [\"acme/own\"]\n").unwrap();
    let worker = |profiles: &Profiles, app| {
        profiles.process_names(app).and_then(|names| names.worker.clone()).unwrap_or_default()
    };
    assert_eq!(worker(&own, "own"), "inference worker");
    assert_eq!(worker(&own, "lobechat"), "");
    let other = over("name = \"litserve\"\nextends = \"litserve\"\nprocesses.worker = \"model\"\n").unwrap();
    assert_eq!(worker(&other, "litserve"), "model");
}

#[test]
fn a_bad_file_is_refused_with_its_place_and_key() {
    const NAME: &str = "name = \"own\"\n";
    let own = |text: &str| format!("{NAME}{text}");
    refused(&own("image = []\n"), "2:1: image", &["unknown field `image`", "`images`"]);
    refused("name = \"Own Chat\"\n", "1:8: name", &["`Own Chat`", "lower-case letters"]);
    refused("name = \"own\n", "1:12", &[]);
    refused(&own("images = [\"a\", \"b[\"]\n"), "2:16: images", &["b["]);
    refused(&own("detect = { exe = \"[\" }\n"), "2:18: detect.exe", &[]);
    refused(&own("extends = \"lobchat\"\n"), "2:11: extends", &["`lobchat`", "lobechat, anythingllm"]);
    refused(&own("id_prefixes = [\"a_\"]\n"), "2:16: id_prefixes", &["`a_`"]);
    refused(&own("outcomes.99 = \"ok\"\n"), "2:1: outcomes", &["`99`"]);
    refused(
        &own("processes.worker = \"GPU worker\"\n"),
        "2:20: processes.worker",
        &["`GPU worker`", "lower-case letters", "inference worker"],
    );
    refused(&own("processes.manager = \"other\"\n"), "2:21: processes.manager", &["`other`"]);
    refused(&own("processes.server = \"web\"\n"), "2:11: processes.server", &["`http_server`"]);
    refused(
        &own("[[routes]]\npath = \"/a\"\nevnt = \"login\"\n"),
        "4:1: routes.evnt",
        &["unknown field `evnt`"],
    );
    refused(&own("[[routes]]\npath = \"a\"\n"), "3:8: routes.path", &["`a`", "start with `/`"]);
    refused(&own("[[routes]]\npath = \"/a\"\nmethod = \"get\"\n"), "4:10: routes.method", &["`GET`"]);
    refused(
        &own("[[routes]]\nmethod = \"GET\"\npath = \"/a\"\nevent = \"chat\"\n"),
        "5:9: routes.event",
        &["`chat` is no event", "chat_turn"],
    );
    refused(&own("[[routes]]\npath = \"/a\"\nevent = \"login\"\n"), "4:9: routes.event", &["needs a method"]);
    refused(
        &own("[[routes]]\npath = \"/a/{x}\"\n[[routes]]\npath = \"/a/{y}\"\n"),
        "5:8: routes.path",
        &["`/a/{y}`", "earlier route"],
    );
    refused(&own("[[trpc]]\npath = \"/trpc\"\nprocedures = [\"A b\"]\n"), "2:1: trpc", &["`A b`"]);
}
