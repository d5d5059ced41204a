//! What a host's text says about where it is.

use std::net::IpAddr;

/// Whether a host in lower case is this machine.
pub(in crate::s3) fn is_loopback(host: &str) -> bool {
    match address(host) {
        Some(address) => address.is_loopback(),
        None => host == "localhost" || host.ends_with(".localhost"),
    }
}

/// The address that a host is, with or without the brackets of IPv6.
pub(in crate::s3) fn address(host: &str) -> Option<IpAddr> {
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}
