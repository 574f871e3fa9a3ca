//! Whether a request's Authorization is good, without a stranger being able to keep the agent busy.
//! A password costs bcrypt once; after that its tag tells, until the files change.

use std::sync::Arc;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use tokio::sync::Semaphore;

use super::secrets::Secrets;

/// Passwords that are checked at once; each takes a core for as long as its hash was made to cost.
const AT_ONCE: usize = 1;

/// Passwords that are checked or wait for it; more are turned away, so that strangers do not take all connections by
/// waiting.
const PLACES: u32 = 9;

/// What becomes of a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Verdict {
    Granted,
    Denied,
    /// Too many passwords are being checked.
    Busy,
}

/// The turns of passwords.
#[derive(Clone)]
pub(super) struct Passwords {
    turn: Arc<Semaphore>,
    places: Arc<Semaphore>,
}

impl Default for Passwords {
    fn default() -> Self {
        Self { turn: Arc::new(Semaphore::new(AT_ONCE)), places: Arc::new(Semaphore::new(PLACES as usize)) }
    }
}

impl Passwords {
    /// Judges the value of an Authorization field.
    pub(super) async fn judge(&self, secrets: &Arc<Secrets>, authorization: &str) -> Verdict {
        let Some((scheme, credentials)) = authorization.split_once(' ') else {
            return Verdict::Denied;
        };
        let credentials = credentials.trim_matches(' ');
        if scheme.eq_ignore_ascii_case("bearer") {
            if secrets.has_token(credentials) { Verdict::Granted } else { Verdict::Denied }
        } else if scheme.eq_ignore_ascii_case("basic") {
            match name_and_password(credentials) {
                Some((name, password)) => self.verify(secrets, name, password).await,
                None => Verdict::Denied,
            }
        } else {
            Verdict::Denied
        }
    }

    async fn verify(&self, secrets: &Arc<Secrets>, name: String, password: Vec<u8>) -> Verdict {
        match secrets.user(&name) {
            None => return Verdict::Denied,
            Some((user, _)) if secrets.was_verified(user, &password) => return Verdict::Granted,
            Some(_) => {}
        }
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            return Verdict::Busy;
        };
        let Ok(turn) = Arc::clone(&self.turn).acquire_owned().await else {
            return Verdict::Busy;
        };
        let secrets = Arc::clone(secrets);
        let verified = tokio::task::spawn_blocking(move || {
            let right = is_right(&secrets, &name, &password);
            // Both end with the check, also when the client has left in the middle of it.
            drop((turn, place));
            right
        });
        if verified.await.unwrap_or(false) { Verdict::Granted } else { Verdict::Denied }
    }
}

/// Takes as long for a name that is none as for one that is.
fn is_right(secrets: &Secrets, name: &str, password: &[u8]) -> bool {
    let Some((user, known)) = secrets.user(name) else {
        return false;
    };
    let right = bcrypt::verify(password, &user.hash.text).unwrap_or(false) & known;
    if right {
        secrets.remember(user, password);
    }
    right
}

/// RFC 7617, 2: base64 of the name, a colon, and the password.
pub(super) fn name_and_password(credentials: &str) -> Option<(String, Vec<u8>)> {
    let mut decoded = BASE64_STANDARD.decode(credentials).ok()?;
    let colon = decoded.iter().position(|byte| *byte == b':')?;
    let password = decoded.split_off(colon + 1);
    decoded.truncate(colon);
    Some((String::from_utf8(decoded).ok()?, password))
}

#[cfg(test)]
mod tests {
    use super::{super::secrets, *};

    fn secrets() -> Arc<Secrets> {
        Arc::new(secrets::of("token-1", &format!("ali:{}", secrets::HASH)))
    }

    fn basic(name_and_password: &str) -> String {
        format!("Basic {}", BASE64_STANDARD.encode(name_and_password))
    }

    #[tokio::test]
    async fn what_is_right_is_granted_and_nothing_else() {
        let (secrets, passwords) = (secrets(), Passwords::default());
        let good = basic("ali:open: sesame");
        for (authorization, verdict) in [
            ("Bearer token-1", Verdict::Granted),
            ("bearer  token-1", Verdict::Granted),
            ("Bearer token-2", Verdict::Denied),
            ("Bearer", Verdict::Denied),
            ("Bearer ", Verdict::Denied),
            ("Digest token-1", Verdict::Denied),
            ("token-1", Verdict::Denied),
            (&good, Verdict::Granted),
            (&good.replace("Basic", "BASIC"), Verdict::Granted),
            (&good.replace("Basic", "Bearer"), Verdict::Denied),
            (&basic("ali:open sesame"), Verdict::Denied),
            (&basic("ali:"), Verdict::Denied),
            (&basic("Ali:open: sesame"), Verdict::Denied),
            (&basic(":open: sesame"), Verdict::Denied),
            (&basic("ali"), Verdict::Denied),
            ("Basic %%%", Verdict::Denied),
            ("Basic ", Verdict::Denied),
        ] {
            // Twice: from the file and from memory.
            assert_eq!(passwords.judge(&secrets, authorization).await, verdict, "{authorization}");
            assert_eq!(passwords.judge(&secrets, authorization).await, verdict, "{authorization}");
        }
    }

    #[tokio::test]
    async fn a_right_password_is_hashed_once_and_a_wrong_one_and_a_wrong_name_each_time() {
        let (secrets, passwords) = (secrets(), Passwords::default());
        let good = basic("ali:open: sesame");
        assert_eq!(passwords.judge(&secrets, &good).await, Verdict::Granted);
        // Without a place nothing can be hashed.
        let places = Arc::clone(&passwords.places).try_acquire_many_owned(PLACES).unwrap();
        assert_eq!(passwords.judge(&secrets, &good).await, Verdict::Granted);
        assert_eq!(passwords.judge(&secrets, "Bearer token-1").await, Verdict::Granted);
        for wrong in ["ali:wrong", "eve:open: sesame", "eve:"] {
            assert_eq!(passwords.judge(&secrets, &basic(wrong)).await, Verdict::Busy, "{wrong}");
        }
        drop(places);
        for wrong in ["ali:wrong", "eve:open: sesame", "eve:"] {
            assert_eq!(passwords.judge(&secrets, &basic(wrong)).await, Verdict::Denied, "{wrong}");
        }
    }

    #[tokio::test]
    async fn strangers_wait_in_a_short_line_and_the_rest_is_turned_away() {
        let (secrets, passwords) = (secrets(), Passwords::default());
        let turn = Arc::clone(&passwords.turn).try_acquire_owned().unwrap();
        let asked: Vec<_> = (0..PLACES)
            .map(|number| {
                let (secrets, passwords) = (Arc::clone(&secrets), passwords.clone());
                tokio::spawn(async move { passwords.judge(&secrets, &basic(&format!("eve:{number}"))).await })
            })
            .collect();
        while passwords.places.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(passwords.judge(&secrets, &basic("ali:open: sesame")).await, Verdict::Busy);
        drop(turn);
        for verdict in asked {
            assert_eq!(verdict.await.unwrap(), Verdict::Denied);
        }
        assert_eq!(passwords.judge(&secrets, &basic("ali:open: sesame")).await, Verdict::Granted);
    }
}
