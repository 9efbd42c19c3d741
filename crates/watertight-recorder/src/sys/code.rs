//! The pages of the program's own code.

/// Takes the program's code out of this process's memory: what is called again comes back from the system's cache.
/// `mappings` are begin and length of mappings of the program's file, each private, executable and not writable.
///
/// # Safety
///
/// Nothing but the program's own file may be mapped there, unchanged since it was mapped: what was written there is lost.
pub(crate) unsafe fn let_go(mappings: impl Iterator<Item = (usize, usize)>) {
    for (begin, length) in mappings {
        // SAFETY: as the caller promises, what is accessed there next is read from the file again, as it was. A range that
        // is not mapped any more is an error.
        unsafe { libc::madvise(std::ptr::without_provenance_mut(begin), length, libc::MADV_DONTNEED) };
    }
}

/// The mappings of the program's code, from what the kernel says of this process's memory. A program whose code is changed
/// when it is loaded has none that may be let go.
pub(crate) fn of_program(maps: &str, program: &str) -> Vec<(usize, usize)> {
    let mapping = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let (range, rights) = (words.next()?, words.next()?);
        // Offset, device, inode, and the file's path, which may have spaces.
        let path = line.find('/').and_then(|at| line.get(at..))?;
        let (begin, end) = range.split_once('-')?;
        let begin = usize::from_str_radix(begin, 16).ok()?;
        let length = usize::from_str_radix(end, 16).ok()?.checked_sub(begin)?;
        (rights == "r-xp" && path == program).then_some((begin, length))
    };
    maps.lines().filter_map(mapping).collect()
}

/// Takes the code of this program out of this process's memory. Answers how many mappings that were.
pub(crate) fn let_go_of_program() -> usize {
    let Ok(maps) = std::fs::read_to_string("/proc/self/maps") else { return 0 };
    let Ok(program) = std::fs::read_link("/proc/self/exe") else { return 0 };
    let mappings = of_program(&maps, &program.to_string_lossy());
    let count = mappings.len();
    // SAFETY: they are the program's executable and unwritable segments. On x86-64 and ARM64 the linker refuses code that is
    // changed when it is loaded (`-z text`), so they are as in the file; a debugger's breakpoints are the exception, and
    // are lost.
    unsafe { let_go(mappings.into_iter()) };
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_programs_own_code_is_let_go() {
        let maps = "\
            559c4c800000-559c4ca62000 r--p 00000000 fe:00 123 /opt/my server\n\
            559c4ca62000-559c4d12c000 r-xp 00261000 fe:00 123 /opt/my server\n\
            559c4d12c000-559c4d16f000 r--p 0092a000 fe:00 123 /opt/my server\n\
            559c4d16f000-559c4d172000 rwxp 0096c000 fe:00 123 /opt/my server\n\
            7f1c00000000-7f1c00021000 r-xp 00000000 00:00 0 \n\
            7f1c00100000-7f1c00200000 r-xp 00000000 fe:00 9 /usr/lib/libc.so.6\n\
            garbage\n";
        assert_eq!(of_program(maps, "/opt/my server"), [(0x559c_4ca6_2000, 0x6c_a000)]);
    }

    #[test]
    fn what_is_let_go_comes_back() {
        assert!(let_go_of_program() > 0);
        // This runs from what has come back.
        assert_eq!(of_program("", ""), []);
    }
}
