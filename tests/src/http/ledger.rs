//! What a client asked and got, in the terms of the metrics: by method, route and status.
//! Also by path, which is what a server's own log tells.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, ensure};

use super::client::Answer;

/// The labels that all figures of a request share.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    /// The method.
    pub method: String,
    /// The template.
    pub route: String,
}

/// Requests of one method and route.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Requests {
    /// How many were answered so; 499 and 0 as the metrics have them.
    pub statuses: BTreeMap<u16, u64>,
    /// Bytes of all bodies that were sent.
    pub request_bytes: u64,
    /// Bytes of all bodies that came back.
    pub response_bytes: u64,
    /// How long each took, in seconds; empty where that is not known.
    pub durations: Vec<f64>,
}

/// What a server's log says too: method, path without query, status.
pub type Logged = BTreeMap<(String, String, u16), u64>;

/// A request's path.
pub fn without_query(target: &str) -> &str {
    target.split('?').next().unwrap_or_default()
}

/// All requests.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ledger {
    routes: BTreeMap<Route, Requests>,
    logged: Logged,
}

impl Ledger {
    /// Enters one exchange.
    pub fn enter(&mut self, method: &str, route: &str, path: &str, sent: u64, answer: &Answer) {
        let requests = self.expect(method, route, answer.status, 1, sent, answer.body);
        requests.durations.push(answer.duration.as_secs_f64());
        let path = without_query(path).to_owned();
        *self.logged.entry((method.to_owned(), path, answer.status)).or_default() += 1;
    }

    /// Enters `count` exchanges whose duration is not known, and with all of them so many bytes.
    pub fn expect(
        &mut self,
        method: &str,
        route: &str,
        status: u16,
        count: u64,
        sent: u64,
        received: u64,
    ) -> &mut Requests {
        let key = Route { method: method.to_owned(), route: route.to_owned() };
        let requests = self.routes.entry(key).or_default();
        *requests.statuses.entry(status).or_default() += count;
        requests.request_bytes += sent;
        requests.response_bytes += received;
        requests
    }

    /// Adds all of `other`.
    pub fn add(&mut self, other: Self) {
        for (key, requests) in other.routes {
            let own = self.routes.entry(key).or_default();
            for (status, count) in requests.statuses {
                *own.statuses.entry(status).or_default() += count;
            }
            own.request_bytes += requests.request_bytes;
            own.response_bytes += requests.response_bytes;
            own.durations.extend(requests.durations);
        }
        for (key, count) in other.logged {
            *self.logged.entry(key).or_default() += count;
        }
    }

    /// The same without durations, for where the server could not know when a request began.
    #[must_use]
    pub fn without_durations(mut self) -> Self {
        self.routes.values_mut().for_each(|requests| requests.durations.clear());
        self
    }

    /// By method and route.
    pub fn routes(&self) -> &BTreeMap<Route, Requests> {
        &self.routes
    }

    /// Fails where the servers' own logs tell something else, and names the first lines that differ.
    pub fn same_as_logged(&self, logged: &Logged) -> Result<()> {
        const SHOWN: usize = 10;
        let count = |of: &Logged, key| of.get(key).copied().unwrap_or_default();
        let keys: BTreeSet<_> = self.logged.keys().chain(logged.keys()).collect();
        let differing = keys.iter().filter(|key| count(&self.logged, key) != count(logged, key));
        let lines =
            differing.map(|key| format!("{key:?}: {} and {}", count(&self.logged, key), count(logged, key)));
        let lines: Vec<String> = lines.take(SHOWN).collect();
        ensure!(lines.is_empty(), "the client's log and the servers' differ:\n{}", lines.join("\n"));
        Ok(())
    }

    /// All requests.
    pub fn count(&self) -> u64 {
        self.routes.values().map(Requests::count).sum()
    }
}

impl Requests {
    /// All of them.
    pub fn count(&self) -> u64 {
        self.statuses.values().sum()
    }

    /// Those that came to the head of an answer.
    pub fn answered(&self) -> u64 {
        let answered = self.statuses.iter().filter(|(status, _)| !matches!(status, 0 | 499));
        answered.map(|(_, count)| count).sum()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn exchanges_are_entered_by_route_and_by_path() {
        let answer = Answer { status: 201, body: 7, duration: Duration::from_millis(3), last: false };
        let mut ledger = Ledger::default();
        ledger.enter("POST", "/a/{number}", "/a/1?x=2", 5, &answer);
        let mut other = Ledger::default();
        other.enter("POST", "/a/{number}", "/a/2", 5, &Answer { status: 500, ..answer });
        ledger.add(other);
        let (route, requests) = ledger.routes().first_key_value().unwrap();
        assert_eq!((route.method.as_str(), route.route.as_str()), ("POST", "/a/{number}"));
        assert_eq!(requests.statuses, BTreeMap::from([(201, 1), (500, 1)]));
        assert_eq!((requests.request_bytes, requests.response_bytes, ledger.count()), (10, 14, 2));
        let line = |path: &str, status| ("POST".to_owned(), path.to_owned(), status);
        let mut logged = Logged::from([(line("/a/1", 201), 1), (line("/a/2", 500), 1)]);
        ledger.same_as_logged(&logged).unwrap();
        logged.insert(line("/a/3", 200), 1);
        assert!(ledger.same_as_logged(&logged).unwrap_err().to_string().contains("/a/3"));
    }
}
