//! Any bytes are an error document, a listing or neither.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vmod_s3log::s3::wire::xml;

fuzz_target!(|bytes: &[u8]| {
    let error = xml::error(bytes);
    assert!(error.code.chars().count() <= 512 && error.message.chars().count() <= 512);
    assert!(!error.message.contains(['\n', '\r']));
    if let Some(page) = xml::page(bytes) {
        let keys: usize = page.entries.iter().map(|entry| entry.key.len()).sum();
        // An entity without a meaning becomes U+FFFD, which may be a byte longer.
        assert!(keys <= 2 * bytes.len());
    }
});
