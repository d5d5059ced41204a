//! `vmod-s3log`: every request's log line, packed into blocks, in an S3 bucket seconds later.
//!
//! The folders are the path a record takes, and a dependency only ever points down it or to a
//! leaf (`built_for`, `clock`, `events`, `printable`, `priority`, `regular_file`, `stats`, `thread`,
//! `units`, `zone`):
//!
//! | module | from | to |
//! |---|---|---|
//! | `vmod` | VCL, a finished task | a view of the request |
//! | [`record`] | that view and a compiled format | one line of bytes |
//! | [`ring`] | many workers | one reader, through a mapped file |
//! | [`block`] | lines | chunks: gzip members, zstd frames or snappy streams, hashed and named |
//! | [`seal`] | a block | an age file for the holders of keys |
//! | [`spool`] | chunks | blocks in a directory that survives restarts |
//! | [`s3`] | a sealed block | an object, by a signed PUT |
//! | [`settings`] | an operator's texts | what the threads go by |
//! | [`pipeline`] | owns the threads that move bytes along the path | |
//! | [`cli`] | reads the other end | |

// What only the module in varnishd asks for is unused in a build without it.
#![cfg_attr(not(feature = "vmod"), allow(dead_code, unused_imports))]

pub mod block;
pub mod built_for;
pub mod cli;
pub mod clock;
pub mod events;
pub mod pipeline;
pub mod printable;
pub mod priority;
pub mod record;
mod regular_file;
pub mod ring;
pub mod s3;
pub mod seal;
pub mod settings;
pub mod spool;
pub mod stats;
mod thread;
pub mod units;
#[cfg(feature = "vmod")]
#[allow(unsafe_code)]
mod vmod;
pub mod zone;

/// The ABI string of the Varnish that this was compiled against, such as
/// `Varnish 7.7.0 eef25264e5ca5f96a77129308edb83ccf84cb1b1`; `None` in a build without Varnish.
pub const VARNISH_ABI: Option<&str> = {
    #[cfg(feature = "vmod")]
    let abi = Some(vmod::abi());
    #[cfg(not(feature = "vmod"))]
    let abi = None;
    abi
};
