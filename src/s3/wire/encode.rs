//! The few encodings that S3 puts bytes into: percent, hex, and RFC 2047 words in headers.

/// RFC 3986's unreserved characters: all that SigV4 leaves bare.
fn unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// An object key as S3 wants it in the request path: every byte but the unreserved ones and `/`
/// as `%XX` (upper case), once. S3 does not normalise paths: `//`, `.` and `..` are kept as they
/// are.
#[must_use]
pub fn path(key: &str) -> String {
    percent(key, |byte| unreserved(byte) || byte == b'/')
}

/// A query parameter's name or value: everything but the unreserved characters as `%XX`.
#[must_use]
pub fn query(text: &str) -> String {
    percent(text, unreserved)
}

fn percent(text: &str, bare: impl Fn(u8) -> bool) -> String {
    let mut out = String::with_capacity(text.len() + text.len() / 4);
    for byte in text.bytes() {
        if bare(byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push(digit(byte >> 4).to_ascii_uppercase());
            out.push(digit(byte & 15).to_ascii_uppercase());
        }
    }
    out
}

/// Lower-case hexadecimal.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        out.push(digit(byte >> 4));
        out.push(digit(byte & 15));
    }
    out
}

fn digit(nibble: u8) -> char {
    char::from_digit(u32::from(nibble), 16).unwrap_or('0')
}

/// A metadata value as a header carries it: printable ASCII as it is, other text as one RFC 2047
/// word (`=?UTF-8?B?...?=`), which is what S3 decodes and what it sends back.
///
/// `None` for control characters: no header can carry them.
#[must_use]
pub(crate) fn header_value(text: &str) -> Option<String> {
    use base64::Engine as _;
    if text.chars().any(char::is_control) {
        return None;
    }
    let text = text.trim();
    if text.is_ascii() {
        return Some(text.to_owned());
    }
    Some(format!("=?UTF-8?B?{}?=", base64::engine::general_purpose::STANDARD.encode(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_keeps_slashes_and_unreserved_characters_and_escapes_the_rest_once() {
        assert_eq!(path("a/b-c_d.e~f"), "a/b-c_d.e~f");
        assert_eq!(path("test$file.text"), "test%24file.text");
        assert_eq!(path("10:30 +é%2F"), "10%3A30%20%2B%C3%A9%252F");
        assert_eq!(path("a//../b"), "a//../b");
    }

    #[test]
    fn a_query_value_escapes_the_slash_too() {
        assert_eq!(query("a/b=c&d"), "a%2Fb%3Dc%26d");
    }

    #[test]
    fn metadata_outside_ascii_becomes_one_encoded_word_and_control_characters_are_refused() {
        assert_eq!(header_value(" plain value ").as_deref(), Some("plain value"));
        assert_eq!(header_value("é").as_deref(), Some("=?UTF-8?B?w6k=?="));
        assert_eq!(header_value("a\r\nx-evil: 1"), None);
    }

    #[test]
    fn hex_is_lower_case_and_two_digits_a_byte() {
        assert_eq!(hex(&[0, 0x0f, 0xab, 0xff]), "000fabff");
    }
}
