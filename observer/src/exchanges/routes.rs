//! From a request's method, path and status to its route: a template of a bounded set, and what the request means.
//! The profile's routes are asked first; what they do not list falls under the general rule of [`shape`].

mod cache;
mod path;
mod shape;
#[cfg(test)]
mod tests;
mod tree;
mod trpc;

use std::{
    collections::{HashMap, HashSet},
    fmt,
    hash::{BuildHasher as _, RandomState},
    sync::Arc,
};

use self::{
    cache::Cache,
    tree::{Match, Segments, Tree},
    trpc::{Call, Procedures},
};
use crate::profiles::{
    Method, Profile,
    events::{Event, Outcomes},
    pattern::{Pattern, Segment},
};

/// Template of every route past the budget; the same word as for every other label.
pub const OTHER: &str = crate::collectors::overflow::OTHER;
/// Template of what is answered with 404 and is not a route of the profile: mostly scanners.
pub const UNMATCHED: &str = "{unmatched}";

/// Values past the budget that are told apart, so that each counts once.
const OVERFLOWS: usize = 4096;

/// A template's number, from 0 in the order of their first requests: an index for collectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RouteId(pub u32);

/// What a request asked for.
#[derive(Clone, Debug)]
pub struct Route {
    /// Of the template; the same for all requests with it.
    pub id: RouteId,
    /// The label `route`.
    pub template: Arc<str>,
    /// The label `method`.
    pub method: Method,
    /// Whether the profile says that this answer is a stream, whatever its head says. Never for an error.
    pub stream: bool,
    /// Whether the profile says that it counts also where the target called itself.
    pub self_calls: bool,
    /// What the request means: none, one, or for a tRPC batch one for each procedure that is an event.
    pub events: Arc<[Event]>,
}

/// The routes of one target.
pub struct Router {
    /// The profile, then what it extends.
    layers: Vec<Tree<Listed>>,
    id_prefixes: Vec<String>,
    outcomes: Outcomes,
    budget: Budget,
    ids: HashMap<Arc<str>, RouteId>,
    other: Arc<str>,
    unmatched: Arc<str>,
    nothing: Arc<[Event]>,
    cache: Cache<Found>,
    /// Scratch for the cache's keys and for templates.
    key: Vec<u8>,
    text: String,
}

/// A route of a profile, without choices.
#[derive(Clone, Debug)]
struct Listed {
    template: Arc<str>,
    stream: bool,
    self_calls: bool,
    events: Arc<[Event]>,
    /// Whether a 404 is an answer of this route, rather than of a path that does not exist.
    exact: bool,
    procedures: Option<Arc<Procedures>>,
}

/// The outcome of a look-up, before the status is looked at.
#[derive(Clone, Debug)]
struct Found {
    route: Route,
    exact: bool,
}

/// How many templates there may be.
struct Budget {
    all: usize,
    /// Those that the general rule may make: a profile's routes are not crowded out by whoever scans the target.
    unlisted: usize,
    used_unlisted: usize,
    hasher: RandomState,
    overflowed: HashSet<u64>,
    on_overflow: Option<Box<dyn Fn() + Send + Sync>>,
}

impl fmt::Debug for Router {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Router").field("ids", &self.ids).finish_non_exhaustive()
    }
}

impl Router {
    /// The routes of a profile, with at most `budget` templates beside [`OTHER`] and [`UNMATCHED`].
    pub fn new(profile: &Profile, budget: usize) -> Self {
        let mut listed = 0;
        let nothing: Arc<[Event]> = Arc::new([]);
        let layers: Vec<_> = profile.layers().map(|layer| compile(layer, &nothing, &mut listed)).collect();
        let (other, unmatched) = (Arc::from(OTHER), Arc::from(UNMATCHED));
        Self {
            layers,
            id_prefixes: profile.layers().flat_map(|layer| layer.id_prefixes.iter().cloned()).collect(),
            outcomes: profile.all_outcomes(),
            budget: Budget {
                all: budget,
                unlisted: budget - listed.min(budget / 2),
                used_unlisted: 0,
                hasher: RandomState::new(),
                overflowed: HashSet::new(),
                on_overflow: None,
            },
            ids: HashMap::from([(Arc::clone(&other), RouteId(0)), (Arc::clone(&unmatched), RouteId(1))]),
            other,
            unmatched,
            nothing,
            cache: Cache::default(),
            key: Vec::new(),
            text: String::new(),
        }
    }

    /// Gives requests the routes of another profile from now on. Templates keep their numbers, and those that were used
    /// keep their room.
    pub fn turn_to(&mut self, profile: &Profile) {
        let new = Self::new(profile, self.budget.all);
        self.layers = new.layers;
        self.id_prefixes = new.id_prefixes;
        self.outcomes = new.outcomes;
        self.budget.unlisted = new.budget.unlisted;
        self.cache = new.cache;
    }

    /// Calls `on_overflow` for each template that finds no room in the budget: once per template, as long as they are
    /// not too many to remember.
    #[must_use]
    pub fn on_overflow(mut self, on_overflow: impl Fn() + Send + Sync + 'static) -> Self {
        self.budget.on_overflow = Some(Box::new(on_overflow));
        self
    }

    /// What the app's status codes mean.
    pub fn outcomes(&self) -> &Outcomes {
        &self.outcomes
    }

    /// The route of a request. `path` is the request target as it was sent; its query is not looked at. `status` is 0
    /// where there was no answer.
    pub fn route(&mut self, method: &[u8], path: &[u8], status: u16) -> Route {
        let method = Method::from_bytes(method);
        let Some(path) = path::of_target(path).or_else(|| path::of_authority(method, path)) else {
            return self.unmatched(method);
        };
        let found = self.found(method, path, status);
        match found {
            Some(Found { route, exact }) if exact || status != 404 => {
                Route { stream: route.stream && (200..300).contains(&status), ..route }
            }
            _ => self.unmatched(method),
        }
    }

    /// `None` for what is not listed and does not exist either; that is not remembered, so that scanners push nothing
    /// out of the cache.
    fn found(&mut self, method: Method, path: &[u8], status: u16) -> Option<Found> {
        self.key.clear();
        self.key.push(method.number());
        self.key.extend_from_slice(path);
        if let Some(found) = self.cache.get(&self.key) {
            return Some(found);
        }
        if matches!(path, b"*" | path::AUTHORITY) {
            let template = String::from_utf8_lossy(path);
            let (id, template) = self.room(&template, false);
            let events = Arc::clone(&self.nothing);
            let route = Route { id, template, method, stream: false, self_calls: false, events };
            return Some(Found { route, exact: false });
        }
        let segments = path::segments(path);
        let found = match self.listed(method, &segments) {
            Some(listed) if listed.exact || status != 404 => self.of_listed(method, &listed, &segments),
            None if status != 404 => self.unlisted(method, &segments),
            _ => return None,
        };
        self.cache.put(&self.key, found.clone());
        Some(found)
    }

    /// The most specific route of the first profile that has one for this method. A path that is listed for other
    /// methods only is still that route (`OPTIONS` before a `POST`), but means nothing.
    fn listed(&self, method: Method, segments: &Segments<'_>) -> Option<Listed> {
        let mut other = None;
        for tree in &self.layers {
            match tree.find(method, segments) {
                Some(Match::Meant(listed)) => return Some(listed.clone()),
                Some(Match::Other(listed)) => other = other.or(Some(listed)),
                None => {}
            }
        }
        let listed = other?.clone();
        let procedures = listed.procedures.map(|_| Arc::default());
        Some(Listed { stream: false, events: Arc::clone(&self.nothing), procedures, ..listed })
    }

    fn of_listed(&mut self, method: Method, listed: &Listed, segments: &Segments<'_>) -> Found {
        let Listed { template, stream, self_calls, events, exact, procedures } = listed;
        let (stream, self_calls, exact) = (*stream, *self_calls, *exact);
        let Some(procedures) = procedures else {
            let (id, template) = self.room(template, true);
            return Found {
                route: Route { id, template, method, stream, self_calls, events: Arc::clone(events) },
                exact,
            };
        };
        let (call, events) = procedures.read(segments);
        let name = match &call {
            Call::Single(name) => name,
            Call::Other => "{other}",
            Call::Batch => "{batch}",
        };
        let (id, template) = self.room(&format!("{template}/{name}"), true);
        // A procedure that does not exist is answered with 404 too.
        let exact = call != Call::Other;
        Found { route: Route { id, template, method, stream, self_calls, events: events.into() }, exact }
    }

    fn unlisted(&mut self, method: Method, segments: &Segments<'_>) -> Found {
        let mut text = std::mem::take(&mut self.text);
        shape::template(segments, &self.id_prefixes, &mut text);
        let (id, template) = self.room(&text, false);
        self.text = text;
        let events = Arc::clone(&self.nothing);
        Found {
            route: Route { id, template, method, stream: false, self_calls: false, events },
            exact: false,
        }
    }

    /// A template's number; those of [`OTHER`] where there is no room for it.
    fn room(&mut self, template: &str, listed: bool) -> (RouteId, Arc<str>) {
        if let Some((template, id)) = self.ids.get_key_value(template) {
            return (*id, Arc::clone(template));
        }
        // The two that are always there do not count.
        let used = self.ids.len().saturating_sub(2);
        let next = u32::try_from(self.ids.len()).ok().filter(|_| self.budget.admits(used, listed));
        let Some(next) = next else {
            self.budget.overflow(template);
            return (RouteId(0), Arc::clone(&self.other));
        };
        let template: Arc<str> = Arc::from(template);
        self.ids.insert(Arc::clone(&template), RouteId(next));
        (RouteId(next), template)
    }

    fn unmatched(&self, method: Method) -> Route {
        let (template, events) = (Arc::clone(&self.unmatched), Arc::clone(&self.nothing));
        Route { id: RouteId(1), template, method, stream: false, self_calls: false, events }
    }
}

impl Budget {
    fn admits(&mut self, used: usize, listed: bool) -> bool {
        if used >= self.all || !listed && self.used_unlisted >= self.unlisted {
            return false;
        }
        self.used_unlisted += usize::from(!listed);
        true
    }

    fn overflow(&mut self, template: &str) {
        let new =
            self.overflowed.len() >= OVERFLOWS || self.overflowed.insert(self.hasher.hash_one(template));
        if let (true, Some(on_overflow)) = (new, &self.on_overflow) {
            on_overflow();
        }
    }
}

/// The tree of one profile, without what it extends; adds to `count` how many templates it can give.
fn compile(profile: &Profile, nothing: &Arc<[Event]>, count: &mut usize) -> Tree<Listed> {
    let mut tree = Tree::default();
    for route in &profile.routes {
        let events = route.event.map_or_else(|| Arc::clone(nothing), |event| Arc::new([event]));
        for pattern in route.path.expand() {
            *count += 1;
            let listed = listed(&pattern, route.stream, &events);
            tree.insert(route.method, &pattern, Listed { self_calls: route.self_calls, ..listed });
        }
    }
    for folder in profile.static_folders.iter().flat_map(Pattern::expand) {
        *count += 1;
        let pattern = folder.with_rest();
        tree.insert(None, &pattern, listed(&pattern, false, nothing));
    }
    for trpc in &profile.trpc {
        let procedures = Arc::new(Procedures::new(trpc));
        for router in trpc.path.expand() {
            *count += procedures.len();
            let listed =
                Listed { procedures: Some(Arc::clone(&procedures)), ..listed(&router, false, nothing) };
            let pattern = router.with(Segment::Any("procedures".to_owned()));
            // Queries and mutations; tRPC has no other methods over HTTP.
            for method in [Method::GET, Method::POST] {
                tree.insert(Some(method), &pattern, listed.clone());
            }
        }
    }
    tree
}

fn listed(pattern: &Pattern, stream: bool, events: &Arc<[Event]>) -> Listed {
    let (template, events) = (pattern.template().into(), Arc::clone(events));
    Listed { template, stream, self_calls: false, events, exact: !pattern.has_rest(), procedures: None }
}
