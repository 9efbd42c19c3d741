//! Reading a file line by line, whatever is in it and whoever writes to it meanwhile.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};

/// The lines that are not empty. One of more than `most` bytes is cut there and its rest left out.
pub(super) fn of(file: &File, most: u64) -> impl Iterator<Item = io::Result<Vec<u8>>> {
    let mut reader = BufReader::new(FromStart { file, position: 0 });
    let mut cut = false;
    std::iter::from_fn(move || {
        loop {
            let mut line = Vec::new();
            match reader.by_ref().take(most).read_until(b'\n', &mut line) {
                Ok(0) => return None,
                Ok(_) => {}
                Err(error) => return Some(Err(error)),
            }
            let is_rest = std::mem::replace(&mut cut, !line.ends_with(b"\n") && line.len() as u64 == most);
            if !is_rest && !line.trim_ascii().is_empty() {
                return Some(Ok(line));
            }
        }
    })
}

/// Reads from the start on, with a position of its own: the file's is shared with every process that inherited the same
/// descriptor, and moves to the end when one of them appends.
struct FromStart<'a> {
    file: &'a File,
    position: u64,
}

impl Read for FromStart<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = read_at(self.file, into, self.position)?;
        self.position += read as u64;
        Ok(read)
    }
}

#[cfg(unix)]
fn read_at(file: &File, into: &mut [u8], position: u64) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, into, position)
}

#[cfg(windows)]
fn read_at(file: &File, into: &mut [u8], position: u64) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_read(file, into, position)
}

#[cfg(not(any(unix, windows)))]
fn read_at(mut file: &File, into: &mut [u8], position: u64) -> io::Result<usize> {
    use std::io::Seek;

    file.seek(io::SeekFrom::Start(position))?;
    file.read(into)
}
