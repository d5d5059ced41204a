//! Lines that are longer than `max_line`.
//!
//! Text is cut at its end; JSON in its longest values, so that it stays JSON. Either way the
//! cut is a character boundary (escapes count as one character) and shows [`MARK`].

use smallvec::SmallVec;

/// What stands where something was cut.
pub(crate) const MARK: &[u8] = b"[cut]";

/// Length in bytes of the character or escape that `text` begins with.
fn step(text: &[u8]) -> usize {
    match text {
        [b'\\', b'u', hex @ ..] if digits(hex, 4) => 6,
        [b'\\', b'x', hex @ ..] if digits(hex, 2) => 4,
        [b'\\', 0x20..=0x7e, ..] => 2,
        [0xc2..=0xdf, 0x80..=0xbf, ..] => 2,
        [0xe0..=0xef, 0x80..=0xbf, 0x80..=0xbf, ..] => 3,
        [0xf0..=0xf4, 0x80..=0xbf, 0x80..=0xbf, 0x80..=0xbf, ..] => 4,
        _ => 1,
    }
}

/// Whether `text` begins with `count` hex digits.
fn digits(text: &[u8], count: usize) -> bool {
    text.get(..count).is_some_and(|head| head.iter().all(u8::is_ascii_hexdigit))
}

/// The last boundary of `text` at or before `most`.
fn boundary(text: &[u8], most: usize) -> usize {
    let mut at = 0;
    while let Some(rest) = text.get(at..)
        && !rest.is_empty()
    {
        let next = at + step(rest);
        if next > most {
            break;
        }
        at = next;
    }
    at.min(text.len())
}

/// Cuts the line at `out[start..]` to `most` bytes, its newline included.
pub(super) fn cut_line(out: &mut Vec<u8>, start: usize, most: usize) {
    let room = most.saturating_sub(MARK.len() + 1);
    let keep = boundary(out.get(start..).unwrap_or_default(), room);
    out.truncate(start + keep);
    out.extend_from_slice(MARK);
    out.push(b'\n');
}

/// Cuts the longest of the JSON strings' `values`, given as (offset, length) in `out`, until
/// `out[start..]` has at most `most` bytes.
pub(super) fn cut_values(out: &mut Vec<u8>, start: usize, most: usize, values: &[(usize, usize)]) {
    let total = out.len() - start;
    let strings: usize = values.iter().map(|(_, length)| length).sum();
    let budget = most.saturating_sub(total.saturating_sub(strings));
    let cap = cap(values, budget);
    let mut to = start;
    let mut from = start;
    for (offset, length) in values {
        move_down(out, &mut to, from, *offset);
        from = *offset;
        if *length > cap {
            let value = out.get(*offset..*offset + *length).unwrap_or_default();
            let keep = boundary(value, cap.saturating_sub(MARK.len()));
            move_down(out, &mut to, from, *offset + keep);
            if cap >= MARK.len()
                && let Some(place) = out.get_mut(to..to + MARK.len())
            {
                place.copy_from_slice(MARK);
                to += MARK.len();
            }
            from = *offset + *length;
        }
    }
    let end = out.len();
    move_down(out, &mut to, from, end);
    out.truncate(to);
}

/// The longest length that all values may have so that together they fit in `budget`.
fn cap(values: &[(usize, usize)], budget: usize) -> usize {
    let (mut low, mut high) = (0, budget);
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        let sum: usize = values.iter().map(|(_, length)| length.min(&middle)).sum();
        if sum <= budget { low = middle } else { high = middle - 1 }
    }
    low
}

/// The longest length that one more value may have behind `values`, whatever comes after it: more
/// values and more text around them leave less for each.
pub(super) fn share(values: &[(usize, usize)], budget: usize) -> usize {
    let values: SmallVec<[(usize, usize); 33]> =
        values.iter().copied().chain([(0, usize::MAX)]).collect();
    cap(&values, budget)
}

fn move_down(out: &mut [u8], to: &mut usize, from: usize, end: usize) {
    if from < end && end <= out.len() && *to <= from {
        out.copy_within(from..end, *to);
        *to += end - from;
    }
}
