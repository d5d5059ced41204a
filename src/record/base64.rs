//! Basic credentials, decoded by the rules of Varnish's `VENC_Decode_Base64`
//! (`lib/libvarnish/venc.c`): padding is required, and nothing but zero bits may be left over.

use smallvec::SmallVec;

fn value(byte: u8) -> Option<u8> {
    match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        b'=' => Some(0),
        _ => None,
    }
}

/// The user in `text`: what stands before the first colon, or zero byte, of what it decodes to, and at most
/// `most` bytes of it. `None` for anything that Varnish refuses. A password is looked through and not kept.
pub(super) fn user(text: &[u8], most: usize) -> Option<SmallVec<[u8; 128]>> {
    let mut out = SmallVec::new();
    let mut ended = false;
    let mut put = |byte: u8| {
        ended |= matches!(byte, b':' | 0);
        if !ended && out.len() < most {
            out.push(byte);
        }
    };
    let mut place = 0;
    let mut padded = false;
    let mut word = 0u8;
    for byte in text {
        let bits = value(*byte)?;
        match *byte {
            b'=' if place < 2 => return None,
            b'=' => padded = true,
            _ if padded => return None,
            _ => {}
        }
        if padded && word != 0 {
            return None;
        }
        place += 1;
        match place {
            1 => word = bits << 2,
            2 => {
                put(word | bits >> 4);
                word = bits << 4;
            }
            3 => {
                if !padded {
                    put(word | bits >> 2);
                }
                word = bits << 6;
            }
            _ => {
                if !padded {
                    put(word | bits);
                }
                word = 0;
                place = 0;
            }
        }
    }
    (place == 0).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::user;

    #[test]
    fn a_long_password_or_user_takes_no_memory_that_the_line_has_no_room_for() {
        // `me:` and zero bytes, then `aaa` again and again.
        let password = b"bWU6".iter().copied().chain(std::iter::repeat_n(b'A', 40_000));
        let found = user(&password.collect::<Vec<u8>>(), 256).unwrap();
        assert!(found.as_slice() == b"me" && !found.spilled(), "{}", found.len());
        let found = user(&b"YWFh".repeat(10_000), 100).unwrap();
        assert_eq!((found.len(), found.spilled()), (100, false));
        // What comes after the user still decides whether these are credentials.
        assert!(user(b"bWU6A", 256).is_none());
    }
}
