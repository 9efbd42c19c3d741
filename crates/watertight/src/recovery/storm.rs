//! Storms: the first few incidents of a location are told one by one, the rest as a number.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::fault::{Component, Location};

/// The time in which incidents of one location are counted together.
const WINDOW: Duration = Duration::from_secs(1);
/// How many locations are counted apart; what comes on top shares one entry.
const MAX_LOCATIONS: usize = 1024;

pub(super) struct Storms {
    limit: u32,
    places: HashMap<Option<Location>, Place>,
}

struct Place {
    component: Component,
    since: Instant,
    told: u32,
    omitted: u64,
}

pub(super) struct Summary {
    pub(super) location: Option<Location>,
    pub(super) component: Component,
    pub(super) omitted: u64,
    pub(super) window: Duration,
}

impl Storms {
    pub(super) fn new(limit: u32) -> Self {
        Self {
            limit,
            places: HashMap::new(),
        }
    }

    /// Counts an incident; whether it is over the limit of its location.
    pub(super) fn count(&mut self, location: Option<&Location>, component: &Component, now: Instant) -> bool {
        let known = self.places.contains_key(&location.cloned());
        let key = if known || self.places.len() < MAX_LOCATIONS {
            location.cloned()
        } else {
            None
        };
        let place = self.places.entry(key).or_insert_with(|| Place {
            component: component.clone(),
            since: now,
            told: 0,
            omitted: 0,
        });
        if place.told < self.limit {
            place.told += 1;
            return false;
        }
        place.omitted += 1;
        true
    }

    /// The summaries of all windows that are over by `now`; those locations start anew.
    pub(super) fn summaries(&mut self, now: Instant) -> Vec<Summary> {
        let over = self
            .places
            .extract_if(|_, place| now.duration_since(place.since) >= WINDOW);
        over.filter(|(_, place)| place.omitted > 0)
            .map(
                |(
                    location,
                    Place {
                        component,
                        since,
                        told: _,
                        omitted,
                    },
                )| Summary {
                    location,
                    component,
                    omitted,
                    window: now.duration_since(since),
                },
            )
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_some_and_counts_the_rest() {
        let mut storms = Storms::new(3);
        let start = Instant::now();
        let place = Location::new("src/a.rs", 1, 1);
        let omitted = (0..100)
            .filter(|_| storms.count(Some(&place), &Component::UserCode, start))
            .count();
        assert_eq!(omitted, 97);
        assert!(!storms.count(
            Some(&Location::new("src/b.rs", 1, 1)),
            &Component::UserCode,
            start
        ));
        assert!(storms.summaries(start).is_empty(), "the window is not over");
        let summaries = storms.summaries(start + WINDOW);
        assert_eq!(summaries.len(), 1);
        assert_eq!(
            (summaries[0].omitted, summaries[0].location.as_ref()),
            (97, Some(&place))
        );
        assert!(
            !storms.count(Some(&place), &Component::UserCode, start + WINDOW),
            "starts anew"
        );
    }

    #[test]
    fn is_bounded_whatever_panics() {
        let mut storms = Storms::new(1);
        let now = Instant::now();
        for line in 0..10 * MAX_LOCATIONS as u32 {
            storms.count(
                Some(&Location::new("src/a.rs", line, 1)),
                &Component::UserCode,
                now,
            );
        }
        assert!(storms.places.len() <= MAX_LOCATIONS + 1);
    }
}
