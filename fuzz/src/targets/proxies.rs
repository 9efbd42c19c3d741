//! The client's address behind proxies.

use std::net::IpAddr;

use watertight::TrustedProxies;

use super::{ADDRESSES, MEMORY, Target, text};

pub(super) const TARGET: Target = Target { name: "proxies", check, words: ADDRESSES, memory: MEMORY };

/// The lines are `X-Forwarded-For` headers. A stranger is himself; behind a proxy it is the peer or an address that stands
/// there; and what is written left of a client's own address changes nothing.
fn check(bytes: &[u8]) {
    let text = text(bytes);
    let trusted = TrustedProxies::new(["10.0.0.0/8", "2001:db8::/32"]).expect("networks");
    let (proxy, stranger) = (IpAddr::from([10, 0, 0, 9]), IpAddr::from([203, 0, 113, 7]));
    let headers = || text.lines();
    assert_eq!(trusted.client_address(stranger, headers()), stranger);

    let client = trusted.client_address(proxy, headers());
    let own = client.to_string();
    assert_eq!(trusted.client_address(proxy, [own.as_str()]), client, "it is an address as they are written");
    if !trusted.contains(client) {
        let before = ["6.6.6.6", "unknown"].into_iter().chain(headers());
        assert_eq!(trusted.client_address(proxy, before), client);
        assert_eq!(trusted.client_address(proxy, headers().chain([own.as_str()])), client);
    }
    let behind = stranger.to_string();
    assert_eq!(trusted.client_address(proxy, headers().chain([behind.as_str()])), stranger);

    // As a setting: refused by name, or the same networks when it is written and read again.
    match TrustedProxies::new(headers()) {
        Ok(proxies) => {
            let written: Vec<String> = proxies.clone().into();
            assert_eq!(TrustedProxies::new(written).as_ref(), Ok(&proxies));
        }
        Err(error) => assert!(error.to_string().contains("is no address or network")),
    }
}
