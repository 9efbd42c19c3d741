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
    /// When the window started that `told` counts.
    since: Instant,
    told: u32,
    /// Not summarised yet.
    omitted: u64,
    omitted_since: Instant,
}

pub(super) struct Summary {
    pub(super) location: Option<Location>,
    pub(super) component: Component,
    pub(super) omitted: u64,
    pub(super) window: Duration,
}

impl Storms {
    pub(super) fn new(limit: u32) -> Self {
        Self { limit, places: HashMap::new() }
    }

    /// Counts an incident; whether it is over the limit of its location.
    pub(super) fn count(&mut self, location: Option<&Location>, component: &Component, now: Instant) -> bool {
        let known = self.places.contains_key(&location.cloned());
        let key = if known || self.places.len() < MAX_LOCATIONS { location.cloned() } else { None };
        let place = self.places.entry(key).or_insert_with(|| Place {
            component: component.clone(),
            since: now,
            told: 0,
            omitted: 0,
            omitted_since: now,
        });
        // Here and not in the sweep, which may come seldom: the limit is one per window.
        if now.duration_since(place.since) >= WINDOW {
            place.since = now;
            place.told = 0;
        }
        if place.told < self.limit {
            place.told += 1;
            return false;
        }
        if place.omitted == 0 {
            place.omitted_since = now;
        }
        place.omitted += 1;
        true
    }

    /// The summaries that are due by `now`: of each location at most one per window. Places that have been quiet
    /// for a window are forgotten.
    pub(super) fn summaries(&mut self, now: Instant) -> Vec<Summary> {
        let mut summaries = Vec::new();
        self.places.retain(|location, place| {
            let Place { component, since, told: _, omitted, omitted_since } = place;
            let window = now.duration_since(*omitted_since);
            if *omitted > 0 && window >= WINDOW {
                let (location, component) = (location.clone(), component.clone());
                summaries.push(Summary { location, component, omitted: std::mem::take(omitted), window });
            }
            *omitted > 0 || now.duration_since(*since) < WINDOW
        });
        summaries
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
        let omitted = (0..100).filter(|_| storms.count(Some(&place), &Component::UserCode, start)).count();
        assert_eq!(omitted, 97);
        assert!(!storms.count(Some(&Location::new("src/b.rs", 1, 1)), &Component::UserCode, start));
        assert!(storms.summaries(start).is_empty(), "the window is not over");
        let summaries = storms.summaries(start + WINDOW);
        assert_eq!(summaries.len(), 1);
        assert_eq!((summaries[0].omitted, summaries[0].location.as_ref()), (97, Some(&place)));
        assert!(!storms.count(Some(&place), &Component::UserCode, start + WINDOW), "starts anew");
    }

    #[test]
    fn the_limit_is_per_window_however_seldom_it_is_swept() {
        let mut storms = Storms::new(3);
        let start = Instant::now();
        let place = Location::new("src/a.rs", 1, 1);
        let mut told =
            |at: Instant| (0..100).filter(|_| !storms.count(Some(&place), &Component::UserCode, at)).count();
        assert_eq!(told(start), 3);
        assert_eq!(told(start + WINDOW / 2), 0);
        assert_eq!(told(start + WINDOW), 3);
        let summaries = storms.summaries(start + 2 * WINDOW);
        assert_eq!(
            (summaries[0].omitted, summaries[0].window),
            (97 + 100 + 97, 2 * WINDOW),
            "nothing is left out twice"
        );
        assert!(storms.summaries(start + 4 * WINDOW).is_empty() && storms.places.is_empty());
    }

    #[test]
    fn is_bounded_whatever_panics() {
        let mut storms = Storms::new(1);
        let now = Instant::now();
        for line in 0..10 * MAX_LOCATIONS as u32 {
            storms.count(Some(&Location::new("src/a.rs", line, 1)), &Component::UserCode, now);
        }
        assert!(storms.places.len() <= MAX_LOCATIONS + 1);
    }
}
