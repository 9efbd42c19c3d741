//! What is loaded in this process: the unwind tables of the program and of its libraries.

use std::fs::{self, File};
use std::ops::Range;

use framehop::{ExplicitModuleSectionInfo, Module, Unwinder};
use object::{Object, ObjectSection, ObjectSegment, ReadCache, SegmentFlags};

#[cfg(target_arch = "aarch64")]
use framehop::aarch64::UnwinderAarch64 as NativeUnwinder;
#[cfg(target_arch = "x86_64")]
use framehop::x86_64::UnwinderX86_64 as NativeUnwinder;

/// The tables, in memory of their own.
pub(super) struct Modules(pub(super) NativeUnwinder<Vec<u8>>);

impl Modules {
    /// Those that are loaded now. What cannot be read is left out.
    pub(super) fn loaded() -> Self {
        let mut unwinder = NativeUnwinder::new();
        let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
        for module in maps.lines().filter_map(Code::parse).filter_map(|code| code.module()) {
            unwinder.add_module(module);
        }
        Self(unwinder)
    }
}

/// A piece of a file that is mapped as code.
#[derive(Debug, PartialEq, Eq)]
struct Code<'a> {
    at: Range<u64>,
    /// Where in the file it begins.
    offset: u64,
    path: &'a str,
}

impl<'a> Code<'a> {
    /// Reads a line such as `55d0c000-55d0e000 r-xp 00002000 fd:01 1234   /usr/bin/program`.
    fn parse(line: &'a str) -> Option<Self> {
        let mut words = line.split_ascii_whitespace();
        let (from, to) = words.next()?.split_once('-')?;
        let (access, offset) = (words.next()?, words.next()?);
        // The path is all of the rest: it may have spaces.
        let path = &line[line.find('/')?..];
        let number = |text| u64::from_str_radix(text, 16).ok();
        let at = number(from)?..number(to)?;
        (access.contains('x')).then_some(Self { at, offset: number(offset)?, path })
    }

    fn module(&self) -> Option<Module<Vec<u8>>> {
        let file = ReadCache::new(File::open(self.path).ok()?);
        let file = object::File::parse(&file).ok()?;
        let mapped = self.offset..self.offset.saturating_add(self.at.end.saturating_sub(self.at.start));
        let segment = file.segments().find(|segment| {
            // What is mapped begins at a page, and so before the segment does; there may be others in that page.
            let (offset, size) = segment.file_range();
            is_code(segment.flags()) && offset < mapped.end && mapped.start < offset.saturating_add(size)
        })?;
        let stated = segment.address().wrapping_add(self.offset.wrapping_sub(segment.file_range().0));
        let base = self.at.start.wrapping_sub(stated);

        let range = |name| {
            let section = file.section_by_name(name)?;
            Some(section.address()..section.address().saturating_add(section.size()))
        };
        let data = |name| file.section_by_name(name)?.data().ok().map(<[u8]>::to_vec);
        let sections = ExplicitModuleSectionInfo {
            text_svma: range(".text"),
            got_svma: range(".got"),
            eh_frame_svma: range(".eh_frame"),
            eh_frame: data(".eh_frame"),
            eh_frame_hdr_svma: range(".eh_frame_hdr"),
            eh_frame_hdr: data(".eh_frame_hdr"),
            ..Default::default()
        };
        Some(Module::new(self.path.to_owned(), self.at.clone(), base, sections))
    }
}

fn is_code(flags: SegmentFlags) -> bool {
    matches!(flags, SegmentFlags::Elf { p_flags } if p_flags & object::elf::PF_X != 0)
}

impl std::fmt::Debug for Modules {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Modules").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_is_code() {
        let line = "55d0c000-55d0e000 r-xp 00002000 fd:01 1234                       /opt/my games/server";
        let code = Code { at: 0x55d0_c000..0x55d0_e000, offset: 0x2000, path: "/opt/my games/server" };
        assert_eq!(Code::parse(line), Some(code));
        for other in [
            "55d0c000-55d0e000 rw-p 00002000 fd:01 1234 /opt/server",
            "7ffd4000-7ffd6000 r-xp 00000000 00:00 0                          [vdso]",
            "7f00-7f01 ---p 00000000 00:00 0",
            "",
        ] {
            assert_eq!(Code::parse(other), None, "{other}");
        }
    }
}
