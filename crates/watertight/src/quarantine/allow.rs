//! Who is never quarantined.

use std::collections::HashSet;
use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::identity::{Identity, canonical, parse_network};

/// Someone who is never quarantined: a named identity such as `user:42`, an address, or a network in CIDR
/// notation such as `10.0.0.0/8`. Names that could be taken for the others are written `name:10.0.0.0/8`.
///
/// An IPv6 network longer than /64 stands for its /64, because clients are told apart no finer than that: see
/// [`Identity::of_address`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowEntry(Who);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Who {
    Named(String),
    Network(IpNet),
}

impl From<Identity> for AllowEntry {
    fn from(identity: Identity) -> Self {
        Self(match identity {
            Identity::Address(address) => Who::Network(IpNet::from(canonical(address))),
            Identity::Named(name) => Who::Named(name),
        })
    }
}

impl From<IpNet> for AllowEntry {
    fn from(network: IpNet) -> Self {
        Self(Who::Network(network.trunc()))
    }
}

/// Every text is an entry: what is no address or network is a name.
impl FromStr for AllowEntry {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        match parse_network(text) {
            Ok(network) => Ok(Self::from(network)),
            Err(_) => text.parse::<Identity>().map(Self::from),
        }
    }
}

impl fmt::Display for AllowEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Who::Network(network) => network.fmt(f),
            Who::Named(name) if name.starts_with("name:") || parse_network(name).is_ok() => {
                write!(f, "name:{name}")
            }
            Who::Named(name) => name.fmt(f),
        }
    }
}

impl Serialize for AllowEntry {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for AllowEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let Ok(entry) = text.parse();
        Ok(entry)
    }
}

/// The whole list, for quick answers.
#[derive(Debug, Default)]
pub(crate) struct AllowList {
    names: HashSet<String>,
    networks: Vec<IpNet>,
}

impl AllowList {
    pub(crate) fn new(entries: &[AllowEntry]) -> Self {
        let mut list = Self::default();
        for AllowEntry(who) in entries {
            match who {
                Who::Named(name) => drop(list.names.insert(name.clone())),
                Who::Network(network) => list.networks.push(as_identities_are(*network)),
            }
        }
        list
    }

    pub(crate) fn contains(&self, identity: &Identity) -> bool {
        match identity {
            Identity::Named(name) => self.names.contains(name),
            Identity::Address(address) => self.networks.iter().any(|network| network.contains(address)),
        }
    }
}

/// A part of a /64 as the one address that stands for all of it.
fn as_identities_are(network: IpNet) -> IpNet {
    match Identity::of_address(network.addr()) {
        Identity::Address(address) if network.prefix_len() > 64 && address != network.addr() => {
            IpNet::from(address)
        }
        _ => network,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn allows(entry: &str, identity: &str) -> bool {
        let (Ok(entry), Ok(identity)) = (entry.parse(), identity.parse());
        AllowList::new(&[entry]).contains(&identity)
    }

    #[test]
    fn names_addresses_and_networks() {
        assert!(allows("user:42", "user:42"));
        assert!(!allows("user:42", "user:4"));
        assert!(allows("192.0.2.1", "192.0.2.1"));
        assert!(!allows("192.0.2.1", "192.0.2.2"));
        assert!(allows("192.0.2.0/24", "192.0.2.2"));
        assert!(allows("2001:db8::/32", "2001:db8:1::1"));
        assert!(!allows("192.0.2.0/24", "name:192.0.2.1"), "a name is no address");
        assert!(allows("name:192.0.2.0/24", "192.0.2.0/24"), "a name may look like a network");
    }

    /// Identities are told apart by /64, so a finer entry has to stand for all of it.
    #[test]
    fn part_of_a_64_stands_for_all_of_it() {
        assert!(allows("2001:db8:1:2::5", "2001:db8:1:2:3::7"));
        assert!(allows("2001:db8:1:2::/100", "2001:db8:1:2:3::7"));
        assert!(!allows("2001:db8:1:2::5", "2001:db8:1:3::5"));
        assert!(allows("::1", "::1"));
        assert!(!allows("fe80::1", "fe80::2"), "link-local clients are single addresses");
    }

    proptest! {
        #[test]
        fn comes_back_as_it_was(
            name in "(name:){0,2}[a-z0-9./:]{0,12}",
            address in any::<std::net::IpAddr>(),
        ) {
            let like_an_address = Identity::Named(address.to_string());
            let entries = [Identity::Named(name), like_an_address, Identity::of_address(address)];
            for entry in entries.map(AllowEntry::from) {
                let Ok(back) = entry.to_string().parse::<AllowEntry>();
                prop_assert_eq!(back, entry);
            }
        }
    }
}
