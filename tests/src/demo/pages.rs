//! The service's pages and its sessions: what a chat application keeps and shows.
//! Kept in memory and bounded, so that a demo may run for days.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

use serde::Serialize;

/// How many sessions there are.
pub const SESSIONS: u32 = 20;

/// How many messages a session keeps; older ones go.
const MESSAGES: usize = 50;

/// One message of a session.
#[derive(Clone, Debug, Serialize)]
pub struct Message {
    /// `user` or `assistant`.
    pub role: &'static str,
    /// Its text.
    pub text: String,
}

/// A session in the list of all.
#[derive(Clone, Debug, Serialize)]
pub struct Session {
    /// Counted from 0.
    pub id: u32,
    /// How many messages it has.
    pub messages: usize,
}

/// All sessions with their messages.
#[derive(Debug)]
pub struct Sessions(Mutex<BTreeMap<u32, VecDeque<Message>>>);

impl Default for Sessions {
    fn default() -> Self {
        Self(Mutex::new((0..SESSIONS).map(|id| (id, VecDeque::new())).collect()))
    }
}

impl Sessions {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u32, VecDeque<Message>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The list of all.
    pub fn list(&self) -> Vec<Session> {
        self.lock().iter().map(|(&id, messages)| Session { id, messages: messages.len() }).collect()
    }

    /// The messages of one, if there is such a session.
    pub fn messages(&self, id: u32) -> Option<Vec<Message>> {
        self.lock().get(&id).map(|messages| messages.iter().cloned().collect())
    }

    /// Adds a message; false if there is no such session.
    pub fn add(&self, id: u32, role: &'static str, text: String) -> bool {
        let mut sessions = self.lock();
        let Some(messages) = sessions.get_mut(&id) else {
            return false;
        };
        messages.push_back(Message { role, text });
        if messages.len() > MESSAGES {
            messages.pop_front();
        }
        true
    }
}

/// The front page: links to all sessions.
pub fn front(sessions: &Sessions) -> String {
    let link = |session: &Session| {
        format!("<li><a href=\"/chat/{0}\">Chat {0}</a> ({1})", session.id, session.messages)
    };
    let links: Vec<String> = sessions.list().iter().map(link).collect();
    page("Chats", &format!("<ul>\n{}\n</ul>", links.join("\n")))
}

/// The page of one session, if there is such a session.
pub fn chat(sessions: &Sessions, id: u32) -> Option<String> {
    let messages = sessions.messages(id)?;
    let line = |message: &Message| format!("<p><b>{}</b> {}", message.role, escape(&message.text));
    let lines: Vec<String> = messages.iter().map(line).collect();
    Some(page(&format!("Chat {id}"), &lines.join("\n")))
}

fn page(title: &str, body: &str) -> String {
    format!("<!doctype html>\n<meta charset=\"utf-8\">\n<title>{title}</title>\n<h1>{title}</h1>\n{body}\n")
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_keeps_its_last_messages_and_its_page_escapes_them() {
        let sessions = Sessions::default();
        for number in 0..=MESSAGES {
            assert!(sessions.add(3, "user", format!("<{number}>")));
        }
        assert_eq!(sessions.messages(3).unwrap().len(), MESSAGES);
        let page = chat(&sessions, 3).unwrap();
        assert!(!page.contains("&lt;0&gt;") && page.contains("&lt;50&gt;"), "{page}");
        assert!(!sessions.add(SESSIONS, "user", String::new()));
        assert!(chat(&sessions, SESSIONS).is_none());
    }
}
