//! Addresses and networks of a configuration list.

use std::{fmt, net::IpAddr, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An IP address or a network in CIDR notation. IPv4 in IPv6 (`::ffff:10.0.0.0/104`) is the IPv4 that it means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

/// Why a text is no network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadNetwork {
    #[error("{0:?} is neither an IP address nor a network such as 10.0.0.0/8")]
    Syntax(String),
    /// Most likely a slip: what was meant is either the one address or the whole network.
    #[error("{0} has bits set beyond its prefix; the network is {1}")]
    HostBits(String, Network),
}

impl Network {
    pub fn contains(&self, address: IpAddr) -> bool {
        let (theirs, width) = bits(address.to_canonical());
        let (own, own_width) = bits(self.address);
        width == own_width && masked(theirs, width, self.prefix) == own
    }
}

/// An address as a number, and how many bits it has.
fn bits(address: IpAddr) -> (u128, u8) {
    match address {
        IpAddr::V4(v4) => (u128::from(v4.to_bits()), 32),
        IpAddr::V6(v6) => (v6.to_bits(), 128),
    }
}

fn masked(bits: u128, width: u8, prefix: u8) -> u128 {
    let host = u32::from(width.saturating_sub(prefix));
    // A shift by all 128 bits has no result: nothing of the address is left.
    bits.checked_shr(host)
        .and_then(|top| top.checked_shl(host))
        .unwrap_or(0)
}

fn masked_address(address: IpAddr, prefix: u8) -> IpAddr {
    let (bits, width) = bits(address);
    let kept = masked(bits, width, prefix);
    match address {
        IpAddr::V4(_) => IpAddr::V4(u32::try_from(kept).unwrap_or(0).into()),
        IpAddr::V6(_) => IpAddr::V6(kept.into()),
    }
}

/// Who counts as one neighbour: an IPv4 address, or the /64 that an IPv6 subscriber has at the least.
pub(crate) fn neighbourhood(address: IpAddr) -> IpAddr {
    let address = address.to_canonical();
    masked_address(address, if address.is_ipv4() { 32 } else { 64 })
}

pub(crate) fn any_contains(networks: &[Network], address: IpAddr) -> bool {
    networks.iter().any(|network| network.contains(address))
}

impl FromStr for Network {
    type Err = BadNetwork;

    fn from_str(text: &str) -> Result<Self, BadNetwork> {
        let syntax = || BadNetwork::Syntax(text.to_owned());
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| syntax())?;
        let width = bits(address).1;
        let prefix = match prefix {
            None => width,
            Some(digits) => {
                let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
                let length = digits.parse().ok().filter(|length| plain && *length <= width);
                length.ok_or_else(syntax)?
            }
        };
        let network = match address.to_canonical() {
            IpAddr::V4(v4) if address.is_ipv6() && prefix >= 96 => Self {
                address: v4.into(),
                prefix: prefix - 96,
            },
            _ => Self { address, prefix },
        };
        let whole = Self {
            address: masked_address(network.address, network.prefix),
            ..network
        };
        match whole == network {
            true => Ok(network),
            false => Err(BadNetwork::HostBits(text.to_owned(), whole)),
        }
    }
}

impl TryFrom<String> for Network {
    type Error = BadNetwork;

    fn try_from(text: String) -> Result<Self, BadNetwork> {
        text.parse()
    }
}

impl From<Network> for String {
    fn from(network: Network) -> Self {
        network.to_string()
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.prefix == bits(self.address).1 {
            true => self.address.fmt(f),
            false => write!(f, "{}/{}", self.address, self.prefix),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Network {
        text.parse().unwrap()
    }

    #[test]
    fn a_network_ends_where_its_prefix_says() {
        for (text, inside, outside) in [
            (
                "10.0.0.0/8",
                &["10.0.0.0", "10.255.255.255"][..],
                &["9.255.255.255", "11.0.0.0", "::"][..],
            ),
            (
                "192.168.1.128/25",
                &["192.168.1.128", "192.168.1.255"],
                &["192.168.1.127", "192.168.2.0"],
            ),
            (
                "10.1.2.3",
                &["10.1.2.3", "::ffff:10.1.2.3"],
                &["10.1.2.2", "10.1.2.4", "::a01:203"],
            ),
            ("10.1.2.3/32", &["10.1.2.3"], &["10.1.2.2"]),
            ("10.1.2.2/31", &["10.1.2.2", "10.1.2.3"], &["10.1.2.1", "10.1.2.4"]),
            (
                "0.0.0.0/0",
                &["0.0.0.0", "255.255.255.255", "::ffff:1.2.3.4"],
                &["::", "2001:db8::1"],
            ),
            ("::/0", &["::", "ffff::"], &["1.2.3.4", "::ffff:1.2.3.4"]),
            (
                "2001:db8::/33",
                &["2001:db8:7fff:ffff::"],
                &["2001:db8:8000::", "2001:db7:ffff::"],
            ),
            ("::1", &["::1"], &["::2", "0.0.0.1"]),
            ("::1/128", &["::1"], &["::"]),
            ("::ffff:10.0.0.0/104", &["10.9.9.9", "::ffff:10.9.9.9"], &["11.0.0.0"]),
        ] {
            for (addresses, expected) in [(inside, true), (outside, false)] {
                for address in addresses {
                    let contained = network(text).contains(address.parse().unwrap());
                    assert_eq!(contained, expected, "{address} in {text}");
                }
            }
        }
    }

    #[test]
    fn what_is_not_written_as_a_network_is_refused() {
        for text in [
            "",
            "/",
            "10.0.0.0/",
            "/8",
            "10.0.0.0/33",
            "::/129",
            "10.0.0.0/+8",
            "10.0.0.0/-1",
            "10.0.0.0/8/8",
            "10.0.0/8",
            "010.0.0.0/8",
            "10.0.0.0/256",
            "example.com",
            "10.0.0.0 /8",
            "fe80::1%eth0",
            "[::1]",
        ] {
            assert_eq!(text.parse::<Network>(), Err(BadNetwork::Syntax(text.into())), "{text}");
        }
        for (text, meant) in [
            ("10.1.0.0/8", "10.0.0.0/8"),
            ("2001:db8::1/64", "2001:db8::/64"),
            ("1.2.3.4/0", "0.0.0.0/0"),
        ] {
            assert_eq!(
                text.parse::<Network>(),
                Err(BadNetwork::HostBits(text.into(), network(meant)))
            );
        }
    }

    #[test]
    fn a_network_prints_as_it_was_written() {
        for text in ["10.0.0.0/8", "10.1.2.3", "2001:db8::/32", "::1", "0.0.0.0/0"] {
            assert_eq!(network(text).to_string(), text);
        }
    }

    #[test]
    fn an_ipv6_subscriber_is_one_neighbour() {
        let neighbour = |text: &str| neighbourhood(text.parse().unwrap()).to_string();
        assert_eq!(neighbour("2001:db8:1:2:ffff::1"), "2001:db8:1:2::");
        assert_eq!(neighbour("2001:db8:1:3::1"), "2001:db8:1:3::");
        assert_eq!(neighbour("192.0.2.1"), "192.0.2.1");
        assert_eq!(neighbour("::ffff:192.0.2.1"), "192.0.2.1");
    }
}
