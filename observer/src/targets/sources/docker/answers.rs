//! Docker's answers, as far as they are read. Whatever else they hold, or hold otherwise than documented, is passed over:
//! one container whose answer is odd must not hide the others, nor what is known of itself.

use std::collections::HashMap;

use serde::{Deserialize, Deserializer, de::IgnoredAny};

use crate::targets::{
    Info,
    source::{Kind, Place, Workload},
    sources::names,
};

/// A value that may be of another type than documented.
#[derive(Debug)]
struct Loose<T>(Option<T>);

impl<T> Default for Loose<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Loose<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Any<T> {
            Documented(T),
            Other(IgnoredAny),
        }
        Ok(Self(match Any::deserialize(deserializer)? {
            Any::Documented(value) => Some(value),
            Any::Other(_) => None,
        }))
    }
}

/// An entry of the list of containers.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(in crate::targets) struct Summary {
    id: Loose<String>,
    names: Loose<Vec<Loose<String>>>,
    image: Loose<String>,
    #[serde(rename = "ImageID")]
    image_id: Loose<String>,
    state: Loose<String>,
    labels: Loose<HashMap<String, Loose<String>>>,
}

/// What is read of one container.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct Details {
    state: Loose<State>,
    config: Loose<Config>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct State {
    pid: Loose<u32>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Config {
    image: Loose<String>,
    labels: Loose<HashMap<String, Loose<String>>>,
}

/// What answers there.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct Version {
    pub(super) api_version: String,
    components: Loose<Vec<Loose<Component>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Component {
    name: Loose<String>,
}

/// Something has happened to a container.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::targets) struct Event {
    #[serde(rename = "Action")]
    action: Loose<String>,
    #[serde(rename = "Actor")]
    actor: Loose<Actor>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Actor {
    #[serde(rename = "ID")]
    id: Loose<String>,
}

/// The entries of a list; an entry that is none is left out.
pub(in crate::targets) fn summaries(list: &[u8]) -> serde_json::Result<Vec<Summary>> {
    let list: Vec<Loose<Summary>> = serde_json::from_slice(list)?;
    Ok(list.into_iter().filter_map(|entry| entry.0).collect())
}

impl Version {
    /// `docker` or `podman`.
    pub(super) fn runtime(&self) -> &'static str {
        let components = self.components.0.iter().flatten().filter_map(|component| component.0.as_ref());
        let mut names = components.filter_map(|component| component.name.0.as_deref());
        if names.any(|name| name.starts_with("Podman")) { "podman" } else { "docker" }
    }
}

impl Event {
    /// What has happened, and the container's id.
    pub(in crate::targets) fn read(self) -> Option<(String, String)> {
        Some((self.action.0?, self.actor.0?.id.0?))
    }
}

impl Details {
    /// The first process, where there is one.
    pub(super) fn first_process(&self) -> Option<u32> {
        self.state.0.as_ref()?.pid.0.filter(|pid| *pid != 0)
    }

    /// The image as it was named when the container was made, with the version that it says.
    pub(super) fn image(self) -> Option<(String, String)> {
        let config = self.config.0?;
        let image = config.image.0?;
        let version = names::version(&image, &known(config.labels));
        Some((image, version))
    }
}

impl Summary {
    /// The container as far as it is known; `None` for one without an id, which no runtime makes.
    pub(in crate::targets) fn workload(self, runtime: &str) -> Option<Workload> {
        let id = self.id.0.filter(|id| !id.is_empty())?;
        let short: String = id.chars().take(12).collect();
        let names = self.names.0.unwrap_or_default().into_iter().filter_map(|name| name.0);
        let names = names.map(|name| name.trim_start_matches('/').to_owned()).filter(|name| !name.is_empty());
        // Legacy links add further names, of the form `OTHER/ALIAS`.
        let name = names.min_by_key(|name| name.contains('/')).unwrap_or_else(|| short.clone());
        let image = self.image.0.unwrap_or_default();
        let mut labels = known(self.labels);
        let digest = self.image_id.0.unwrap_or_default();
        let bare = digest.len() == 64 && !digest.contains(':');
        let running = matches!(self.state.0.as_deref(), Some("running" | "paused"));
        let mut label = |name: &str| labels.remove(name).unwrap_or_default();
        let info = Info {
            image_digest: if bare { format!("sha256:{digest}") } else { digest },
            container_id: short,
            runtime: runtime.to_owned(),
            compose_project: label("com.docker.compose.project"),
            compose_service: label("com.docker.compose.service"),
            replica: label("com.docker.compose.container-number"),
            version: names::version(&image, &labels),
            image,
            ..Info::default()
        };
        let (place, kind) = (Place::NamedById { first_process: None }, Kind::Container);
        Some(Workload { id, place, kind, name, running, info, claims: Vec::new() })
    }
}

fn known(labels: Loose<HashMap<String, Loose<String>>>) -> HashMap<String, String> {
    let labels = labels.0.into_iter().flatten();
    labels.filter_map(|(name, value)| Some((name, value.0?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_becomes_a_workload() {
        let (id, digest) = ("a".repeat(64), "b".repeat(64));
        let list = format!(
            r#"[{{"Id":"{id}","Names":["/other/alias","/web"],"Image":"acme/chat:2.4.1","ImageID":"{digest}",
            "State":"running","Labels":{{"com.docker.compose.project":"shop","com.docker.compose.service":"chat",
            "com.docker.compose.container-number":"2"}}}}]"#
        );
        let workload = summaries(list.as_bytes()).unwrap().remove(0).workload("podman").unwrap();
        assert_eq!((workload.id.as_str(), workload.name.as_str()), (id.as_str(), "web"));
        assert!(workload.running);
        let info = workload.info;
        assert_eq!((info.version.as_str(), info.container_id.as_str()), ("2.4.1", "aaaaaaaaaaaa"));
        assert_eq!((info.runtime.as_str(), info.image_digest), ("podman", format!("sha256:{digest}")));
        let compose = [info.compose_project, info.compose_service, info.replica];
        assert_eq!(compose, ["shop", "chat", "2"]);
    }

    #[test]
    fn what_is_odd_hides_neither_the_others_nor_what_is_known() {
        let list = r#"[
            {"Id":"good","Names":["/good"],"Image":"ollama/ollama","State":"running"},
            {"Id":"state","Names":["/state"],"State":"hibernating","Health":{"Status":"no idea"}},
            {"Id":"string","Names":"/string","Ports":[{"PublicPort":70000}],"State":"running"},
            {"Id":"labels","Names":["/labels",7,null],"Labels":{"a":1,"org.opencontainers.image.version":"3"}},
            {"Id":"numbers","Names":[],"Image":17,"ImageID":null,"Labels":[],"State":{"Running":true}},
            {"Id":18}, {}, 19, null, "text"
        ]"#;
        let found: Vec<_> =
            summaries(list.as_bytes()).unwrap().into_iter().filter_map(|it| it.workload("docker")).collect();
        let told: Vec<_> = found
            .iter()
            .map(|it| (it.id.as_str(), it.name.as_str(), it.info.version.as_str(), it.running))
            .collect();
        let expected = [
            ("good", "good", "", true),
            ("state", "state", "", false),
            ("string", "string", "", true),
            ("labels", "labels", "3", false),
            ("numbers", "numbers", "", false),
        ];
        assert_eq!(told, expected);
        for no_list in ["", "{}", "7", "[", "<html>"] {
            assert!(summaries(no_list.as_bytes()).is_err(), "{no_list}");
        }
    }

    #[test]
    fn details_and_events_are_read_as_far_as_they_go() {
        let details = |text: &str| serde_json::from_str::<Details>(text).unwrap();
        assert_eq!(details(r#"{"State":{"Pid":7}}"#).first_process(), Some(7));
        for none in [r#"{"State":{"Pid":0}}"#, r#"{"State":{"Pid":-1}}"#, r#"{"State":"up"}"#, "{}"] {
            assert_eq!(details(none).first_process(), None, "{none}");
        }
        let named = details(r#"{"Config":{"Image":"a/b:3","Labels":null}}"#).image();
        assert_eq!(named, Some(("a/b:3".to_owned(), "3".to_owned())));
        let event = |text: &str| serde_json::from_str::<Event>(text).ok()?.read();
        let told = event(r#"{"Type":"container","Action":"die","Actor":{"ID":"1","Attributes":{"x":4}}}"#);
        assert_eq!(told, Some(("die".to_owned(), "1".to_owned())));
        for none in [r#"{"Action":"die","Actor":{}}"#, r#"{"Action":3,"Actor":{"ID":"1"}}"#, "[]", "x"] {
            assert_eq!(event(none), None, "{none}");
        }
    }
}
