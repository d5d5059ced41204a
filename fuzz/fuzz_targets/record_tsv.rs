//! Any bytes become a column that gives them back, and `none` keeps to one line.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vmod_s3log::record::escape;

fuzz_target!(|bytes: &[u8]| {
    let mut text = Vec::new();
    escape::tsv(bytes, &mut text);
    assert!(!text.iter().any(|byte| matches!(byte, b'\t' | b'\n' | b'\r' | 0)));
    let mut back = Vec::new();
    let mut rest = text.iter().copied();
    while let Some(byte) = rest.next() {
        back.push(match byte {
            b'\\' => match rest.next().expect("an escape") {
                b't' => b'\t',
                b'n' => b'\n',
                b'r' => b'\r',
                b'0' => 0,
                b'b' => 8,
                b'f' => 12,
                other => other,
            },
            other => other,
        });
    }
    assert_eq!(back, bytes);
    text.clear();
    escape::none(bytes, &mut text);
    assert!(!text.iter().any(|byte| matches!(byte, b'\n' | b'\r')));
});
