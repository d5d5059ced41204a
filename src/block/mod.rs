//! What a block is made of: members, a name, and what it says of itself.
//!
//! A *chunk* of records becomes one independent gzip member, zstd frame or snappy stream
//! ([`ChunkEncoder`]); a block is a concatenation of members, so `zcat` and `zstdcat` read it as
//! one file, and so does [`Decoder`]. One member may be made of them when the block is sealed. A block is
//! named by [`Naming`] and described by [`Meta`], which travels as the object's user metadata and rests
//! beside the file in the spool.
//!
//! Non-goals: files, threads and the network; this module turns bytes into bytes.
//!
//! Limits: a key is at most 1,024 bytes (S3's limit), all metadata together under 1,280 bytes of
//! S3's 2,048, host and stream 128 bytes each.

mod codec;
mod decoder;
mod digest;
mod encoder;
mod key;
mod meta;
mod names;
mod one_member;
mod route;
mod snappy;
mod stream;

pub use codec::{Codec, CodecError, Kind, Members};
pub use decoder::{Decoder, Member, members};
pub use digest::{Digest, Hasher};
pub use encoder::ChunkEncoder;
pub use key::{KeyParts, NameError, Naming};
pub(crate) use meta::META_FORMAT;
pub use meta::{Drops, Meta, MetaError, Signature, statement, trusted_comment};
pub use names::BootId;
pub(crate) use names::sanitise;
pub(crate) use one_member::OneMember;
pub use route::{NotARoute, RouteId};
pub(crate) use stream::StreamEncoder;

#[cfg(test)]
mod tests;
