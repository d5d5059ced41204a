//! One record out of so many, chosen by the transaction's number.
//!
//! The choice is a function of the number alone, so that streams, reloads and nodes that see the same
//! transaction agree, and what is in a sample of 1 in 100 is in one of 1 in 10 as well. Varnish hands
//! out its numbers one after the other, to each worker in portions; they are mixed first, or a sample
//! would follow that pattern.
//!
//! Limits: 1 in 1 to 1 in 1,000,000.

use std::num::NonZeroU64;
use std::str::FromStr;

/// The largest number of records that one stands for.
const SAMPLE_MAX: u64 = 1_000_000;

/// How many records one of the sample stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample(NonZeroU64);

/// A text that is no such share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a share from \"1/1\" to \"1/1000000\", such as \"1/100\"")]
pub struct NotASample;

impl FromStr for Sample {
    type Err = NotASample;

    fn from_str(text: &str) -> Result<Self, NotASample> {
        let of: NonZeroU64 = text
            .strip_prefix("1/")
            .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
            .and_then(|digits| digits.parse().ok())
            .ok_or(NotASample)?;
        if of.get() > SAMPLE_MAX { Err(NotASample) } else { Ok(Self(of)) }
    }
}

impl Default for Sample {
    /// Every record.
    fn default() -> Self {
        Self(NonZeroU64::MIN)
    }
}

impl Sample {
    /// How many records one stands for.
    #[must_use]
    pub(crate) const fn factor(self) -> u64 {
        self.0.get()
    }

    /// Whether the transaction with this number is in the sample.
    #[must_use]
    pub const fn has(self, vxid: u64) -> bool {
        mix(vxid) <= u64::MAX / self.0.get()
    }
}

/// The finalizer of SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators").
const fn mix(mut value: u64) -> u64 {
    value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(text: &str) -> Sample {
        text.parse().unwrap()
    }

    /// From the reference implementation, seed 0 (Vigna, <https://prng.di.unimi.it/splitmix64.c>).
    #[test]
    fn numbers_are_mixed_as_the_reference_does() {
        assert_eq!(mix(0), 0xe220_a839_7b1d_cdaf);
        assert_eq!(mix(0x9e37_79b9_7f4a_7c15), 0x6e78_9e6a_a1b9_65f4);
    }

    #[test]
    fn the_share_of_transactions_is_the_one_asked_for_whatever_the_numbers_pattern() {
        // Every second number, as clients have them, and portions of 32,768 as workers have them.
        for step in [1, 2, 3, 32_768] {
            for of in [2, 10, 100, 1000] {
                let sample = sample(&format!("1/{of}"));
                let taken = (0..1_000_000_u64).filter(|n| sample.has(n * step)).count() as f64;
                let expected = 1_000_000.0 / f64::from(of);
                // Five standard deviations.
                let most = 5.0 * expected.sqrt();
                assert!((taken - expected).abs() < most, "1/{of}, step {step}: {taken}");
            }
        }
    }

    #[test]
    fn a_smaller_sample_is_a_part_of_a_larger_one() {
        let (small, large) = (sample("1/100"), sample("1/7"));
        assert!((0..100_000).all(|vxid| !small.has(vxid) || large.has(vxid)));
        assert!((0..1000).all(|vxid| Sample::default().has(vxid)));
    }

    #[test]
    fn only_shares_of_one_are_taken() {
        assert_eq!(sample("1/1"), Sample::default());
        assert_eq!(sample("1/1000000").factor(), SAMPLE_MAX);
        for text in ["", "1", "1/", "1/0", "2/3", "1/1000001", "0.01", "1%", "1/+5", " 1/5", "1/5 "]
        {
            assert_eq!(text.parse::<Sample>(), Err(NotASample), "{text:?}");
        }
    }
}
