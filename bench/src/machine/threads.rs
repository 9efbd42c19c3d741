//! What the threads of a process have used, to the nanosecond.

use std::fs::{self, DirEntry};
use std::time::Duration;

/// How much of a thread's name Linux keeps.
const NAME: usize = 15;

/// How much CPU time the thread of this name has used in a process. `None` where the operating system does not tell, or has
/// no such thread.
pub(crate) fn thread_cpu_time(process: u32, name: &str) -> Option<Duration> {
    let name = name.get(..NAME).unwrap_or(name);
    let is_named = |thread: &DirEntry| {
        fs::read_to_string(thread.path().join("comm")).is_ok_and(|comm| comm.trim_end() == name)
    };
    of_thread(&threads(process)?.find(is_named)?)
}

/// How much CPU time all threads of a process have used that it has now. `None` where the operating system does not tell.
pub(crate) fn process_cpu_time(process: u32) -> Option<Duration> {
    // One may end while it is looked at.
    Some(threads(process)?.filter_map(|thread| of_thread(&thread)).sum())
}

fn threads(process: u32) -> Option<impl Iterator<Item = DirEntry>> {
    Some(fs::read_dir(format!("/proc/{process}/task")).ok()?.filter_map(Result::ok))
}

fn of_thread(thread: &DirEntry) -> Option<Duration> {
    on_processor(&fs::read_to_string(thread.path().join("schedstat")).ok()?)
}

/// The first number of `schedstat`: nanoseconds on a processor.
fn on_processor(schedstat: &str) -> Option<Duration> {
    schedstat.split(' ').next()?.parse().ok().map(Duration::from_nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_time_on_a_processor() {
        assert_eq!(on_processor("72166 12 1\n"), Some(Duration::from_nanos(72_166)));
        assert_eq!(on_processor(""), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn finds_a_thread_with_a_long_name() {
        let (done, wait) = std::sync::mpsc::channel::<()>();
        // A thread names itself, some time after it was started.
        let (named, is_named) = std::sync::mpsc::channel();
        let thread = std::thread::Builder::new().name("a-thread-with-a-long-name".into());
        let thread = thread.spawn(move || {
            named.send(()).expect("the test waits for it");
            wait.recv()
        });
        let thread = thread.expect("it starts");
        is_named.recv().expect("it runs");
        assert!(thread_cpu_time(std::process::id(), "a-thread-with-a-long-name").is_some());
        assert_eq!(thread_cpu_time(std::process::id(), "no-such-thread"), None);
        drop(done);
        _ = thread.join();
    }
}
