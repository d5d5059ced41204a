//! Where in a compacted object the lines of a block are.

use std::sync::Arc;

use super::key::Form;

/// A compacted object, as its manifest names it.
#[derive(Debug)]
pub(in crate::cli) struct Place {
    /// Its key.
    pub(in crate::cli) key: Box<str>,
    /// Bytes of the object.
    pub(in crate::cli) size: u64,
    /// How it has its lines.
    pub(in crate::cli) form: Form,
    /// `.age`, `.pgp` or nothing.
    pub(in crate::cli) seal: &'static str,
}

/// A block's lines in a compacted object.
#[derive(Debug, Clone)]
pub(in crate::cli) struct Within {
    /// The object.
    pub(in crate::cli) place: Arc<Place>,
    /// Which of the blocks that the manifest names for the object it is, from 0.
    pub(in crate::cli) block: u32,
    /// Where they begin in it, bytes uncompressed and unencrypted.
    pub(in crate::cli) at: u64,
    /// Their length, the same.
    pub(in crate::cli) bytes: u64,
    /// Their number.
    pub(in crate::cli) records: u64,
    /// Time of the last record, ns since 1970.
    pub(in crate::cli) last: u64,
    /// Whether the block itself is still in the bucket.
    pub(in crate::cli) beside: bool,
}

impl Within {
    /// Whether both are of one object, and the lines of `after` are behind ours.
    pub(in crate::cli) fn precedes(&self, after: &Self) -> bool {
        Arc::ptr_eq(&self.place, &after.place) && self.at <= after.at
    }
}
