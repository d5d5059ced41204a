//! What Varnish calls does not unwind.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs `body`; `None` when it panics, which ends it and nothing else. What is lost by it is the caller's to
/// count.
pub(super) fn guarded<T>(body: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(body)).ok()
}
