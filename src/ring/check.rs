//! The check value of a payload: CRC-32C (Castagnoli).
//!
//! A record has some hundred bytes. For so few the crate `crc32c` takes more instructions to find its way
//! than for the bytes: on x86-64 215 of them for 220 bytes, in every push and again in every read, where 92 do.
//! So a short payload is summed here with the processor's instruction, word by word. A longer one is the
//! crate's, which sums three parts of it at once, and so is any payload where the processor has no such
//! instruction (the first ARM64 ones) or is neither an x86-64 nor an ARM64.
#![allow(unsafe_code)]

/// The shortest payload that the crate sums in three parts, bytes.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
const LONG: usize = 3 * 256;

/// The CRC-32C of `bytes`.
#[inline]
pub(super) fn crc32c(bytes: &[u8]) -> u32 {
    #[cfg(target_arch = "x86_64")]
    if bytes.len() < LONG && std::arch::is_x86_feature_detected!("sse4.2") {
        // SAFETY: the processor has SSE 4.2.
        return unsafe { short(bytes) };
    }
    #[cfg(target_arch = "aarch64")]
    if bytes.len() < LONG && std::arch::is_aarch64_feature_detected!("crc") {
        // SAFETY: the processor has the extension CRC32.
        return unsafe { short(bytes) };
    }
    ::crc32c::crc32c(bytes)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "sse4.2")]
fn short(bytes: &[u8]) -> u32 {
    use std::arch::x86_64::{_mm_crc32_u8, _mm_crc32_u64};

    let mut sum = u64::from(u32::MAX);
    // Four a step: a loop's own instructions would be most of it.
    let (steps, rest) = bytes.as_chunks::<32>();
    for step in steps {
        for word in step.as_chunks::<8>().0 {
            sum = _mm_crc32_u64(sum, u64::from_le_bytes(*word));
        }
    }
    let (words, rest) = rest.as_chunks::<8>();
    for word in words {
        sum = _mm_crc32_u64(sum, u64::from_le_bytes(*word));
    }
    // The instruction leaves the upper half zero.
    let sum = u32::try_from(sum).unwrap_or_default();
    !rest.iter().fold(sum, |sum, byte| _mm_crc32_u8(sum, *byte))
}

#[cfg(target_arch = "aarch64")]
#[target_feature(enable = "crc")]
fn short(bytes: &[u8]) -> u32 {
    use std::arch::aarch64::{__crc32cb, __crc32cd};

    let (words, rest) = bytes.as_chunks::<8>();
    let words = words.iter().map(|word| u64::from_le_bytes(*word));
    let sum = words.fold(u32::MAX, |sum, word| __crc32cd(sum, word));
    !rest.iter().fold(sum, |sum, byte| __crc32cb(sum, *byte))
}

#[cfg(test)]
mod tests {
    /// The value that RFC 3720, B.4, gives for 32 bytes of zeros and for the numbers 0 to 31.
    #[test]
    fn the_values_of_the_iscsi_standard_come_out() {
        let numbers: Vec<u8> = (0..32).collect();
        assert_eq!(super::crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(super::crc32c(&numbers), 0x46dd_794e);
    }

    #[test]
    fn every_length_and_place_has_the_value_that_the_crate_computes() {
        let bytes: Vec<u8> = (0..1_100_u32).map(|at| (at * 31 % 251) as u8).collect();
        for length in 0..1_090 {
            for start in 0..8 {
                let part = &bytes[start..start + length];
                assert_eq!(super::crc32c(part), ::crc32c::crc32c(part), "{start} {length}");
            }
        }
    }
}
