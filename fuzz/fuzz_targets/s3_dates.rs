//! Any text is a date, a `Retry-After`, or neither.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use vmod_s3log::s3::wire::date;

fuzz_target!(|text: &str| {
    let now = Duration::from_secs(1_800_000_000);
    let _ = date::http(text);
    let _ = date::rfc3339(text);
    if let (Some(wait), Some(at)) = (date::retry_after(text, now), date::http(text)) {
        assert_eq!(wait, at.saturating_sub(now));
    }
});
