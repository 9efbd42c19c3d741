//! Networks as settings name them: one address or a range of them.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};

use super::canonical;

/// The text is neither an address nor a network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no address or network: one such as 192.0.2.1, 10.0.0.0/8 or 2001:db8::/32 is expected")]
pub struct ParseNetworkError(pub(crate) String);

/// Reads an address, which stands for itself alone, or a network. One of IPv4 addresses inside IPv6
/// is the IPv4 network, as [`canonical`] makes of every address that is looked up.
pub(crate) fn parse_network(text: &str) -> Result<IpNet, ParseNetworkError> {
    let text = text.trim();
    let network = match text.parse::<IpAddr>() {
        Ok(address) => Ok(IpNet::from(address)),
        Err(_) => text.parse::<IpNet>().map_err(|_| ParseNetworkError(text.to_owned())),
    }?;
    Ok(match canonical(network.addr()) {
        IpAddr::V4(address) if network.max_prefix_len() == 128 => {
            let prefix = network.prefix_len().checked_sub(96);
            let inner = prefix.and_then(|prefix| Ipv4Net::new(address, prefix).ok());
            inner.map_or(network, IpNet::V4).trunc()
        }
        _ => network.trunc(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> String {
        parse_network(text).map_or_else(|error| error.to_string(), |network| network.to_string())
    }

    #[test]
    fn an_address_stands_for_itself() {
        assert_eq!(parsed("192.0.2.1"), "192.0.2.1/32");
        assert_eq!(parsed(" 2001:db8::1 "), "2001:db8::1/128");
    }

    #[test]
    fn a_network_may_be_written_with_any_of_its_addresses() {
        assert_eq!(parsed("10.1.2.3/8"), "10.0.0.0/8");
        assert_eq!(parsed("::ffff:10.1.2.3/104"), "10.0.0.0/8");
        assert_eq!(parsed("::ffff:10.1.2.3"), "10.1.2.3/32");
        assert_eq!(parsed("::/0"), "::/0");
    }

    #[test]
    fn anything_else_is_refused_by_name() {
        for wrong in ["", "example.org", "10.0.0.0/33", "10.0.0/8", "1.2.3.4:80", "user:42"] {
            assert!(parsed(wrong).starts_with(&format!("`{wrong}` is no address")), "{wrong}");
        }
    }
}
