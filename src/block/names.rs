//! What a block is called after, in its key and in its metadata: host, stream, and the start of the
//! process.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::digest::{NotHex, from_hex};

/// Longest host or stream in a key, bytes.
pub(crate) const NAME_MAX: usize = 128;

/// Which start of the process a block was begun in; as text 12 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BootId(pub [u8; 6]);

impl BootId {
    /// The id of a start at `seconds` since 1970 (its low 32 bits are kept, enough until 2106), with
    /// `random` to tell two starts in one second apart.
    #[must_use]
    pub const fn new(seconds: u64, random: u16) -> Self {
        let [.., a, b, c, d] = seconds.to_be_bytes();
        let [e, f] = random.to_be_bytes();
        Self([a, b, c, d, e, f])
    }

    /// Seconds since 1970 of the start.
    #[must_use]
    pub(crate) const fn seconds(self) -> u64 {
        let [a, b, c, d, ..] = self.0;
        u32::from_be_bytes([a, b, c, d]) as u64
    }
}

impl fmt::Display for BootId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for BootId {
    type Err = NotHex;

    fn from_str(text: &str) -> Result<Self, NotHex> {
        let mut bytes = [0; 6];
        from_hex(text, &mut bytes)?;
        Ok(Self(bytes))
    }
}

impl Serialize for BootId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for BootId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(|_| serde::de::Error::custom("not 12 hexadecimal digits"))
    }
}

/// Makes a name fit for keys: bytes outside `[A-Za-z0-9._-]` become `_`, 128 bytes are kept, and
/// an empty name becomes `_`.
#[must_use]
pub(crate) fn sanitise(name: &str) -> String {
    let clean = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-' => char::from(byte),
        _ => '_',
    };
    let name: String = name.bytes().take(NAME_MAX).map(clean).collect();
    if name.is_empty() { "_".to_owned() } else { name }
}
