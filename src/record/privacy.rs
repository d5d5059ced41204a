//! Pseudonyms: what an operator puts in place of an address or a user.
//!
//! Not anonymity: a truncated address still names a network, and whoever has the key can test
//! a guess against a hash.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Keeps the first `v4_bits` (0 to 32) or `v6_bits` (0 to 128) of an address and zeroes the
/// rest; larger numbers keep all. An IPv4-mapped IPv6 address counts as IPv4.
///
/// ```
/// use vmod_s3log::record::privacy::truncate_ip;
/// let ip = |text: &str| text.parse().expect("an address");
/// assert_eq!(truncate_ip(ip("192.0.2.77"), 24, 48), ip("192.0.2.0"));
/// assert_eq!(truncate_ip(ip("2001:db8:1:2::3"), 24, 48), ip("2001:db8:1::"));
/// ```
#[must_use]
pub fn truncate_ip(address: IpAddr, v4_bits: u8, v6_bits: u8) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(v4_bits.min(32))).unwrap_or(0);
            IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() & mask))
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(v6_bits.min(128))).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & mask))
        }
    }
}

/// HMAC-SHA-256 of `value` under `key` (RFC 2104), as 64 lower-case hex digits.
#[must_use]
pub fn hash(key: &[u8], value: &[u8]) -> String {
    // HMAC takes a key of any length; the error type is for other MACs.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return String::new() };
    mac.update(value);
    let mut text = String::with_capacity(64);
    for byte in mac.finalize().into_bytes() {
        for nibble in [byte >> 4, byte & 15] {
            text.push(char::from_digit(u32::from(nibble), 16).unwrap_or('0'));
        }
    }
    text
}
