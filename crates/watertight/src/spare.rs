//! What a request leaves to the next one on its thread.
//!
//! A request is given things on its way to whoever answers it: axum's router adds two to each. The table for them is made anew for
//! each request, and taken apart with it. To use one again saves some 700 instructions of an echo over polling, which is two requests.

use std::cell::Cell;
use std::mem;

use http::Extensions;

/// How many things may be in a table that is kept: a table for more takes over 1 KiB.
const MOST: usize = 14;

thread_local! {
    static SPARE: Cell<Extensions> = Cell::new(Extensions::new());
}

/// Extensions without anything in them, for a request that has none. Has room when [`keep_extensions`] has been called on this
/// thread since.
#[doc(hidden)]
#[must_use]
#[inline]
pub fn spare_extensions() -> Extensions {
    SPARE.try_with(Cell::take).unwrap_or_default()
}

/// Drops what a request was given on its way, which nobody will ask for any more, and keeps the room for another.
///
/// # Panics
///
/// When something in it panics as it is dropped. The request has none of it any more then.
#[doc(hidden)]
#[inline]
pub fn keep_extensions(extensions: &mut Extensions) {
    let mut kept = mem::take(extensions);
    if kept.is_empty() || kept.len() > MOST {
        return;
    }
    kept.clear();
    // A thread that ends keeps nothing.
    let _ = SPARE.try_with(|spare| spare.set(kept));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::Arc;

    #[test]
    fn nothing_is_left_of_the_request_before() {
        let held = Arc::new(());
        let mut given = Extensions::new();
        given.insert(Arc::clone(&held));
        keep_extensions(&mut given);
        assert!(given.is_empty());
        assert_eq!(Arc::strong_count(&held), 1, "dropped at once");
        let next = spare_extensions();
        assert!(next.is_empty() && next.get::<Arc<()>>().is_none());
    }

    #[test]
    fn what_panics_as_it_is_dropped_is_not_kept() {
        #[derive(Clone)]
        struct Panics;
        impl Drop for Panics {
            fn drop(&mut self) {
                panic!("as it is dropped");
            }
        }
        let mut given = Extensions::new();
        given.insert(Panics);
        given.insert("something else");
        let kept = catch_unwind(AssertUnwindSafe(|| keep_extensions(&mut given)));
        assert!(kept.is_err());
        assert!(given.is_empty() && spare_extensions().is_empty());
    }
}
