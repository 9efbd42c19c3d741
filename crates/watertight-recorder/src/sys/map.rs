//! A file as words that any thread, and any process, may change.

use std::fs::File;
use std::io;
use std::sync::atomic::AtomicU64;

use memmap2::MmapRaw;

/// Maps the whole of `file`, for the rest of the process's life. The file must keep its length: access beyond its end
/// is a fault.
pub(crate) fn words(file: &File) -> io::Result<&'static [AtomicU64]> {
    let map = MmapRaw::map_raw(file)?;
    let (begin, length) = (map.as_mut_ptr(), map.len() / size_of::<AtomicU64>());
    // It is never unmapped.
    std::mem::forget(map);
    // SAFETY: the mapping begins at a page, so it is aligned; it has at least that many words, can be read and written, and
    // stays for ever. Any bytes are a valid `AtomicU64`. Other threads and processes access it as atomics or through system
    // calls, and nobody has a reference to it as anything else.
    Ok(unsafe { std::slice::from_raw_parts(begin.cast::<AtomicU64>(), length) })
}
