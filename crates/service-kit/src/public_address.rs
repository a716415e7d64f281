//! The addresses of the public internet, after the special-purpose registries of IANA (RFC 6890).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Tells whether an address is one of the public internet: nothing of this machine, of its network, or of its cloud.
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

/// Blocks that are not of the public internet, by first address and length of the prefix.
const SPECIAL_V4: &[([u8; 4], u32)] = &[
    // "This network", of which Linux takes 0.0.0.0 for itself (RFC 791 §3.2), and loopback (RFC 1122 §3.2.1.3).
    ([0, 0, 0, 0], 8),
    ([127, 0, 0, 0], 8),
    // Private networks (RFC 1918 §3), and those of carriers, where clouds put services of theirs (RFC 6598 §7).
    ([10, 0, 0, 0], 8),
    ([172, 16, 0, 0], 12),
    ([192, 168, 0, 0], 16),
    ([100, 64, 0, 0], 10),
    // Link-local (RFC 3927 §2.1): the metadata services of most clouds.
    ([169, 254, 0, 0], 16),
    // The host agent of Azure's virtual machines: it looks public, but never leaves the machine.
    ([168, 63, 129, 16], 32),
    // Protocol assignments (RFC 6890 §2.1), documentation (RFC 5737 §3), benchmarks (RFC 2544), the relays of 6to4 (RFC 7526).
    ([192, 0, 0, 0], 24),
    ([192, 0, 2, 0], 24),
    ([198, 51, 100, 0], 24),
    ([203, 0, 113, 0], 24),
    ([198, 18, 0, 0], 15),
    ([192, 88, 99, 0], 24),
    // Multicast (RFC 5771), reserved and broadcast (RFC 1112 §4, RFC 919 §7).
    ([224, 0, 0, 0], 4),
    ([240, 0, 0, 0], 4),
];

fn is_public_v4(address: Ipv4Addr) -> bool {
    let within = |first: [u8; 4], length: u32| (address.to_bits() ^ u32::from_be_bytes(first)) >> (32 - length) == 0;
    !SPECIAL_V4.iter().any(|(first, length)| within(*first, *length))
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let groups = address.segments();
    let [.., a, b, c, d] = address.octets();
    let last = Ipv4Addr::new(a, b, c, d);
    match groups {
        // Teredo (RFC 4380 §4): the server in groups 2 and 3, the client's address inverted at the end.
        [0x2001, 0, high, low, ..] => {
            is_public_v4(joined(high, low)) && is_public_v4(Ipv4Addr::from_bits(!last.to_bits()))
        }
        // Protocol assignments, benchmarks, ORCHID (RFC 2928, RFC 5180 §8, RFC 7343); documentation (RFC 3849, RFC 9637).
        [0x2001, 0x0001..=0x01ff | 0x0db8, ..] | [0x3fff, 0..=0x0fff, ..] => false,
        // 6to4 (RFC 3056 §2).
        [0x2002, high, low, ..] => is_public_v4(joined(high, low)),
        // IPv4 behind a translator (RFC 6052 §2.1; the prefix for private use, 64:ff9b:1::/48 of RFC 8215, is refused below), and in the
        // interface id of ISATAP (RFC 5214 §6.1).
        [0x64, 0xff9b, 0, 0, 0, 0, _, _] | [0x2000..=0x3fff, .., 0 | 0x200, 0x5efe, _, _] => is_public_v4(last),
        // What IANA gives out (RFC 4291 §2.5.4). So loopback, unspecified, link-local, site-local, unique local and multicast addresses are
        // not public, and neither are IPv4-mapped and IPv4-compatible ones: no name on the internet has a reason to have those.
        [0x2000..=0x3fff, ..] => true,
        _ => false,
    }
}

fn joined(high: u16, low: u16) -> Ipv4Addr {
    Ipv4Addr::from_bits((u32::from(high) << 16) | u32::from(low))
}
