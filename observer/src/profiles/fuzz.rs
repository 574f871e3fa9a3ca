//! What must hold for any profile of an operator.
//! Profiles are TOML with globs and patterns of routes, each of which is compiled.

#![expect(clippy::missing_panics_doc, reason = "a panic tells of a finding")]

use std::{
    path::Path,
    sync::{Arc, LazyLock},
};

use super::{Profile, Profiles, files};
use crate::exchanges::routes::Router;

/// Templates that a target may have.
const BUDGET: usize = 16;

/// Those that are compiled in, read once: it takes longer than most inputs.
pub(crate) static KNOWN: LazyLock<Profiles> =
    LazyLock::new(|| Profiles::compiled_in().unwrap_or_else(|error| panic!("{error}")));

/// A profile that is taken can be asked, and gives no more templates than the budget has room for.
pub fn profiles(bytes: &[u8]) {
    let known = &*KNOWN;
    let mut all: Vec<Arc<Profile>> = known.iter().cloned().collect();
    let text = String::from_utf8_lossy(bytes);
    if files::add(&mut all, &text, Path::new("profile.toml")).is_err() {
        return;
    }
    let Some(profile) = all.iter().find(|one| known.get(&one.name).is_none_or(|old| !Arc::ptr_eq(old, one)))
    else {
        panic!("a profile was taken and is not there");
    };
    let mut router = Router::new(profile, BUDGET);
    for route in &profile.routes {
        for pattern in route.path.expand() {
            let found = router.route(b"GET", pattern.template().as_bytes(), 200);
            assert!(found.id.0 as usize <= BUDGET + 2, "{found:?}");
        }
    }
    // The globs of all images together may be too many for a matcher, which is an error.
    let Ok(profiles) = Profiles::new(all) else { return };
    profiles.for_image(&text);
}
