//! Business events: what a request meant to the app, and how it went.
//! The names are a closed list, kept here alone; profiles say which route means which.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Deserializer, de::Error as _};

/// Makes the enum, its names and the list of all from one table.
macro_rules! events {
    ($($(#[$about:meta])* $event:ident = $name:literal,)*) => {
        /// What a request meant to the app: the label `event` of `app_events_total`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Event {
            $($(#[$about])* $event,)*
        }

        impl Event {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$event),*];

            /// The label value, which is also what profiles write.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$event => $name,)*
                }
            }
        }
    };
}

events! {
    /// A user's message was answered, or a client of the chat API was.
    ChatTurn = "chat_turn",
    /// A running answer was stopped by its user.
    ChatCancel = "chat_cancel",
    /// A user's message was stored, before it is answered.
    MessageSent = "message_sent",
    /// A conversation, topic or thread was made.
    ConversationCreated = "conversation_created",
    /// A session with an assistant was made.
    SessionCreated = "session_created",
    /// A workspace was made.
    WorkspaceCreated = "workspace_created",
    /// An agent worked on its own, with tools.
    AgentSession = "agent_session",
    /// A model was asked by the app's own helpers or through its proxy, not as a chat turn.
    LlmCall = "llm_call",
    /// A model that does not chat was asked.
    Inference = "inference",
    /// A plugin, tool or MCP server was called.
    PluginInvocation = "plugin_invocation",
    /// A plugin was installed.
    PluginInstalled = "plugin_installed",
    /// A file was handed over.
    DocumentUpload = "document_upload",
    /// Documents were fetched from another service.
    DocumentImport = "document_import",
    /// Text was taken out of documents.
    DocumentProcessing = "document_processing",
    /// Vectors were made.
    Embedding = "embedding",
    /// Documents were searched.
    RagQuery = "rag_query",
    /// A knowledge base was made or filled.
    KnowledgeUpdated = "knowledge_updated",
    /// A picture was made.
    ImageGeneration = "image_generation",
    /// Speech was written down.
    SpeechToText = "speech_to_text",
    /// Text was spoken.
    TextToSpeech = "text_to_speech",
    /// A model was fetched, made or removed.
    ModelAdmin = "model_admin",
    /// A user signed in.
    Login = "login",
    /// A user signed out.
    Logout = "logout",
    /// A user registered.
    Signup = "signup",
}

impl Event {
    /// The event of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|event| event.as_str() == name)
    }
}

impl fmt::Display for Event {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Event {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Self::from_name(&name).ok_or_else(|| {
            let known: Vec<&str> = Self::ALL.iter().map(|event| event.as_str()).collect();
            D::Error::custom(format_args!("`{name}` is no event; the events are {}", known.join(", ")))
        })
    }
}

/// How an event went: the label `outcome` of `app_events_total`.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was done.
    Ok,
    /// The request was refused for what it asked.
    ClientError,
    /// The app, or what it depends on, failed.
    ServerError,
    /// Whoever asked did not wait for the end.
    Aborted,
}

impl Outcome {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Ok, Self::ClientError, Self::ServerError, Self::Aborted];

    /// The label value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::ClientError => "client_error",
            Self::ServerError => "server_error",
            Self::Aborted => "aborted",
        }
    }
}

/// How an answer ended, as the framer saw it: the label `outcome` of `streams_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum End {
    /// At its own end.
    Completed,
    /// The client closed first.
    ClientAbort,
    /// The server closed before the end.
    ServerAbort,
    /// The server reset the connection; a client that did so has aborted.
    Reset,
    /// Nothing came for too long.
    Timeout,
}

impl End {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Completed, Self::ClientAbort, Self::ServerAbort, Self::Reset, Self::Timeout];

    /// The label value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::ClientAbort => "client_abort",
            Self::ServerAbort => "server_abort",
            Self::Reset => "reset",
            Self::Timeout => "timeout",
        }
    }
}

/// What an app's status codes mean where they mean something else than their class does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcomes(BTreeMap<u16, Outcome>);

impl Outcomes {
    /// How a request went that was answered with this status, or with none (`None`), and ended so.
    ///
    /// An error status says more than the end does: a client that is told of an error often closes at once.
    pub fn outcome(&self, status: Option<u16>, end: End) -> Outcome {
        let by_status = status.map_or(Outcome::Ok, |status| match status {
            _ if self.0.contains_key(&status) => self.0.get(&status).copied().unwrap_or(Outcome::Ok),
            400..=499 => Outcome::ClientError,
            500.. => Outcome::ServerError,
            _ => Outcome::Ok,
        });
        match (by_status, end) {
            (Outcome::Ok, End::Completed) if status.is_none() => Outcome::ServerError,
            (Outcome::Ok, End::ClientAbort) => Outcome::Aborted,
            (Outcome::Ok, End::ServerAbort | End::Reset | End::Timeout) => Outcome::ServerError,
            (by_status, _) => by_status,
        }
    }

    /// These, and for the codes that they leave out, those of `base`.
    #[must_use]
    pub fn over(mut self, base: &Self) -> Self {
        for (status, outcome) in &base.0 {
            self.0.entry(*status).or_insert(*outcome);
        }
        self
    }
}

impl<'de> Deserialize<'de> for Outcomes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let written = BTreeMap::<String, Outcome>::deserialize(deserializer)?;
        let status = |text: &str| text.parse::<u16>().ok().filter(|status| (100..=999).contains(status));
        let read = |(text, outcome): (String, Outcome)| match status(&text) {
            Some(status) => Ok((status, outcome)),
            None => Err(D::Error::custom(format_args!("`{text}` is no status code of three digits"))),
        };
        written.into_iter().map(read).collect::<Result<_, _>>().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_label_values_and_read_back() {
        for event in Event::ALL {
            assert_eq!(Event::from_name(event.as_str()), Some(*event));
            assert!(event.as_str().bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'));
        }
        assert_eq!(Event::from_name("chat"), None);
    }

    #[test]
    fn the_outcome_comes_from_the_status_and_then_from_the_end() {
        let plain = Outcomes::default();
        for (status, end, outcome) in [
            (Some(200), End::Completed, Outcome::Ok),
            (Some(101), End::Completed, Outcome::Ok),
            (Some(304), End::Completed, Outcome::Ok),
            (Some(200), End::ClientAbort, Outcome::Aborted),
            (Some(200), End::Reset, Outcome::ServerError),
            (Some(200), End::ServerAbort, Outcome::ServerError),
            (Some(200), End::Timeout, Outcome::ServerError),
            (Some(404), End::Completed, Outcome::ClientError),
            (Some(429), End::ClientAbort, Outcome::ClientError),
            (Some(471), End::Completed, Outcome::ClientError),
            (Some(503), End::ClientAbort, Outcome::ServerError),
            (None, End::ClientAbort, Outcome::Aborted),
            (None, End::ServerAbort, Outcome::ServerError),
            (None, End::Completed, Outcome::ServerError),
        ] {
            assert_eq!(plain.outcome(status, end), outcome, "{status:?} {end:?}");
        }
    }

    #[test]
    fn an_app_says_what_its_own_status_codes_mean() {
        let read = |text: &str| toml::from_str::<Outcomes>(text);
        let own = read("471 = \"server_error\"\n404 = \"ok\"").unwrap();
        assert_eq!(own.outcome(Some(471), End::Completed), Outcome::ServerError);
        assert_eq!(own.outcome(Some(404), End::Completed), Outcome::Ok);
        assert_eq!(own.outcome(Some(470), End::Completed), Outcome::ClientError);
        let over = read("471 = \"client_error\"").unwrap().over(&own);
        assert_eq!(over.outcome(Some(471), End::Completed), Outcome::ClientError);
        assert_eq!(over.outcome(Some(404), End::Completed), Outcome::Ok);
        assert!(read("47 = \"ok\"").unwrap_err().to_string().contains("`47` is no status code"));
        assert!(read("471 = \"fine\"").unwrap_err().to_string().contains("server_error"));
    }
}
