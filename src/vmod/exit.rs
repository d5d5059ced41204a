//! What happens when varnishd's cache process exits.
//!
//! A VMOD gets no event for that: on `varnishadm stop` and when the manager ends, the child
//! calls `exit(3)`. An exit handler may still wait for our threads there.

use std::sync::Once;

static ONCE: Once = Once::new();

/// Makes this process's exit wait for the streams' last uploads. Once is enough.
pub(super) fn install() {
    ONCE.call_once(|| {
        // SAFETY: the handler is a plain function of this module, which is never unmapped.
        unsafe { libc::atexit(at_exit) };
    });
}

extern "C" fn at_exit() {
    // A panic here would abort an exit that goes on well without us.
    let _ = std::panic::catch_unwind(super::registry::drain);
}
