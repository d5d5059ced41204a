//! The escapers: any bytes in, one line's worth of text out.
//!
//! | mode | turns | into |
//! |---|---|---|
//! | clf | `"` `\` | `\"` `\\` |
//! | | newline, return, tab | `\n` `\r` `\t` |
//! | | other bytes below 0x20 and above 0x7e | `\xhh` (Apache: backspace `\b`, vertical tab `\v`) |
//! | json | `"` `\` and bytes below 0x20, 0x7f | JSON's escapes |
//! | | valid UTF-8 | itself |
//! | | a byte `b` that is not part of valid UTF-8 | `\uefbb`: the character U+EF00 + b |
//! | tsv | `\`, tab, newline, return, NUL, backspace, form feed | `\\` `\t` `\n` `\r` `\0` `\b` `\f` |
//! | none | newline, return | `\n` `\r` |
//!
//! The JSON mapping is reversible. A byte outside UTF-8 becomes one of the private characters
//! U+EF80 to U+EFFF, and a client that really sent such a character has its three bytes mapped
//! one by one, so a reader gets every byte back: characters U+EF80 to U+EFFF become their low
//! byte, all others their UTF-8.

const HEX: &[u8; 16] = b"0123456789abcdef";
const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

fn hex(nibble: u8) -> u8 {
    HEX.get(usize::from(nibble & 15)).copied().unwrap_or(b'0')
}

/// Bytes that clf and json copy as they are.
#[inline]
fn plain(byte: u8) -> bool {
    matches!(byte, 0x20..=0x7e) && byte != b'"' && byte != b'\\'
}

/// Whether every mode copies `bytes` as they are: printable ASCII without `"` and `\`. What does not
/// fill a step is looked at with what lies before it, some of it for the second time.
#[inline]
pub(super) fn is_plain(bytes: &[u8]) -> bool {
    if bytes.len() >= 32 {
        is_plain_long(bytes)
    } else if let (Some(first), Some(last)) = (bytes.first_chunk::<16>(), bytes.last_chunk::<16>())
    {
        let ([a, b], [c, d]) = (words(first), words(last));
        all_plain(word(a) & word(b) & word(c) & word(d))
    } else if let (Some(first), Some(last)) = (bytes.first_chunk::<8>(), bytes.last_chunk::<8>()) {
        all_plain(word(*first) & word(*last))
    } else if let (Some([a, b, c, d]), Some([e, f, g, h])) =
        (bytes.first_chunk::<4>(), bytes.last_chunk::<4>())
    {
        plain_word([*a, *b, *c, *d, *e, *f, *g, *h])
    } else {
        bytes.iter().all(|byte| plain(*byte))
    }
}

/// [`is_plain`] of 32 bytes and more.
#[inline(never)]
fn is_plain_long(bytes: &[u8]) -> bool {
    let last = bytes.last_chunk::<32>();
    bytes.as_chunks::<32>().0.iter().all(plain_block) && last.is_none_or(plain_block)
}

/// Whether all 32 bytes are plain, in one step. Above 0x7e a byte and one more is, as a signed number,
/// below the blank.
#[inline]
fn plain_block(bytes: &[u8; 32]) -> bool {
    let mut found = [0; 32];
    for (found, byte) in found.iter_mut().zip(bytes) {
        let outside = byte.wrapping_add(1).cast_signed() < 0x21;
        *found = u8::from(outside | (*byte == b'"') | (*byte == b'\\'));
    }
    found == [0; 32]
}

#[inline]
fn words(bytes: &[u8; 16]) -> [[u8; 8]; 2] {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = *bytes;
    [[a, b, c, d, e, f, g, h], [i, j, k, l, m, n, o, p]]
}

/// Length of the prefix that is printable ASCII without `"` and `\`.
#[inline]
fn plain_len(bytes: &[u8]) -> usize {
    let mut rest = bytes;
    // Sixteen bytes at a time, and the last sixteen, some of them for the second time.
    if let Some(last) = bytes.last_chunk::<16>() {
        while let Some((chunk, tail)) = rest.split_first_chunk::<16>()
            && plain_chunk(chunk)
        {
            rest = tail;
        }
        if rest.len() < 16 && plain_chunk(last) {
            return bytes.len();
        }
    } else if let (Some(first), Some(last)) = (bytes.first_chunk::<8>(), bytes.last_chunk::<8>())
        && plain_word(*first)
        && plain_word(*last)
    {
        return bytes.len();
    }
    let done = bytes.len() - rest.len();
    done + rest.iter().position(|byte| !plain(*byte)).unwrap_or(rest.len())
}

/// Whether all sixteen bytes are plain, in one step: there is no early end.
#[inline]
fn plain_chunk(chunk: &[u8; 16]) -> bool {
    chunk.iter().fold(true, |all, byte| all & plain(*byte))
}

/// Whether all eight bytes are plain.
#[inline]
fn plain_word(chunk: [u8; 8]) -> bool {
    all_plain(word(chunk))
}

/// Has the high bit of each byte that is plain; the others say nothing. No sum carries into the next byte.
#[inline]
fn word(chunk: [u8; 8]) -> u64 {
    let all = u64::from_ne_bytes(chunk);
    let seven = all & !HIGH;
    let from_blank = seven + ONES * (0x80 - 0x20);
    let other_than = |byte: u64| (seven ^ (ONES * byte)) + !HIGH;
    let is_7f = seven + ONES;
    from_blank & other_than(0x22) & other_than(0x5c) & !is_7f & !all
}

/// Whether each of a [`word`]'s bytes is plain, or of several that are joined by `&`.
#[inline]
fn all_plain(word: u64) -> bool {
    word & HIGH == HIGH
}

/// Escapes as `VSB_quote` with `VSB_QUOTE_ESCHEX` does, or with `apache` as `mod_log_config`.
#[inline]
pub fn clf(value: &[u8], apache: bool, out: &mut Vec<u8>) {
    let mut rest = value;
    loop {
        let (head, tail) = rest.split_at_checked(plain_len(rest)).unwrap_or((rest, &[]));
        out.extend_from_slice(head);
        let Some((byte, tail)) = tail.split_first() else { return };
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', *byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0x08 if apache => out.extend_from_slice(b"\\b"),
            0x0b if apache => out.extend_from_slice(b"\\v"),
            _ => out.extend_from_slice(&[b'\\', b'x', hex(byte >> 4), hex(*byte)]),
        }
        rest = tail;
    }
}

/// Escapes for the inside of a JSON string.
#[inline]
pub fn json(value: &[u8], out: &mut Vec<u8>) {
    let (head, tail) = value.split_at_checked(plain_len(value)).unwrap_or((value, &[]));
    out.extend_from_slice(head);
    if !tail.is_empty() {
        json_slow(tail, out);
    }
}

fn json_slow(value: &[u8], out: &mut Vec<u8>) {
    for chunk in value.utf8_chunks() {
        let mut rest = chunk.valid().as_bytes();
        loop {
            let dirty = |b: &u8| matches!(b, 0..=0x1f | b'"' | b'\\' | 0x7f | 0xee);
            let at = rest.iter().position(dirty).unwrap_or(rest.len());
            let (head, tail) = rest.split_at_checked(at).unwrap_or((rest, &[]));
            out.extend_from_slice(head);
            rest = match tail {
                [] => break,
                [0xee, second @ (0xbe | 0xbf), third, after @ ..] => {
                    [0xee, *second, *third].into_iter().for_each(|byte| foreign(byte, out));
                    after
                }
                [0xee, after @ ..] => {
                    out.push(0xee);
                    after
                }
                [byte, after @ ..] => {
                    control(*byte, out);
                    after
                }
            };
        }
        chunk.invalid().iter().for_each(|byte| foreign(*byte, out));
    }
}

fn control(byte: u8, out: &mut Vec<u8>) {
    match byte {
        b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
        b'\n' => out.extend_from_slice(b"\\n"),
        b'\r' => out.extend_from_slice(b"\\r"),
        b'\t' => out.extend_from_slice(b"\\t"),
        0x08 => out.extend_from_slice(b"\\b"),
        0x0c => out.extend_from_slice(b"\\f"),
        _ => out.extend_from_slice(&[b'\\', b'u', b'0', b'0', hex(byte >> 4), hex(byte)]),
    }
}

fn foreign(byte: u8, out: &mut Vec<u8>) {
    out.extend_from_slice(&[b'\\', b'u', b'e', b'f', hex(byte >> 4), hex(byte)]);
}

/// Escapes for a tab-separated column as ClickHouse and PostgreSQL read it.
pub fn tsv(value: &[u8], out: &mut Vec<u8>) {
    for byte in value {
        let letter = match byte {
            b'\\' => b'\\',
            b'\t' => b't',
            b'\n' => b'n',
            b'\r' => b'r',
            0 => b'0',
            0x08 => b'b',
            0x0c => b'f',
            _ => {
                out.push(*byte);
                continue;
            }
        };
        out.extend_from_slice(&[b'\\', letter]);
    }
}

/// Copies, but lets no value start a new line.
pub fn none(value: &[u8], out: &mut Vec<u8>) {
    for byte in value {
        match byte {
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            _ => out.push(*byte),
        }
    }
}

/// Whether `value` may stand in a JSON text without quotes: `true`, `false`, `null`, or a
/// number that every reader holds exactly (at most 15 digits, no exponent).
#[must_use]
pub fn bare(value: &[u8]) -> bool {
    if matches!(value, b"true" | b"false" | b"null") {
        return true;
    }
    let digits = value.strip_prefix(b"-").unwrap_or(value);
    let point = digits.iter().position(|byte| *byte == b'.');
    let (whole, fraction) = match point.and_then(|at| digits.split_at_checked(at)) {
        Some((whole, fraction)) => (whole, fraction.get(1..)),
        None => (digits, None),
    };
    let numeric = |part: &[u8]| !part.is_empty() && part.iter().all(u8::is_ascii_digit);
    let zero_led = whole.len() > 1 && whole.first() == Some(&b'0');
    let count = whole.len() + fraction.unwrap_or_default().len();
    count <= 15 && numeric(whole) && !zero_led && fraction.is_none_or(numeric)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_that_is_not_plain_is_found_wherever_it_is() {
        for length in (0..40).chain([63, 64, 65, 95, 96, 97]) {
            let mut bytes = vec![b'a'; length];
            assert!(is_plain(&bytes), "{length}");
            for at in 0..length {
                for byte in 0..=u8::MAX {
                    bytes[at] = byte;
                    let each = (0x20..0x7f).contains(&byte) && byte != b'"' && byte != b'\\';
                    assert_eq!(is_plain(&bytes), each, "byte {byte:#x} at {at} of {length}");
                }
                bytes[at] = b'~';
            }
        }
    }
}
