//! How many connections a process may have.

/// How many files and connections this process may have open, and those that it starts; raised as far as it goes to
/// `wanted`. `None` where the operating system does not tell.
#[cfg(unix)]
pub(crate) fn descriptors(wanted: u64) -> Option<u64> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    // No limit is told as none.
    let enough = |limit: Option<u64>| limit.is_none_or(|limit| limit >= wanted);
    if enough(current) {
        return Some(wanted);
    }
    // Only the privileged may raise the maximum.
    if !enough(maximum)
        && setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: Some(wanted) }).is_ok()
    {
        return Some(wanted);
    }
    let most = maximum.map_or(wanted, |maximum| maximum.min(wanted));
    let raised = setrlimit(Resource::Nofile, Rlimit { current: Some(most), maximum });
    if raised.is_ok() { Some(most) } else { current }
}

/// How many files and connections this process may have open. `None` where the operating system does not tell.
#[cfg(not(unix))]
pub(crate) fn descriptors(_wanted: u64) -> Option<u64> {
    None
}
