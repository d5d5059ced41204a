//! The way back from JSON to bytes, as `docs/formats.md` describes it.

/// The bytes that a decoded JSON string of a line stands for.
pub(crate) fn unjson(decoded: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(decoded.len());
    for character in decoded.chars() {
        match u32::from(character) {
            code @ 0xef80..=0xefff => bytes.push((code & 0xff) as u8),
            _ => bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    bytes
}
