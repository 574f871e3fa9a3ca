//! Tokens and users in a form that compares in constant time.
//! Tokens are kept as tags under a key of this process alone, passwords as the hashes that their file has.

use std::{
    collections::HashMap,
    fs,
    path::Path,
    sync::{Mutex, PoisonError},
};

use anyhow::{Context as _, anyhow};
use ring::{hmac, rand::SystemRandom};

use super::secret_files::{Hash, tokens, users};
use crate::config;

/// A user, or the stranger who stands for all names that are none.
pub(super) struct User {
    pub(super) hash: Hash,
    /// Tag of the password that was last found right.
    verified: Mutex<Option<hmac::Tag>>,
}

/// All that a request may show.
pub(super) struct Secrets {
    key: hmac::Key,
    tokens: Vec<hmac::Tag>,
    users: HashMap<String, User>,
    stranger: Option<User>,
}

impl Secrets {
    pub(super) fn load(access: &config::Access) -> anyhow::Result<Self> {
        let read = |name, file: &Path| {
            fs::read_to_string(file).with_context(|| format!("{name}: cannot read {}", file.display()))
        };
        let tokens = match access.bearer_token_file() {
            Some(file) => tokens(&read("access.bearer_token_file", file)?)
                .with_context(|| format!("access.bearer_token_file: {}", file.display()))?,
            None => Vec::new(),
        };
        let users = match access.users_file() {
            Some(file) => users(&read("access.users_file", file)?)
                .with_context(|| format!("access.users_file: {}", file.display()))?,
            None => HashMap::new(),
        };
        Self::new(&tokens, users)
    }

    pub(super) fn new(tokens: &[String], users: HashMap<String, Hash>) -> anyhow::Result<Self> {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new())
            .map_err(|_| anyhow!("the kernel gave no random bytes for a key"))?;
        let tokens = tokens.iter().map(|token| hmac::sign(&key, token.as_bytes())).collect();
        // A name that is none must take as long as one that is, so it is checked against the hash of the highest cost.
        let stranger = users.values().max_by_key(|hash| hash.cost).cloned().map(User::new);
        let users = users.into_iter().map(|(name, hash)| (name, User::new(hash))).collect();
        Ok(Self { key, tokens, users, stranger })
    }

    /// Whether a token is one of the file's. All are compared, whichever it is.
    pub(super) fn has_token(&self, token: &str) -> bool {
        let equal = |tag: &hmac::Tag| hmac::verify(&self.key, token.as_bytes(), tag.as_ref()).is_ok();
        self.tokens.iter().fold(false, |found, tag| found | equal(tag))
    }

    /// The user of a name, else the stranger; true for a user. None where the file has no users.
    pub(super) fn user(&self, name: &str) -> Option<(&User, bool)> {
        let known = self.users.get(name).map(|user| (user, true));
        known.or_else(|| self.stranger.as_ref().map(|stranger| (stranger, false)))
    }

    /// Whether this password was the right one of this user before.
    pub(super) fn was_verified(&self, user: &User, password: &[u8]) -> bool {
        let tag = *user.verified.lock().unwrap_or_else(PoisonError::into_inner);
        // Compared also where there is none, so that it takes as long.
        let empty = hmac::sign(&self.key, b"");
        hmac::verify(&self.key, password, tag.unwrap_or(empty).as_ref()).is_ok() && tag.is_some()
    }

    /// Remembers that this password is the right one.
    pub(super) fn remember(&self, user: &User, password: &[u8]) {
        let tag = hmac::sign(&self.key, password);
        *user.verified.lock().unwrap_or_else(PoisonError::into_inner) = Some(tag);
    }

    /// What a refused request is told to bring (RFC 9110, 11.6.1).
    pub(super) fn challenges(&self) -> Vec<&'static str> {
        let bearer = (!self.tokens.is_empty()).then_some("Bearer realm=\"observer\"");
        let basic = (!self.users.is_empty()).then_some("Basic realm=\"observer\", charset=\"UTF-8\"");
        bearer.into_iter().chain(basic).collect()
    }
}

impl User {
    fn new(hash: Hash) -> Self {
        Self { hash, verified: Mutex::new(None) }
    }
}

#[cfg(test)]
pub(super) fn of(token: &str, text: &str) -> Secrets {
    Secrets::new(&[token.to_owned()], users(text).unwrap()).unwrap()
}

/// Of "open: sesame", made by crypt(3) of Debian, as `htpasswd -B` writes it.
#[cfg(test)]
pub(super) const HASH: &str = "$2y$05$abcdefghijklmnopqrstuup2F9n1GfYnSjm0cOADofBHTZptM0KeS";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_one_on_a_line_and_comments_are_none() {
        let read = tokens("# of the scraper\nfirst-token\n\n  second~token \n").unwrap();
        assert_eq!(read, ["first-token", "second~token"]);
        let secrets = Secrets::new(&read, HashMap::new()).unwrap();
        for (token, known) in
            [("first-token", true), ("second~token", true), ("first-toke", false), ("", false), ("#", false)]
        {
            assert_eq!(secrets.has_token(token), known, "{token}");
        }
        assert_eq!(secrets.challenges(), ["Bearer realm=\"observer\""]);
        assert!(secrets.user("").is_none());
    }

    #[test]
    fn users_are_names_with_their_hashes() {
        let secrets = of("t", &format!("# people\nann:{HASH}\nbo b:{HASH}\n"));
        assert!(secrets.user("ann").is_some_and(|(_, known)| known));
        assert!(secrets.user("bo b").is_some_and(|(_, known)| known));
        assert!(secrets.user("eve").is_some_and(|(stranger, known)| !known && stranger.hash.text == HASH));
        assert_eq!(secrets.challenges().len(), 2);
    }

    #[test]
    fn only_the_password_that_was_found_right_is_remembered() {
        let secrets = of("t", &format!("ann:{HASH}"));
        let (ann, _) = secrets.user("ann").unwrap();
        assert!(!secrets.was_verified(ann, b""));
        secrets.remember(ann, b"right");
        assert!(secrets.was_verified(ann, b"right"));
        assert!(!secrets.was_verified(ann, b"wrong") && !secrets.was_verified(ann, b""));
    }
}
