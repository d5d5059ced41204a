//! Whether this cache process has just been launched.
//!
//! The manager launches it, loads into it every VCL that it has (`mgt_push_vcls`), and only then
//! tells it to `start`, at which `VCA_Start` creates the thread `cache-acceptor` (`vca_acct`, in
//! `cache_acceptor.c` of 7.4 to 9.0). Until then the process accepts no connection and no VCL is in
//! use; a `vcl.load` that fails ends the process, and after a crash the site is down.

use std::fs;

/// What the thread that accepts connections is called.
const ACCEPTOR: &str = "cache-acceptor";

/// Whether the manager has not told this process to start yet. `false` where that cannot be
/// determined.
pub(super) fn is_starting() -> bool {
    let Ok(threads) = fs::read_dir("/proc/self/task") else { return false };
    let mut names =
        threads.map(|entry| entry.and_then(|entry| fs::read_to_string(entry.path().join("comm"))));
    // A thread that has ended meanwhile has no name any more.
    let mut any = false;
    let running = names.any(|name| {
        any |= name.is_ok();
        name.is_ok_and(|name| name.trim_end() == ACCEPTOR)
    });
    any && !running
}
