//! Ports for programs that cannot say which one they were given.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU32, Ordering};

/// A port that nobody listens on, and that no test of this process gets twice. It is below those that
/// the kernel gives to clients and to listeners that ask for any: none of these takes it in between.
pub fn free_port() -> u16 {
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    loop {
        let taken = TAKEN.fetch_add(1, Ordering::Relaxed);
        assert!(taken < 20_000, "no free port");
        // Processes begin at different places.
        let port =
            10_000 + (std::process::id().wrapping_mul(37).wrapping_add(taken) % 20_000) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
