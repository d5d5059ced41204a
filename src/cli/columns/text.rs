//! A value's bytes as text, and the escapes of lines.
//!
//! A column is UTF-8, and a value need not be. A byte that is no part of valid UTF-8 becomes a character
//! U+EF80 to U+EFFF, as in our JSON (`record::escape`), in every form of escape; and back again.

use crate::record::Escape;

/// Appends `bytes` as text.
pub(super) fn from_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    if bytes.is_ascii() {
        return out.extend_from_slice(bytes);
    }
    for chunk in bytes.utf8_chunks() {
        let mut rest = chunk.valid().as_bytes();
        while let Some(at) = private(rest) {
            let (head, tail) = rest.split_at_checked(at).unwrap_or((rest, &[]));
            out.extend_from_slice(head);
            let (character, after) = tail.split_at_checked(3).unwrap_or((tail, &[]));
            character.iter().for_each(|byte| foreign(*byte, out));
            rest = after;
        }
        out.extend_from_slice(rest);
        chunk.invalid().iter().for_each(|byte| foreign(*byte, out));
    }
}

/// Appends the bytes of `text`.
pub(super) fn to_bytes(text: &[u8], out: &mut Vec<u8>) {
    let mut rest = text;
    while let Some(at) = private(rest) {
        let (head, tail) = rest.split_at_checked(at).unwrap_or((rest, &[]));
        out.extend_from_slice(head);
        if let [_, second, third, ..] = tail {
            out.push(0x80 | (second & 1) << 6 | third & 0x3f);
        }
        rest = tail.get(3..).unwrap_or_default();
    }
    out.extend_from_slice(rest);
}

/// Where the first character U+EF80 to U+EFFF is.
fn private(text: &[u8]) -> Option<usize> {
    memchr::memchr_iter(0xee, text)
        .find(|at| matches!(text.get(*at..), Some([_, 0xbe | 0xbf, _, ..])))
}

fn foreign(byte: u8, out: &mut Vec<u8>) {
    out.extend_from_slice(&[0xee, 0xbe | (byte >> 6 & 1), 0x80 | byte & 0x3f]);
}

/// Appends what `value`, a value as it is in a line, means, as text. `None` for escapes that no line has.
pub(super) fn unescape(value: &[u8], escape: Escape, out: &mut Vec<u8>) -> Option<()> {
    let Some(first) = memchr::memchr(b'\\', value).filter(|_| escape != Escape::None) else {
        from_bytes(value, out);
        return Some(());
    };
    // JSON's escapes are of text, the others of bytes.
    let (head, mut rest) = value.split_at_checked(first)?;
    let mut bytes = head.to_vec();
    let mut plain = Vec::new();
    let target = if escape == Escape::Json {
        from_bytes(&bytes, out);
        &mut *out
    } else {
        plain.append(&mut bytes);
        &mut plain
    };
    while let Some((byte, after)) = rest.split_first() {
        if *byte != b'\\' {
            let to = memchr::memchr(b'\\', rest).unwrap_or(rest.len());
            let (head, tail) = rest.split_at_checked(to)?;
            match escape {
                Escape::Json => from_bytes(head, target),
                _ => target.extend_from_slice(head),
            }
            rest = tail;
            continue;
        }
        let (letter, after) = after.split_first()?;
        rest = after;
        match (letter, escape) {
            (b'x', Escape::Clf) => {
                let (digits, after) = rest.split_at_checked(2)?;
                target.push(hex(digits)? as u8);
                rest = after;
            }
            (b'u', Escape::Json) => {
                let (digits, after) = rest.split_at_checked(4)?;
                let character = char::from_u32(hex(digits)?)?;
                let mut buffer = [0; 4];
                target.extend_from_slice(character.encode_utf8(&mut buffer).as_bytes());
                rest = after;
            }
            (b'"' | b'\\' | b'/', _) => target.push(*letter),
            (b'n', _) => target.push(b'\n'),
            (b'r', _) => target.push(b'\r'),
            (b't', _) => target.push(b'\t'),
            (b'b', _) => target.push(0x08),
            (b'v', Escape::Clf) => target.push(0x0b),
            (b'f', _) => target.push(0x0c),
            (b'0', Escape::Tsv) => target.push(0),
            _ => return None,
        }
    }
    if escape != Escape::Json {
        from_bytes(&plain, out);
    }
    Some(())
}

fn hex(digits: &[u8]) -> Option<u32> {
    u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_bytes_are_text_and_the_same_bytes_again() {
        let mut random = fastrand::Rng::with_seed(3);
        let all: Vec<u8> = (0..=u8::MAX).collect();
        let private = "a\u{ef80}b\u{efff}\u{ef7f}\u{f000}".as_bytes().to_vec();
        let mixed = (0..500).map(|_| {
            let parts: [&[u8]; 6] = [b"\xee", b"\xbe", b"\xbf\x80", "é".as_bytes(), b"x", b"\xff"];
            (0..9).flat_map(|_| parts[random.usize(..6)].to_vec()).collect()
        });
        for bytes in [all, private].into_iter().chain(mixed) {
            let (mut text, mut again) = (Vec::new(), Vec::new());
            from_bytes(&bytes, &mut text);
            assert!(std::str::from_utf8(&text).is_ok(), "{bytes:x?}");
            to_bytes(&text, &mut again);
            assert_eq!(again, bytes);
        }
    }
}
