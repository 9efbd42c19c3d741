//! A flight recorder for the poor: a counter in shared memory that a worker which is well raises all the time.

use std::{
    cell::RefCell,
    collections::HashMap,
    io,
    os::fd::OwnedFd,
    thread,
    time::{Duration, Instant},
};

use rustix::{
    fs::{MemfdFlags, memfd_create},
    io::{pread, pwrite},
};
use watertight_supervisor::{BlackBox, Descriptors, WorkerDeath};

use crate::say;

pub(crate) const NAME: &str = "BOARD";

/// The parent's side.
#[derive(Default)]
pub(crate) struct Boards(RefCell<HashMap<u64, Board>>);

struct Board {
    memory: OwnedFd,
    count: [u8; 8],
    since: Instant,
}

impl BlackBox for Boards {
    fn prepare(&mut self, generation: u64) -> io::Result<Descriptors> {
        let memory = memfd_create("board", MemfdFlags::CLOEXEC)?;
        pwrite(&memory, &[0; 8], 0)?;
        let board = Board { memory: memory.try_clone()?, count: [0; 8], since: Instant::now() };
        self.0.borrow_mut().insert(generation, board);
        Ok(vec![(NAME, memory)])
    }

    fn answered(&self, generation: u64) -> Option<Duration> {
        let mut boards = self.0.borrow_mut();
        let board = boards.get_mut(&generation)?;
        let mut count = [0; 8];
        pread(&board.memory, &mut count, 0).ok()?;
        if count != board.count {
            (board.count, board.since) = (count, Instant::now());
        }
        Some(board.since.elapsed())
    }

    fn wedged(&mut self, generation: u64, _pid: u32, _silent: Duration) {
        say(&format!("black box: {generation} is wedged"));
    }

    fn died(&mut self, death: &WorkerDeath) {
        self.0.borrow_mut().remove(&death.generation);
        say(&format!("black box: {} has died", death.generation));
    }
}

/// The worker's side: raises the counter while `is_well`.
pub(crate) fn stamp(memory: OwnedFd, is_well: impl Fn() -> bool + Send + 'static) {
    thread::spawn(move || {
        for count in 1_u64.. {
            if !is_well() {
                return;
            }
            if pwrite(&memory, &count.to_ne_bytes(), 0).is_err() {
                return;
            }
            thread::sleep(Duration::from_millis(5));
        }
    });
}
