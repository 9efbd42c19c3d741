//! The room that a request leaves to the next, seen by the memory that it takes.

use peak_alloc::PeakAlloc;
use watertight::{keep_extensions, spare_extensions};

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

#[derive(Clone)]
struct Given<const N: usize>;

/// What the thread keeps of `extensions`, in bytes.
fn kept(fill: impl FnOnce(&mut http::Extensions)) -> usize {
    // What was kept before.
    drop(spare_extensions());
    let before = MEMORY.current_usage();
    let mut extensions = spare_extensions();
    fill(&mut extensions);
    keep_extensions(&mut extensions);
    MEMORY.current_usage() - before
}

macro_rules! insert {
    ($extensions:ident: $($n:literal)*) => { $( $extensions.insert(Given::<$n>); )* };
}

/// One test alone in its process: others would take memory meanwhile.
#[test]
fn room_for_a_few_things_is_kept_once_and_given_to_the_next() {
    let small = kept(|extensions| {
        insert!(extensions: 0 1);
    });
    assert!((1..1024).contains(&small), "{small} bytes");
    let before = MEMORY.current_usage();
    for _ in 0..3 {
        let mut extensions = spare_extensions();
        let taken = MEMORY.current_usage();
        insert!(extensions: 0 1);
        assert_eq!(MEMORY.current_usage(), taken, "it has the room, and what has no size takes none");
        keep_extensions(&mut extensions);
        assert_eq!(MEMORY.current_usage(), before);
    }

    let nothing = kept(|_| ());
    assert_eq!(nothing, 0);
    let large = kept(|extensions| {
        insert!(extensions: 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14);
    });
    assert_eq!(large, 0, "15 things are more than a request is usually given");
    let most = kept(|extensions| {
        insert!(extensions: 0 1 2 3 4 5 6 7 8 9 10 11 12 13);
    });
    assert!((small..=1024).contains(&most), "{most} bytes");
}
