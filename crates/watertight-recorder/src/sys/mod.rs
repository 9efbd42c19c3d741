//! The one place with `unsafe` code: memory that is shared, signals and their handlers.

#![allow(unsafe_code, reason = "memory that another process maps, signals, and memory that a handler writes")]

#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
pub(crate) mod code;
#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
pub(crate) mod crash;
#[cfg(unix)]
pub(crate) mod map;
#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
pub(crate) mod signal;
