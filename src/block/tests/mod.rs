mod codec;
mod key;
mod members;
mod meta;

/// Lines as a node writes them, with enough variety to look like traffic.
fn lines(count: u64) -> String {
    use std::fmt::Write;
    let mut text = String::new();
    for n in 0..count {
        let x = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let _ = writeln!(
            text,
            "203.0.113.{} - - [22/Nov/2026:16:{:02}:{:02} +0000] \"GET /item/{}?q={:x} HTTP/1.1\" 200 {}",
            x % 256,
            n / 60 % 60,
            n % 60,
            x >> 40,
            x >> 32,
            x % 100_000
        );
    }
    text
}
