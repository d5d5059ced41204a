//! The blocks of streams in a bucket: found, chosen, fetched and opened.
//!
//! | file | what |
//! |---|---|
//! | `list` | which objects of a bucket are blocks of a stream |
//! | `paging` | whether a listing goes on, has ended, or cannot be believed |
//! | `folders` | which prefixes have to be listed for a range of time |
//! | `select` | the blocks that a range of time and a list of hosts ask for |
//! | `fetch` | the lines of many blocks, in order |
//! | `moved` | where the lines of blocks are that compaction has deleted meanwhile |
//! | `heads` | the metadata of many blocks |
//! | `others` | blocks of another stream whose keys look like those of ours |
//! | `parallel` | many requests at a time, and another attempt for those that fail for a moment |
//! | `keys` | what opens encrypted blocks |
//!
//! Non-goals: what is printed, and what a block's content proves.

mod fetch;
mod folders;
mod heads;
mod keys;
mod list;
mod moved;
mod others;
mod paging;
mod parallel;
mod select;

pub(in crate::cli) use self::fetch::{Jobs, lines};
pub(in crate::cli) use self::folders::fixed;
pub(in crate::cli) use self::heads::HEADS;
pub(in crate::cli) use self::keys::{Keys, Opener};
pub(in crate::cli) use self::list::{FoundBlock, Listing, PROBE, list, none_found, pages};
pub(in crate::cli) use self::moved::Moved;
pub(in crate::cli) use self::others::Others;
pub(in crate::cli) use self::paging::walk;
pub(in crate::cli) use self::parallel::{Breaks, each, in_order, patiently};
pub(in crate::cli) use self::select::{Range, Told, current, filter, gather, meta, metas, select};
