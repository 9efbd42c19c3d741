//! The pages of programs and libraries that nobody changes.

/// Takes code out of this process's memory: what is called again comes back from the system's cache.
///
/// # Safety
///
/// Nothing but files may be mapped at these places (begin and length), privately and unchanged since they were mapped: what
/// was written there is lost.
unsafe fn let_go(mappings: impl Iterator<Item = (usize, usize)>) {
    for (begin, length) in mappings {
        // SAFETY: as the caller promises, what is accessed there next is read from the file again, as it was. A range that
        // is not mapped any more is an error.
        unsafe { libc::madvise(std::ptr::without_provenance_mut(begin), length, libc::MADV_DONTNEED) };
    }
}

/// The mappings that are as in their files, from what the kernel says of this process's memory.
///
/// These are the code, and the first segment of each file, with its tables and constants. What the loader changes has a
/// segment of its own, which is writable, or was: that one does not begin its file.
fn unchanged(maps: &str) -> Vec<(usize, usize)> {
    let mapping = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let (range, rights, offset) = (words.next()?, words.next()?, words.next()?);
        let is_file = line.contains(" /") && !line.contains(" /memfd:") && !line.contains(" /dev/");
        let is_first = u64::from_str_radix(offset, 16).ok()? == 0;
        let (begin, end) = range.split_once('-')?;
        let begin = usize::from_str_radix(begin, 16).ok()?;
        let length = usize::from_str_radix(end, 16).ok()?.checked_sub(begin)?;
        let is_unchanged = rights == "r-xp" || (rights == "r--p" && is_first);
        (is_file && is_unchanged).then_some((begin, length))
    };
    maps.lines().filter_map(mapping).collect()
}

/// Takes the code of this program and its libraries out of this process's memory. Answers how many mappings that were.
pub(crate) fn let_go_of_all() -> usize {
    let Ok(maps) = std::fs::read_to_string("/proc/self/maps") else { return 0 };
    let mappings = unchanged(&maps);
    let count = mappings.len();
    // SAFETY: they are unwritable segments of files. On x86-64 and ARM64 linkers refuse code that is changed when it is loaded
    // (`-z text`), so it is as in the file; a debugger's breakpoints are the exception, and are lost. A file that is shortened
    // while it is mapped ends any process that uses it, with or without this.
    unsafe { let_go(mappings.into_iter()) };
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_nobody_changes_is_let_go() {
        let maps = "\
            559c4c800000-559c4ca62000 r--p 00000000 fe:00 123 /opt/my server\n\
            559c4ca62000-559c4d12c000 r-xp 00261000 fe:00 123 /opt/my server\n\
            559c4d12c000-559c4d16f000 r--p 0092a000 fe:00 123 /opt/my server\n\
            559c4d16f000-559c4d172000 rwxp 0096c000 fe:00 123 /opt/my server\n\
            559c4d172000-559c4d182000 rw-p 00000000 00:00 0 [heap]\n\
            7f1c00000000-7f1c00021000 r-xp 00000000 00:00 0 \n\
            7f1c00100000-7f1c00200000 r-xp 00000000 fe:00 9 /usr/lib/libc.so.6\n\
            7f1c00300000-7f1c00301000 r--p 00000000 00:01 7 /memfd:board (deleted)\n\
            7ffe00300000-7ffe00301000 r-xp 00000000 00:00 0 [vdso]\n\
            garbage\n";
        let expected =
            [(0x559c_4c80_0000, 0x26_2000), (0x559c_4ca6_2000, 0x6c_a000), (0x7f1c_0010_0000, 0x10_0000)];
        assert_eq!(unchanged(maps), expected);
    }

    #[test]
    fn what_is_let_go_comes_back() {
        let before = std::fs::read_to_string("/proc/self/maps").expect("it is there");
        assert!(let_go_of_all() >= 2, "the program's own: {before}");
        // This runs from what has come back.
        assert!(!unchanged(&before).is_empty());
    }
}
