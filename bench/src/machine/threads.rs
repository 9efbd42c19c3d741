//! What one thread of another process has used.

use std::fs;
use std::time::Duration;

/// How much of a thread's name Linux keeps.
const NAME: usize = 15;

/// How much CPU time the thread of this name has used in a process, to the nanosecond. `None` where the operating system
/// does not tell, or has no such thread.
pub(crate) fn thread_cpu_time(process: u32, name: &str) -> Option<Duration> {
    let name = name.get(..NAME).unwrap_or(name);
    let threads = fs::read_dir(format!("/proc/{process}/task")).ok()?;
    let is_named = |thread: &fs::DirEntry| {
        fs::read_to_string(thread.path().join("comm")).is_ok_and(|comm| comm.trim_end() == name)
    };
    let thread = threads.filter_map(Result::ok).find(is_named)?;
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
        let thread = std::thread::Builder::new().name("a-thread-with-a-long-name".into());
        let thread = thread.spawn(move || wait.recv()).expect("it starts");
        assert!(thread_cpu_time(std::process::id(), "a-thread-with-a-long-name").is_some());
        assert_eq!(thread_cpu_time(std::process::id(), "no-such-thread"), None);
        drop(done);
        _ = thread.join();
    }
}
