//! Any bytes are a credentials file or an error that repeats none of its values.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vmod_s3log::s3::credentials::profile;

fuzz_target!(|bytes: &[u8]| {
    match profile(bytes, "default") {
        Ok(section) => {
            for (key, value) in &section {
                assert_eq!(key.trim(), key);
                assert_eq!(value.trim(), value.as_str());
            }
        }
        Err(error) => assert!(error.to_string().len() < 100),
    }
});
