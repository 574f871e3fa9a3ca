//! What a profile must hold to beside its types: names that are label values, routes that can be reached.
//! The first mistake is reported with the key where it stands.

use std::collections::BTreeSet;

use super::Method;
use super::{Profile, glob};

/// A mistake in a profile.
#[derive(Debug)]
pub(super) struct Mistake {
    /// The key, with `.` between tables.
    pub(super) key: &'static str,
    /// Which entry, where the first part of the key is an array.
    pub(super) index: Option<usize>,
    /// What is wrong and what is allowed.
    pub(super) message: String,
}

/// The first mistake of a profile.
pub(super) fn check(profile: &Profile) -> Result<(), Mistake> {
    let mistake = |key, index, message| Err(Mistake { key, index, message });
    let name = &profile.name;
    if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()) {
        let message =
            format!("`{name}` is no name of a profile: lower-case letters and digits, as in \"mychat\"");
        return mistake("name", None, message);
    }
    for (index, image) in profile.images.iter().enumerate() {
        if let Err(error) = glob(image) {
            return mistake("images", Some(index), error.to_string());
        }
    }
    if let Some(detect) = &profile.detect
        && let Err(error) = glob(&detect.exe)
    {
        return mistake("detect.exe", None, error.to_string());
    }
    if let Some(processes) = &profile.processes {
        processes.check()?;
    }
    for (index, prefix) in profile.id_prefixes.iter().enumerate() {
        if prefix.is_empty() || !prefix.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            let message = format!("`{prefix}` is no prefix of ids: letters and digits before the `_`");
            return mistake("id_prefixes", Some(index), message);
        }
    }
    check_routes(profile)?;
    for (index, trpc) in profile.trpc.iter().enumerate() {
        let mut seen = BTreeSet::new();
        for procedure in trpc.procedures.iter().chain(trpc.events.values().flatten()) {
            if !is_procedure(procedure) {
                let message = format!(
                    "`{procedure}` is no procedure: names with `.` between them, as in \"session.createSession\", or \
                     with a router, as in \"async/file.parseFileToChunks\""
                );
                return mistake("trpc", Some(index), message);
            }
            if !seen.insert(procedure) {
                return mistake("trpc", Some(index), format!("`{procedure}` is listed twice"));
            }
        }
    }
    Ok(())
}

fn check_routes(profile: &Profile) -> Result<(), Mistake> {
    let mut seen: BTreeSet<(Option<Method>, String)> = BTreeSet::new();
    for (index, route) in profile.routes.iter().enumerate() {
        let index = Some(index);
        if let (Some(event), None) = (route.event, route.method) {
            let message =
                format!("a route with an event (`{event}`) needs a method, such as method = \"POST\"");
            return Err(Mistake { key: "routes.event", index, message });
        }
        for pattern in route.path.expand() {
            if !seen.insert((route.method, pattern.shape())) {
                let message =
                    format!("`{pattern}` has the method and the shape of an earlier route, which hides it");
                return Err(Mistake { key: "routes.path", index, message });
            }
        }
    }
    Ok(())
}

/// tRPC's own rule for procedures, with at most two routers before the name, and our own for `router/`.
fn is_procedure(text: &str) -> bool {
    let procedure = match text.split_once('/') {
        Some((router, procedure)) if is_name(router) => procedure,
        Some(_) => return false,
        None => text,
    };
    procedure.split('.').count() <= 3 && procedure.split('.').all(is_name)
}

fn is_name(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_lowercase())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}
