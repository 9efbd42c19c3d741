//! How many connections a process may have.

/// Lets this process, and those that it starts from now on, have as many open files as the system lets it have without
/// asking anybody. Answers how many that is, `None` where the operating system does not tell.
#[cfg(unix)]
pub(crate) fn raise_descriptors() -> Option<u64> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: maximum, maximum };
    // Some systems name a maximum that they do not allow: then it stays as it was.
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => maximum,
        Err(_) => current,
    }
}

/// The same; this system does not count them.
#[cfg(not(unix))]
pub(crate) fn raise_descriptors() -> Option<u64> {
    None
}
