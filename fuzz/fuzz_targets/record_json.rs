//! Any bytes become a JSON string that gives them back.
#![no_main]

#[path = "../../tests/record/unjson.rs"]
mod unjson;

use libfuzzer_sys::fuzz_target;
use vmod_s3log::record::escape;

fuzz_target!(|bytes: &[u8]| {
    let mut text = b"\"".to_vec();
    escape::json(bytes, &mut text);
    text.push(b'"');
    let decoded: String = serde_json::from_slice(&text).expect("JSON");
    assert_eq!(unjson::unjson(&decoded), bytes);
    if escape::bare(bytes) {
        serde_json::from_slice::<serde_json::Value>(bytes).expect("JSON");
    }
});
