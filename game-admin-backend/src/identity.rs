//! Identities as people write them: an address, or a name such as `user:42`.

use std::net::{IpAddr, SocketAddr};

/// Checks that a text which is about to be taken for a name was meant as one. To the library every text is an
/// identity, so a slip in an address would silently concern somebody who does not exist. `name:` in front of a
/// text says that it is a name after all.
///
/// # Errors
///
/// What it looks like instead.
pub fn check(text: &str) -> Result<(), &'static str> {
    if text.parse::<SocketAddr>().is_ok() {
        return Err("it is an address with a port; an identity has none");
    }
    if text.split_once('/').is_some_and(|(address, _)| address.parse::<IpAddr>().is_ok()) {
        return Err("it looks like a network; write name: in front of a name that does");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_in_an_address_is_no_name() {
        for right in ["192.0.2.7", "::1", "user:42", "a/b", "name:10.0.0.0/8", "name:127.0.0.1:1"] {
            assert_eq!(check(right), Ok(()), "{right}");
        }
        for (wrong, what) in [
            ("127.0.0.1:5000", "port"),
            ("[::1]:5000", "port"),
            ("10.0.0.0/8", "network"),
            ("::/200", "network"),
        ] {
            assert!(check(wrong).is_err_and(|why| why.contains(what)), "{wrong}");
        }
    }
}
