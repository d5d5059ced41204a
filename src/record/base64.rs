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

/// Decodes `text`; `None` for anything that Varnish refuses.
pub(super) fn decode(text: &[u8]) -> Option<SmallVec<[u8; 128]>> {
    let mut out = SmallVec::new();
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
                out.push(word | bits >> 4);
                word = bits << 4;
            }
            3 => {
                if !padded {
                    out.push(word | bits >> 2);
                }
                word = bits << 6;
            }
            _ => {
                if !padded {
                    out.push(word | bits);
                }
                word = 0;
                place = 0;
            }
        }
    }
    (place == 0).then_some(out)
}
