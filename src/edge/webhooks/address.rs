//! Which addresses a webhook may be called at: those of the internet, and those that the operator allows.
//!
//! An organization chooses the URL, and the server stands where the organization does not: so a URL must not lead to what only the
//! server reaches. Names are looked up for each attempt, every address that comes is checked, and the connection is made to one of
//! the addresses that were checked, so that a name that means something else a moment later gains nothing. Without TLS only allowed
//! networks are called. Redirects are not followed at all.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

use crate::config::Networks;

/// Networks of IPv4 that are not of the internet, by their prefix.
const SPECIAL_V4: [(Ipv4Addr, u32); 15] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    (Ipv4Addr::new(240, 0, 0, 0), 4),
];

/// Networks within the addresses of IPv6 that the internet uses (2000::/3) that are not of it: protocols, tunnels, documentation.
const SPECIAL_V6: [(Ipv6Addr, u32); 4] = [
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
];

/// What stands before an address of IPv4 that is reached from a network of IPv6 alone (RFC 6052).
const TRANSLATED: (Ipv6Addr, u32) = (Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96);
/// What addresses of the internet begin with.
const INTERNET_V6: (Ipv6Addr, u32) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);

/// Whether an address is one of the internet.
pub(super) fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) if lies_in_v6(address, TRANSLATED) => {
            let [.., a, b, c, d] = address.octets();
            is_public_v4(Ipv4Addr::new(a, b, c, d))
        }
        IpAddr::V6(address) => {
            let is_special = SPECIAL_V6.iter().any(|network| lies_in_v6(address, *network));
            lies_in_v6(address, INTERNET_V6) && !is_special
        }
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let lies_in = |(network, prefix): &(Ipv4Addr, u32)| {
        (network.to_bits() ^ address.to_bits()).leading_zeros() >= *prefix
    };
    !SPECIAL_V4.iter().any(lies_in)
}

fn lies_in_v6(address: Ipv6Addr, (network, prefix): (Ipv6Addr, u32)) -> bool {
    (network.to_bits() ^ address.to_bits()).leading_zeros() >= prefix
}

/// Looks names up, and refuses addresses that must not be called.
#[derive(Debug)]
pub(super) struct Guarded {
    private: Networks,
    inner: DefaultResolver,
}

/// An address that must not be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Forbidden {
    /// It is not of the internet, and not allowed.
    #[error(
        "the name leads to {0}, which is not an address of the internet; it was not called (see `webhook_private`)"
    )]
    Private(IpAddr),
    /// It is called without TLS, and not allowed.
    #[error("without tls only networks of `webhook_private` are called, and {0} is in none; use https")]
    Plain(IpAddr),
}

impl Guarded {
    /// Allows these networks beside the internet.
    pub(super) fn new(private: Networks) -> Self {
        Self { private, inner: DefaultResolver::default() }
    }

    /// Whether an address may be called, with or without TLS.
    ///
    /// # Errors
    /// Why it may not.
    pub(super) fn check(&self, address: IpAddr, has_tls: bool) -> Result<(), Forbidden> {
        if self.private.contains(address) {
            Ok(())
        } else if !is_public(address) {
            Err(Forbidden::Private(address))
        } else if has_tls {
            Ok(())
        } else {
            Err(Forbidden::Plain(address))
        }
    }
}

impl Resolver for Guarded {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let found = self.inner.resolve(uri, config, timeout)?;
        let has_tls = uri.scheme_str() == Some("https");
        for address in found.iter() {
            self.check(address.ip(), has_tls).map_err(|forbidden| ureq::Error::Other(forbidden.into()))?;
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn addresses_that_only_the_server_reaches_are_not_of_the_internet() {
        for inner in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.254",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.1",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::ffff:169.254.169.254",
            "::127.0.0.1",
            "64:ff9b::10.0.0.1",
            "64:ff9b::169.254.169.254",
            "64:ff9b:1::8.8.8.8",
            "100::1",
            "2001::1",
            "2001:10::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "2002:808:808::",
            "3fff::1",
            "5f00::1",
            "fc00::1",
            "fd12:3456::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!is_public(ip(inner)), "{inner}");
        }
    }

    #[test]
    fn addresses_of_the_internet_are_called() {
        for outer in [
            "1.1.1.1",
            "8.8.8.8",
            "100.63.255.255",
            "100.128.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.1",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "::ffff:8.8.8.8",
            "64:ff9b::8.8.8.8",
            "2001:200::1",
            "2001:4860:4860::8888",
            "2606:4700:4700::1111",
            "3ffe::1",
        ] {
            assert!(is_public(ip(outer)), "{outer}");
        }
    }

    #[test]
    fn an_allowed_network_is_called_also_without_tls_and_the_internet_with_tls_alone() {
        let guarded = Guarded::new("10.0.0.0/8".parse().expect("a network"));
        assert_eq!(guarded.check(ip("10.1.2.3"), false), Ok(()));
        assert_eq!(guarded.check(ip("::ffff:10.1.2.3"), true), Ok(()));
        assert_eq!(guarded.check(ip("192.168.0.1"), true), Err(Forbidden::Private(ip("192.168.0.1"))));
        assert_eq!(guarded.check(ip("8.8.8.8"), true), Ok(()));
        assert_eq!(guarded.check(ip("8.8.8.8"), false), Err(Forbidden::Plain(ip("8.8.8.8"))));
    }
}
