//! The files of tokens and of users, by line; `#` begins a comment.
//! Errors name the line and how to make a right one, and never show a secret.

use std::collections::HashMap;

use anyhow::{Context as _, anyhow, bail, ensure};
use bcrypt::HashParts;

/// The most costly hash that is taken: each wrong password costs a second of a core with it.
const HIGHEST_COST: u32 = 14;

/// What is kept of a password.
#[derive(Clone)]
pub(super) struct Hash {
    /// As the file has it: `$2y$10$` and what bcrypt(3) makes of salt and password.
    pub(super) text: String,
    /// Its cost, as the power of two of rounds.
    pub(super) cost: u32,
}

/// Lines that say something, with their numbers.
fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = text.lines().enumerate().map(|(before, line)| (before + 1, line.trim()));
    lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
}

/// The tokens of a file: one on each line.
pub(super) fn tokens(text: &str) -> anyhow::Result<Vec<String>> {
    let mut tokens = Vec::new();
    for (number, token) in lines(text) {
        // RFC 9110, 5.5 and RFC 6750, 2.1: visible ASCII is what every client can send.
        ensure!(
            token.chars().all(|character| character.is_ascii_graphic()),
            "line {number} has a character that no request can carry; make a token with `openssl rand -hex 32`"
        );
        tokens.push(token.to_owned());
    }
    ensure!(!tokens.is_empty(), "it has no token; make one with `openssl rand -hex 32`");
    Ok(tokens)
}

/// The users of a file, with their hashes: lines of NAME:HASH, as htpasswd writes them.
pub(super) fn users(text: &str) -> anyhow::Result<HashMap<String, Hash>> {
    let mut users = HashMap::new();
    for (number, line) in lines(text) {
        let (name, hash) = line
            .split_once(':')
            .filter(|(name, _)| !name.is_empty())
            .with_context(|| format!("line {number} is not NAME:HASH; make one with `htpasswd -nB NAME`"))?;
        let parts: HashParts = hash.parse().map_err(|error| {
            anyhow!("line {number}: the hash of {name} is none of bcrypt ({error}); make one with `htpasswd -nB {name}`")
        })?;
        let cost = parts.get_cost();
        ensure!(
            (4..=HIGHEST_COST).contains(&cost),
            "line {number}: the hash of {name} has a cost of {cost}; allowed: 4 to {HIGHEST_COST}, as by `htpasswd -nBC 10 {name}`"
        );
        if users.insert(name.to_owned(), Hash { text: hash.to_owned(), cost }).is_some() {
            bail!("line {number}: {name} is there twice; keep one");
        }
    }
    ensure!(!users.is_empty(), "it has no users; add one with `htpasswd -B FILE NAME`");
    Ok(users)
}

#[cfg(test)]
mod tests {
    use super::{super::secrets::HASH, *};

    #[test]
    fn a_bad_line_is_named_and_its_hash_is_not_shown() {
        for (text, part) in [
            ("ann\n".to_owned(), "line 1 is not NAME:HASH"),
            (format!("\n:{HASH}"), "line 2 is not NAME:HASH"),
            ("ann:$apr1$secret$x".to_owned(), "none of bcrypt"),
            (format!("ann:{}", HASH.replace("$05$", "$15$")), "a cost of 15; allowed: 4 to 14"),
            (format!("ann:{HASH}\nann:{HASH}"), "line 2: ann is there twice"),
            ("# nobody".to_owned(), "no users"),
        ] {
            let error = format!("{:#}", users(&text).err().unwrap());
            assert!(error.contains(part) && !error.contains("secret"), "{error}");
        }
        for (text, part) in [("\n# none\n", "no token"), ("two words", "line 1"), ("tökn", "line 1")] {
            let error = tokens(text).unwrap_err().to_string();
            assert!(error.contains(part) && error.contains("openssl"), "{error}");
        }
    }
}
