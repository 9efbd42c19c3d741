//! The room that a request leaves to the next, seen by the memory that it takes.

use http::Extensions;
use peak_alloc::PeakAlloc;
use watertight::{keep_extensions, spare_extensions};

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

#[derive(Clone)]
struct Given<const N: usize>;

macro_rules! fill {
    ($($n:literal)*) => { |extensions: &mut Extensions| { $( extensions.insert(Given::<$n>); )* } };
}

/// How many bytes `work` leaves behind. The median of many tries: the test's own process may do something meanwhile.
fn left_by(mut work: impl FnMut()) -> isize {
    let usage = || MEMORY.current_usage().cast_signed();
    let mut left = [0; 21];
    for left in &mut left {
        let before = usage();
        work();
        *left = usage() - before;
    }
    left.sort_unstable();
    left[left.len() / 2]
}

/// What the thread keeps of a table that `fill` has filled, in bytes.
fn kept(fill: impl Fn(&mut Extensions)) -> isize {
    left_by(|| {
        let mut extensions = Extensions::new();
        fill(&mut extensions);
        keep_extensions(&mut extensions);
        // It is not to be given back: the next try begins without one.
        std::mem::forget(spare_extensions());
    })
}

#[test]
fn room_for_a_few_things_is_kept_once_and_given_to_the_next() {
    let small = kept(fill!(0 1));
    assert!((1..1024).contains(&small), "{small} bytes");
    let nothing = kept(|_| ());
    assert_eq!(nothing, 0);
    let large = kept(fill!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14));
    assert_eq!(large, 0, "15 things are more than a request is usually given");
    let most = kept(fill!(0 1 2 3 4 5 6 7 8 9 10 11 12 13));
    assert!((small..=1024).contains(&most), "{most} bytes");

    // It has the room, and what has no size takes none.
    let mut extensions = spare_extensions();
    fill!(0 1)(&mut extensions);
    keep_extensions(&mut extensions);
    let mut taken = spare_extensions();
    let grown = left_by(|| fill!(0 1)(&mut taken));
    assert_eq!(grown, 0);
    keep_extensions(&mut taken);
    let again = left_by(|| {
        let mut extensions = spare_extensions();
        fill!(0 1)(&mut extensions);
        keep_extensions(&mut extensions);
    });
    assert_eq!(again, 0, "one is used again and again");
}
