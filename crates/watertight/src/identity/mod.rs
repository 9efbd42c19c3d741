//! Who a client is, beyond one connection.

mod network;
mod proxies;

use std::convert::Infallible;
use std::fmt::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::board;

pub use network::ParseNetworkError;
pub(crate) use network::parse_network;
pub use proxies::TrustedProxies;

/// Marks a name that would be read as an address without it.
const NAME_PREFIX: &str = "name:";

/// Who a compartment belongs to, for history that outlives the connection.
///
/// It shows itself as the bare address or name. As data (JSON, configuration, a store) it is the same text,
/// except that a name which could be taken for an address, or that begins with `name:`, gets `name:` in front
/// of it. [`FromStr`] reads that form, addresses as [`of_address`](Self::of_address) has them, so every
/// identity comes back as it was.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Identity {
    /// The client's address.
    Address(IpAddr),
    /// What the application says, such as `user:42`. See [`named`](Self::named).
    Named(String),
}

/// The longest name, in bytes: it is kept for each client, in tables of up to a million.
const MAX_NAME: usize = 64;

impl Identity {
    /// Whom the application calls `name`. A name of more than 64 bytes is known by its beginning and a hash of it.
    #[must_use]
    pub fn named(name: impl Into<String>) -> Self {
        let mut name = name.into();
        if name.len() > MAX_NAME {
            let hash = board::hash_of(&name);
            name.truncate(name.floor_char_boundary(MAX_NAME - 17));
            let _ = write!(name, "~{hash:016x}");
        }
        Self::Named(name)
    }

    /// The form that it has as data.
    pub(crate) fn to_data(&self) -> String {
        match self {
            Self::Named(name) if name.starts_with(NAME_PREFIX) || name.parse::<IpAddr>().is_ok() => {
                format!("{NAME_PREFIX}{name}")
            }
            other => other.to_string(),
        }
    }

    /// The identity of whoever uses `address`.
    ///
    /// An IPv6 client is its /64 network, with the other 64 bits set to 0: a household or a rented server is
    /// given at least that much (RFC 6177), so a single address would be changed as easily as a shirt.
    /// Loopback and link-local addresses stay whole, because their /64 is the same for everyone. An IPv4
    /// address inside an IPv6 one (`::ffff:0:0/96`, or `64:ff9b::/96` of RFC 6052) is the IPv4 address.
    #[must_use]
    pub fn of_address(address: IpAddr) -> Self {
        Self::Address(match canonical(address) {
            IpAddr::V6(v6) if !(v6.is_loopback() || v6.is_unspecified() || v6.is_unicast_link_local()) => {
                // Again: the network that translators use may be what is left.
                canonical(IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))))
            }
            other => other,
        })
    }
}

/// The IPv4 address inside an IPv6 one, else the address itself.
pub(crate) fn canonical(address: IpAddr) -> IpAddr {
    /// The well-known prefix of translators between IPv4 and IPv6, RFC 6052.
    const TRANSLATED: [u16; 6] = [0x64, 0xff9b, 0, 0, 0, 0];

    match address.to_canonical() {
        IpAddr::V6(v6) if v6.segments()[..6] == TRANSLATED => {
            let [.., a, b, c, d] = v6.octets();
            IpAddr::V4(Ipv4Addr::new(a, b, c, d))
        }
        other => other,
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Named(name) => name.fmt(f),
        }
    }
}

/// Reads the form that identities have as data. Every text is one.
impl FromStr for Identity {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match (text.strip_prefix(NAME_PREFIX), text.parse()) {
            (Some(name), _) => Self::named(name),
            (None, Ok(address)) => Self::of_address(address),
            (None, Err(_)) => Self::named(text),
        })
    }
}

impl Serialize for Identity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_data())
    }
}

impl<'de> Deserialize<'de> for Identity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let Ok(identity) = text.parse();
        Ok(identity)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(text: &str) -> String {
        Identity::of_address(text.parse().expect("an address")).to_string()
    }

    #[test]
    fn an_ipv6_client_is_its_network() {
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(of("2001:db8:1:3::6"), "2001:db8:1:3::");
        assert_eq!(of("203.0.113.7"), "203.0.113.7");
    }

    #[test]
    fn what_all_share_is_no_identity() {
        assert_eq!(of("::1"), "::1");
        assert_eq!(of("fe80::1234"), "fe80::1234");
    }

    #[test]
    fn an_ipv4_client_is_the_same_over_ipv6() {
        assert_eq!(of("::ffff:203.0.113.7"), "203.0.113.7");
        assert_eq!(of("64:ff9b::203.0.113.7"), "203.0.113.7");
    }

    /// Found by fuzzing: what such an address leaves of itself is another address, as whose it came back from a store.
    #[test]
    fn a_network_of_translators_is_its_own_identity() {
        assert_eq!(of("64:ff9b::1:2:3"), of(&of("64:ff9b::1:2:3")));
    }

    #[test]
    fn as_data_it_is_what_it_shows_unless_that_misleads() {
        let as_data = |identity: &Identity| serde_json::to_string(identity).expect("serialises");
        let address = Identity::of_address(IpAddr::V4(Ipv4Addr::LOCALHOST));
        assert_eq!(as_data(&address), r#""127.0.0.1""#);
        assert_eq!(as_data(&Identity::Named("user:42".to_owned())), r#""user:42""#);
        assert_eq!(as_data(&Identity::Named("127.0.0.1".to_owned())), r#""name:127.0.0.1""#);
        assert_eq!(as_data(&Identity::Named("name:x".to_owned())), r#""name:name:x""#);
    }

    #[test]
    fn a_long_name_is_known_by_its_beginning_and_its_hash() {
        let long = |last: &str| Identity::named(format!("user:{}{last}", "é".repeat(100)));
        let Identity::Named(name) = long("1") else { unreachable!() };
        assert!(name.len() <= MAX_NAME && name.starts_with("user:éé"), "{name}");
        assert_eq!(long("1"), long("1"));
        assert_ne!(long("1"), long("2"));
    }

    fn any_identity() -> impl Strategy<Value = Identity> {
        prop_oneof![
            any::<IpAddr>().prop_map(Identity::of_address),
            any::<String>().prop_map(Identity::named),
            "[a-zé]{40,200}".prop_map(Identity::named),
            any::<IpAddr>().prop_map(|address| Identity::Named(address.to_string())),
            "(name:){0,3}[a-z:0-9.]{0,8}".prop_map(Identity::Named),
        ]
    }

    proptest! {
        #[test]
        fn comes_back_as_it_was(identity in any_identity()) {
            let text = serde_json::to_string(&identity).expect("serialises");
            prop_assert_eq!(serde_json::from_str::<Identity>(&text).expect("reads back"), identity);
        }

        #[test]
        fn an_identity_is_its_own_identity(address in any::<IpAddr>()) {
            let Identity::Address(once) = Identity::of_address(address) else { unreachable!() };
            prop_assert_eq!(Identity::of_address(once), Identity::Address(once));
        }
    }
}
