//! What is pushed and read.

/// One record: bytes, and whether they are all that there was to record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// The record itself.
    pub bytes: &'a [u8],
    /// It was shortened before it was pushed.
    pub cut: bool,
}

impl<'a> From<&'a [u8]> for Record<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self { bytes, cut: false }
    }
}

impl<'a, const N: usize> From<&'a [u8; N]> for Record<'a> {
    fn from(bytes: &'a [u8; N]) -> Self {
        Self { bytes, cut: false }
    }
}

impl<'a> From<&'a Vec<u8>> for Record<'a> {
    fn from(bytes: &'a Vec<u8>) -> Self {
        Self { bytes, cut: false }
    }
}
