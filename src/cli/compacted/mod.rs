//! What `s3log compact` leaves in a bucket: few large objects, and manifests that say what is in them.
//!
//! | file | what |
//! |---|---|
//! | `key` | the names of manifests and compacted objects |
//! | `manifest` | what a manifest says, as JSON, and whether it agrees with itself |
//! | `place` | where in a compacted object the lines of a block are |
//! | `ranges` | the lines of an object that is a Parquet file |
//! | `load` | the manifests of a range of time, and the blocks that they name |
//! | `signed` | who vouches for a manifest |
//!
//! An object without a manifest that names it does not exist for a reader: a run that was ended may
//! have left it. A block that a manifest names is read from the compacted object, whether the block
//! itself is still there or not.
//!
//! Non-goals: how they are made (`compact`), and what they prove (`verify`).
//!
//! Limits: 10,000 blocks and 64 MiB a manifest, 9,999 manifests a stream and day. Memory: a manifest
//! is held whole while it is read, some 2 KiB a block; afterwards some 300 bytes a block.

mod key;
mod load;
mod manifest;
mod place;
mod ranges;
mod signed;

pub(in crate::cli) use self::key::{CompactKey, Day, Form, forms, part};
pub(in crate::cli) use self::load::{Loaded, blocks, load, manifests, merge, read};
pub(in crate::cli) use self::manifest::{FORMAT, INPUTS_MAX, Input, Manifest, Part, comment};
pub(in crate::cli) use self::place::{Place, Within};
pub(in crate::cli) use self::ranges::lines;
pub(in crate::cli) use self::signed::NotSigned;
