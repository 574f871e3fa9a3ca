//! tRPC: one request may call several procedures, whose names stand in the path with `,` between them.
//! The names come from the wire, so only those that a profile lists are shown or mean something.

use std::collections::HashMap;

use super::tree::Segments;
use crate::profiles::{Trpc, events::Event};

/// Procedures of one request that are looked at. LobeChat's client sends at most 2,083 characters, which is fewer.
const MAX_CALLS: usize = 128;

/// The procedures that a profile lists.
#[derive(Debug, Default)]
pub(super) struct Procedures {
    /// What each means, by router, or by `""` for all routers.
    by_router: HashMap<String, HashMap<String, Vec<Event>>>,
}

/// What a request calls.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Call {
    /// One procedure that is listed.
    Single(String),
    /// One that is not.
    Other,
    /// Several.
    Batch,
}

impl Procedures {
    pub(super) fn new(trpc: &Trpc) -> Self {
        let mut procedures = Self::default();
        let meaningless = trpc.procedures.iter().map(|procedure| (procedure, Vec::new()));
        let meant = trpc.events.iter().flat_map(|(event, procedures)| {
            procedures.iter().map(move |procedure| (procedure, vec![*event]))
        });
        for (procedure, events) in meaningless.chain(meant) {
            let (router, name) = procedure.split_once('/').unwrap_or(("", procedure));
            procedures.by_router.entry(router.to_owned()).or_default().insert(name.to_owned(), events);
        }
        procedures
    }

    /// How many values the list's routes can have, for a router.
    pub(super) fn len(&self) -> usize {
        // With `{batch}` and `{other}`.
        self.by_router.values().map(HashMap::len).sum::<usize>() + 2
    }

    /// What a path calls, and the events that this is: one for each procedure that is one.
    pub(super) fn read(&self, path: &Segments<'_>) -> (Call, Vec<Event>) {
        let [.., router, list] = path else {
            return (Call::Other, Vec::new());
        };
        let router = str::from_utf8(router).unwrap_or_default();
        let mut names = list.split(|byte| *byte == b',').filter_map(|name| str::from_utf8(name).ok());
        if !list.contains(&b',') {
            let known = names.next().and_then(|name| Some((name, self.get(router, name)?)));
            return match known {
                Some((name, events)) => (Call::Single(name.to_owned()), events.to_vec()),
                None => (Call::Other, Vec::new()),
            };
        }
        let events = names.take(MAX_CALLS).filter_map(|name| self.get(router, name)).flatten();
        (Call::Batch, events.copied().collect())
    }

    /// `None` for a procedure that is not listed.
    fn get(&self, router: &str, name: &str) -> Option<&[Event]> {
        let of = |router: &str| self.by_router.get(router)?.get(name);
        of(router).or_else(|| of("")).map(Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::path::segments, *};

    fn read(path: &str) -> (Call, Vec<Event>) {
        let trpc: Trpc = toml::from_str(
            r#"
            path = "/trpc/{lambda|async}"
            procedures = ["user.getUserState", "async/image.createImage"]
            events.image_generation = ["image.createImage"]
            events.session_created = ["session.createSession"]
            "#,
        )
        .unwrap();
        Procedures::new(&trpc).read(&segments(path.as_bytes()))
    }

    #[test]
    fn listed_procedures_have_their_names_and_events() {
        let single = |name: &str| Call::Single(name.to_owned());
        assert_eq!(read("/trpc/lambda/user.getUserState"), (single("user.getUserState"), vec![]));
        let created = vec![Event::SessionCreated];
        assert_eq!(read("/trpc/lambda/session.createSession"), (single("session.createSession"), created));
        assert_eq!(read("/trpc/lambda/secret.of-a-user"), (Call::Other, vec![]));
        assert_eq!(read("/trpc/lambda/\u{e4}"), (Call::Other, vec![]));
    }

    #[test]
    fn a_router_may_have_its_own_meaning() {
        assert_eq!(read("/trpc/lambda/image.createImage").1, [Event::ImageGeneration]);
        assert_eq!(read("/trpc/async/image.createImage").1, []);
    }

    #[test]
    fn a_batch_is_one_route_and_an_event_for_each_procedure() {
        let batch = "/trpc/lambda/user.getUserState,session.createSession,x,session.createSession";
        assert_eq!(read(batch), (Call::Batch, vec![Event::SessionCreated, Event::SessionCreated]));
        assert_eq!(read("/trpc/lambda/image.createImage%2Cx"), (Call::Batch, vec![Event::ImageGeneration]));
    }
}
