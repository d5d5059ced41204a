//! Which route a block was sealed for: where it goes and who can read it there, as a short digest.

use std::fmt;
use std::str::FromStr;

use super::digest::from_hex;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The first eight bytes of the SHA-256 of what a route consists of, 16 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteId([u8; 8]);

impl RouteId {
    /// From those bytes.
    #[must_use]
    pub const fn new(bytes: [u8; 8]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for RouteId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A text that is not 16 lower-case hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a route is 16 hexadecimal digits")]
pub struct NotARoute;

impl FromStr for RouteId {
    type Err = NotARoute;

    fn from_str(text: &str) -> Result<Self, NotARoute> {
        let mut bytes = [0; 8];
        from_hex(text, &mut bytes).map_err(|_| NotARoute)?;
        Ok(Self(bytes))
    }
}

impl Serialize for RouteId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RouteId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}
