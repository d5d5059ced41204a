//! Any bytes become printable ASCII that gives them back, in both dialects.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vmod_s3log::record::escape;

fuzz_target!(|bytes: &[u8]| {
    for apache in [false, true] {
        let mut text = Vec::new();
        escape::clf(bytes, apache, &mut text);
        assert!(text.iter().all(|byte| (0x20..=0x7e).contains(byte)));
        assert_eq!(back(&text), bytes);
    }
});

fn back(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.iter().copied();
    while let Some(byte) = rest.next() {
        assert_ne!(byte, b'"', "a quote without its backslash");
        bytes.push(match byte {
            b'\\' => match rest.next().expect("an escape") {
                b'n' => b'\n',
                b'r' => b'\r',
                b't' => b'\t',
                b'b' => 8,
                b'v' => 11,
                b'x' => {
                    let mut digit = || char::from(rest.next().expect("a digit")).to_digit(16);
                    (digit().expect("hex") * 16 + digit().expect("hex")) as u8
                }
                other => other,
            },
            other => other,
        });
    }
    bytes
}
