//! What is counted of the business events of one target.

use observer_ebpf::records::histogram::LONG_NS;

use super::histogram::LongTimes;
use crate::exchanges::events::{Event, Outcome};

/// Events of one name.
#[derive(Debug, Default)]
pub(in crate::collectors) struct Events {
    /// How many, by [`Outcome`].
    pub(in crate::collectors) counts: [u64; Outcome::ALL.len()],
    /// From the first byte of the request to the end of the answer.
    pub(in crate::collectors) duration: LongTimes,
}

/// Events by name; a name that never came up costs a pointer.
#[derive(Debug, Default)]
pub(in crate::collectors) struct EventCounts(Vec<Option<Box<Events>>>);

impl EventCounts {
    /// Counts an event that took `duration_ns`.
    pub(super) fn count(&mut self, event: Event, outcome: Outcome, duration_ns: u64) {
        if self.0.is_empty() {
            self.0.resize_with(Event::ALL.len(), || None);
        }
        let events = self.0[event as usize].get_or_insert_default();
        events.counts[outcome as usize] += 1;
        events.duration.observe(&LONG_NS, duration_ns);
    }

    /// The events that came up.
    pub(in crate::collectors) fn iter(&self) -> impl Iterator<Item = (Event, &Events)> {
        Event::ALL.iter().zip(&self.0).filter_map(|(event, events)| Some((*event, events.as_deref()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_counted_under_their_own_name_and_outcome() {
        let mut counts = EventCounts::default();
        assert_eq!(counts.iter().count(), 0);
        counts.count(Event::Signup, Outcome::Aborted, 5);
        counts.count(Event::Signup, Outcome::Ok, 5);
        let all: Vec<_> = counts.iter().map(|(event, events)| (event, events.counts)).collect();
        assert_eq!(all, [(Event::Signup, [1, 0, 0, 1])]);
    }
}
