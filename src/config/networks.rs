//! Networks by their prefix: `10.0.0.0/8,fd00::/8,127.0.0.1`.

use std::net::IpAddr;
use std::str::FromStr;

/// A list of networks; an address of IPv4 that is written in IPv6 counts as what it stands for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks(Vec<(IpAddr, u32)>);

impl Networks {
    /// Whether an address lies in one of them.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|(network, prefix)| match (network, address) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let differ = network.to_bits() ^ address.to_bits();
                differ.leading_zeros() >= *prefix
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let differ = network.to_bits() ^ address.to_bits();
                differ.leading_zeros() >= *prefix
            }
            _ => false,
        })
    }
}

impl FromStr for Networks {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        text.split(',').map(|part| network(part.trim())).collect::<Option<_>>().map(Self).ok_or(())
    }
}

fn network(text: &str) -> Option<(IpAddr, u32)> {
    let (address, prefix) = text.split_once('/').map_or((text, None), |(left, right)| (left, Some(right)));
    let address: IpAddr = address.parse().ok()?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let prefix = prefix.map_or(Some(most), |prefix| prefix.parse().ok())?;
    (prefix <= most).then_some((address, prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_lies_in_a_network_when_it_begins_as_its_prefix_does() {
        let networks: Networks = "10.0.0.0/8, fd00::/8,127.0.0.1".parse().expect("networks");
        for (address, is_in) in [
            ("10.255.0.1", true),
            ("11.0.0.0", false),
            ("::ffff:10.1.2.3", true),
            ("fd12::1", true),
            ("fc00::1", false),
            ("127.0.0.1", true),
            ("127.0.0.2", false),
        ] {
            assert_eq!(networks.contains(address.parse().expect("an address")), is_in, "{address}");
        }
        let all: Networks = "0.0.0.0/0,::/0".parse().expect("networks");
        assert!(all.contains("8.8.8.8".parse().expect("an address")));
        assert!(all.contains("2001:db8::1".parse().expect("an address")));
        assert!(!Networks::default().contains("10.0.0.1".parse().expect("an address")));
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for bad in ["", "10.0.0.0/33", "::/129", "10.0.0/8", "example.org", "10.0.0.0/8,", "10.0.0.0/-1"] {
            assert_eq!(bad.parse::<Networks>(), Err(()), "{bad}");
        }
    }
}
