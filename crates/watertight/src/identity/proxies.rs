//! The client's address behind reverse proxies.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::canonical;
use super::network::{ParseNetworkError, parse_network};

/// The proxies whose `X-Forwarded-For` is believed. The default trusts none.
///
/// Serialised as a list of addresses and networks: `["127.0.0.1", "10.0.0.0/8"]`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    /// Trusts the proxies at these addresses and in these networks.
    ///
    /// # Errors
    ///
    /// When a text is neither: the error shows it.
    pub fn new<T: AsRef<str>>(networks: impl IntoIterator<Item = T>) -> Result<Self, ParseNetworkError> {
        networks
            .into_iter()
            .map(|network| parse_network(network.as_ref()))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Whether `address` is one of them.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = canonical(address);
        self.0.iter().any(|network| network.contains(&address))
    }

    /// The client's address: `peer`, the other end of the TCP connection, unless that is a trusted proxy.
    /// Then the values of the `X-Forwarded-For` headers, in the order in which they came, are walked from the
    /// right, where the proxy nearest to us wrote, past all trusted proxies to the first address that is not
    /// one.
    ///
    /// What stands left of that address was written by the client and is never looked at. A malformed entry
    /// ends the walk: the last good address counts. Ports are dropped, and IPv4 addresses inside IPv6 are
    /// IPv4.
    pub fn client_address<'a>(
        &self,
        peer: IpAddr,
        forwarded_for: impl IntoIterator<Item = &'a str>,
    ) -> IpAddr {
        let mut client = canonical(peer);
        if !self.contains(client) {
            return client;
        }
        let values: Vec<&str> = forwarded_for.into_iter().collect();
        for entry in values.iter().rev().flat_map(|value| value.rsplit(',')) {
            match parse_entry(entry.trim()) {
                Some(address) => client = canonical(address),
                None => break,
            }
            if !self.contains(client) {
                break;
            }
        }
        client
    }
}

/// An address, bare or in brackets, with or without a port: proxies write all of these.
fn parse_entry(entry: &str) -> Option<IpAddr> {
    let bracketed = || entry.strip_prefix('[')?.strip_suffix(']')?.parse().ok().map(IpAddr::V6);
    let with_port = || entry.parse::<SocketAddr>().ok().map(|address| address.ip());
    entry.parse().ok().or_else(bracketed).or_else(with_port)
}

impl TryFrom<Vec<String>> for TrustedProxies {
    type Error = ParseNetworkError;

    fn try_from(networks: Vec<String>) -> Result<Self, ParseNetworkError> {
        Self::new(networks)
    }
}

impl From<TrustedProxies> for Vec<String> {
    fn from(proxies: TrustedProxies) -> Self {
        proxies.0.iter().map(ToString::to_string).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn client(trusted: &[&str], peer: &str, forwarded_for: &[&str]) -> String {
        TrustedProxies::new(trusted)
            .expect("networks")
            .client_address(peer.parse().expect("an address"), forwarded_for.iter().copied())
            .to_string()
    }

    #[test]
    fn a_stranger_is_not_believed() {
        assert_eq!(client(&[], "198.51.100.1", &["203.0.113.7"]), "198.51.100.1");
        assert_eq!(client(&["10.0.0.0/8"], "198.51.100.1", &["203.0.113.7"]), "198.51.100.1");
    }

    #[test]
    fn the_first_address_from_the_right_that_is_no_proxy_is_the_client() {
        let trusted = &["10.0.0.0/8", "2001:db8::/32"];
        assert_eq!(client(trusted, "10.0.0.1", &["203.0.113.7"]), "203.0.113.7");
        assert_eq!(client(trusted, "10.0.0.1", &["6.6.6.6, 203.0.113.7, 10.0.0.2"]), "203.0.113.7");
        let two_headers = &["6.6.6.6", "203.0.113.7,2001:db8::1"];
        assert_eq!(client(trusted, "10.0.0.1", two_headers), "203.0.113.7", "headers in their order");
    }

    #[test]
    fn with_nothing_but_proxies_the_farthest_counts() {
        assert_eq!(client(&["10.0.0.0/8"], "10.0.0.1", &[]), "10.0.0.1");
        assert_eq!(client(&["10.0.0.0/8"], "10.0.0.1", &["10.0.0.3, 10.0.0.2"]), "10.0.0.3");
    }

    #[test]
    fn a_malformed_entry_ends_the_walk() {
        for wrong in ["unknown", "", "_hidden", "1.2.3", "[1.2.3.4]", "1.2.3.4:port", "10.0.0.0/8"] {
            let header = format!("6.6.6.6, {wrong}, 10.0.0.2");
            assert_eq!(client(&["10.0.0.0/8"], "10.0.0.1", &[&header]), "10.0.0.2", "{wrong}");
        }
    }

    #[test]
    fn ports_brackets_and_mapped_addresses_are_understood() {
        for right in ["203.0.113.7:4711", "::ffff:203.0.113.7", "[::ffff:203.0.113.7]:4711"] {
            assert_eq!(client(&["10.0.0.0/8"], "::ffff:10.0.0.1", &[right]), "203.0.113.7", "{right}");
        }
        assert_eq!(client(&["10.0.0.0/8"], "10.0.0.1", &["[2001:db8::1]"]), "2001:db8::1");
    }

    #[test]
    fn a_proxy_is_known_over_ipv6() {
        let trusted = TrustedProxies::new(["10.0.0.0/8"]).expect("a network");
        let contains = |text: &str| trusted.contains(text.parse().expect("an address"));
        assert!(contains("10.1.2.3") && contains("::ffff:10.1.2.3"));
        assert!(!contains("11.1.2.3") && !contains("::ffff:11.1.2.3"));
    }

    #[test]
    fn settings_are_a_list_of_texts() {
        let proxies: TrustedProxies =
            serde_json::from_str(r#"["127.0.0.1","10.1.0.0/8"]"#).expect("networks");
        assert_eq!(serde_json::to_string(&proxies).expect("serialises"), r#"["127.0.0.1/32","10.0.0.0/8"]"#);
        let wrong = serde_json::from_str::<TrustedProxies>(r#"["proxy.local"]"#).expect_err("a host name");
        assert!(wrong.to_string().contains("proxy.local"), "{wrong}");
    }

    fn any_entry() -> impl Strategy<Value = String> {
        prop_oneof![
            any::<IpAddr>().prop_map(|address| address.to_string()),
            any::<SocketAddr>().prop_map(|address| address.to_string()),
            Just("10.0.0.9".to_owned()),
            any::<String>(),
        ]
    }

    proptest! {
        /// Any header at all: no panic, a stranger is himself, and what the client wrote left of its own
        /// address, which the trusted proxy appended, changes nothing.
        #[test]
        fn nothing_a_client_writes_is_believed(
            peer in any::<IpAddr>(),
            written in prop::collection::vec(any_entry(), 0..6),
        ) {
            let trusted = TrustedProxies::new(["10.0.0.0/8"]).expect("a network");
            let headers = || written.iter().map(String::as_str);
            prop_assume!(!trusted.contains(peer));
            prop_assert_eq!(trusted.client_address(peer, headers()), canonical(peer));

            let appended = peer.to_string();
            let through_proxy = headers().chain([appended.as_str()]);
            let proxy = IpAddr::from([10, 0, 0, 1]);
            prop_assert_eq!(trusted.client_address(proxy, through_proxy), canonical(peer));
            // Without the proxy's own entry there is nothing to promise but an answer.
            let _ = trusted.client_address(proxy, headers());
        }
    }
}
