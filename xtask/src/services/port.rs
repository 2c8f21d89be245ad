//! Free ports on the loopback address.

use std::net::TcpListener;
use std::time::SystemTime;

use crate::services::error::{Error, Result};

/// Below the range that the kernel gives to outgoing connections, so that a stopped service finds its port again.
const RANGE: std::ops::Range<u16> = 20_000..32_000;

/// Whether nobody listens on the port now.
pub(crate) fn is_free(port: u16) -> bool {
    TcpListener::bind(("127.0.0.1", port)).is_ok()
}

/// The first of `preferred` that is free, else any free port.
pub(crate) fn choose(preferred: &[u16]) -> Result<u16> {
    if let Some(port) = preferred.iter().copied().find(|port| is_free(*port)) {
        return Ok(port);
    }
    let width = RANGE.end - RANGE.start;
    let start = scatter(width);
    (0..width)
        .map(|step| RANGE.start + (start + step) % width)
        .find(|port| is_free(*port))
        .ok_or_else(|| Error::Unsupported(format!("no port between {} and {} is free", RANGE.start, RANGE.end)))
}

/// A start below `width` that differs between processes and moments: two that choose at once should not meet.
fn scatter(width: u16) -> u16 {
    let nanos =
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| u64::from(since.subsec_nanos()));
    let mixed = (nanos ^ (u64::from(std::process::id()) << 32)).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 33;
    u16::try_from(mixed % u64::from(width)).expect("a remainder is below its u16 divisor")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_passed_over_and_a_free_one_is_kept() {
        let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let taken_port = taken.local_addr().unwrap().port();
        assert_ne!(choose(&[taken_port]).unwrap(), taken_port);
        let free = choose(&[]).unwrap();
        assert_eq!(choose(&[taken_port, free]).unwrap(), free);
    }

    #[test]
    fn a_chosen_port_lies_outside_the_range_of_outgoing_connections() {
        assert!(RANGE.contains(&choose(&[]).unwrap()));
    }
}
