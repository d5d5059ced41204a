//! Many threads push records, one reads them, and a process that is killed loses none.
//!
//! A record is a byte string. The ring is a file mapped into memory: what a push has published
//! stays in the kernel's pages when the process dies, and the next one reads on.
//!
//! Not for: many readers; two processes at once (the caller locks the directory); a file that
//! somebody truncates while it is mapped, or a copy-on-write file system that runs full later
//! (both end in SIGBUS); surviving a power cut, unless [`Ring::sync`] and
//! `Reader::commit_synced` are used.
//!
//! Limits: a record 0 to 65,536 bytes; a ring 1 MiB to 1 GiB, a power of two; a commit's payload
//! 232 bytes. A record of n bytes takes 8 + n, rounded up to 8, and now and then a pad.
//!
//! ```
//! use vmod_s3log::ring::{Backing, Capacity, Ring};
//!
//! let dir = tempfile::tempdir()?;
//! let path = dir.path().join("ring");
//! let opened = Ring::open(Backing::File(&path), Capacity::MIN)?;
//! opened.ring.push(b"GET /\n")?;
//! opened.ring.push(b"GET /favicon.ico\n")?;
//!
//! let mut reader = opened.reader;
//! assert_eq!(reader.next(), Some(&b"GET /\n"[..]));
//! reader.commit(b"one line is in the block")?;
//! drop((reader, opened.ring));
//!
//! let mut again = Ring::open(Backing::File(&path), Capacity::MIN)?;
//! assert_eq!(again.recovered.payload.as_deref(), Some(&b"one line is in the block"[..]));
//! assert_eq!(again.reader.next(), Some(&b"GET /favicon.ico\n"[..]));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # The file
//!
//! Words are numbers in the machine's byte order; bytes that are not named are zero.
//!
//! | at | bytes | what |
//! |---|---|---|
//! | 0 | 8 | `S3LRING\n`; read as a number, so another byte order is foreign |
//! | 8 | 4 | version, 2 |
//! | 12 | 4 | bytes of this page, 4096 |
//! | 16 | 8 | capacity: bytes of the region, a power of two |
//! | 24 | 8 | key: random, made with the file |
//! | 32 | 4 | CRC-32C of bytes 0 to 31 |
//! | 256 | 8 | tail: position of the next claim |
//! | 264 | 8 | published: the sum of the claims that are published; equals the tail when no push is under way |
//! | 384 | 8 | released: position up to which space came back |
//! | 512 | 256 | commit slot 0 |
//! | 4096 | capacity | the region; position p stands at 4096 + p mod capacity |
//! | 4096 + capacity | 256 | commit slot 1, on a page of its own |
//! | 4352 + capacity | 3840 | 0 |
//!
//! Version 1 had commit slot 1 at 768, in the same sector as slot 0, and ended with the region. Its
//! file is made into one of version 2 when it is opened, in place: see `upgrade.rs`.
//!
//! A commit slot, written in turns; the one with the higher generation counts:
//!
//! | at | bytes | what |
//! |---|---|---|
//! | 0 | 8 | generation, from 1, growing by 1, or by 2 after one that could not be brought to the disk; slot = generation mod 2; written last |
//! | 8 | 8 | head: position up to which records are consumed |
//! | 16 | 8 | bytes of payload (low half), CRC-32C of generation, head, length as 8 bytes each and payload (high half) |
//! | 24 | 232 | payload, the consumer's own |
//!
//! A frame in the region starts at a multiple of 8 and never crosses the region's end: a header
//! word (`header.rs` has its bits), the payload, zeros up to a multiple of 8. A zero header means
//! that nothing is published here. Pads fill the region's end before a record that does not fit
//! there, gaps stand where recovery found nothing that holds.
//!
//! A pad of no bytes that does not end at the region's end is a mark: the record behind it, claimed
//! with it, was cut. A release that does not know of marks skips it like any pad.
//!
//! # Why it is right
//!
//! Positions count bytes since the file was made, never go back, and always keep the order
//! `released <= head <= cursor <= tail <= released + capacity`. So each byte of the region is, at
//! any moment, in one of these states, and each has one owner:
//!
//! | state | positions | who may touch it | leaves by |
//! |---|---|---|---|
//! | free | `tail` to `released` + capacity | nobody; all zero | a claim |
//! | claimed | below `tail`, header zero | the producer that claimed: writes the payload | publication |
//! | published | below `tail`, header set | the reader: reads | the cursor |
//! | read | `head` to `cursor` | the reader; slices end with the next `&mut` call | a commit |
//! | consumed | `released` to `head` | the reader: zeroes | the release |
//!
//! - *Claims are disjoint*: one compare-exchange on `tail` takes a range that starts where the
//!   one before ended. It fails if `tail` has moved since it was read, and `tail` never has a
//!   value twice. A claim ends at most at `released` + capacity, with a `released` read before
//!   the exchange; as that only grows, the bound still holds then.
//! - *Claimed bytes are zero and nobody's*: the producer's Acquire load of `released` pairs with
//!   the reader's Release store, which follows the zeroing and the reader's last access.
//! - *Published bytes are whole*: the Release store of the header follows the payload's copy and
//!   pairs with the reader's Acquire load. Nobody writes them again before the release.
//! - *Nothing is skipped or read twice*: frames lie end to end, the reader steps from one to the
//!   next, and stops at a zero header. It meets no header of the lap before, because claimed
//!   bytes were zeroed, and does not run into its own tail, because it stops a lap behind
//!   `released`. A producer that is slow between claim and publication holds up the reader, not
//!   the other producers.
//! - *Damage costs its records only*: where what was published does not hold any more, the reader
//!   goes on behind it. Zeros look like a claim that is not published, so each push adds to
//!   `published` what its claim has added to `tail`, once it has published. The reader takes
//!   `published` first, with Acquire, and then `tail`: the claims of all pushes in the first are in
//!   the second, and every claim adds more than nothing, so where both are equal they are the same
//!   pushes. Then all below that tail is published, and zeros there are damage (`step_over.rs`). A
//!   push that is slow keeps both apart and is waited for; a ring that fills up meanwhile refuses
//!   further pushes, so that the moment comes as soon as that one is done.
//! - *Nobody waits for a lock*: a push whose exchange fails does so because another's succeeded.
//!
//! A killed process leaves of each thread a prefix of its instructions (the Release stores and
//! compiler fences keep the compiler to the order that matters). So:
//!
//! - killed before publication, the header is zero: recovery finds no frame, makes a gap of it,
//!   and finds the next record by its check. Killed after, the record holds;
//! - killed in a commit before its generation is stored, the other slot counts: records and
//!   payload are as before. Killed after, this slot counts; what was not zeroed yet lies outside
//!   `head` to `head` + capacity of this lap, its checks belong to the lap before, and recovery
//!   zeroes it. There is no instant at which the one is new and the other old;
//! - killed in recovery, the same walk gives the same result again (`recover.rs`).
//!
//! A power cut leaves of each page what it was at some moment since it was last on the disk, and of
//! the two pages with commits perhaps a torn one. So:
//!
//! - a commit that counts on the disk (`Reader::commit_synced`) is written over the older of two,
//!   and the newer one is on the disk already: whatever is torn, one of them holds;
//! - one that could not be brought to the disk is written again to the same slot, so that the other
//!   one stays: the kernel takes pages that it failed to write for written;
//! - nothing is erased before the commit that consumes it is on the disk.
//!
//! On a processor that reorders memory accesses, as ARM64 does and x86-64 hardly, the compiler's order is not
//! enough for the other threads. What they rely on are these pairs, and nothing else:
//!
//! | Release | Acquire | whoever sees the value also sees |
//! |---|---|---|
//! | a frame's header: `Ring::publish` | `frame::read`, `step_over` | the payload, and before it the mark that says it was cut |
//! | `published`: the addition in `Ring::place` | `Ring::settled` | the frames of every push in the sum, for the additions of others continue the release sequence; and a tail that counts their claims, which the pushes exchanged before |
//! | `released`: `Reader::release` | `Ring::claim` | the zeros, and that the reader has read what was there |
//!
//! The tail is Relaxed everywhere. It hands out positions, and no byte is reached through it: a producer's
//! come to it by `released`, which it loads again after each exchange that failed; a reader's by a header or by
//! `published`. An older `released` than there is refuses a push that would have found room, and an older tail
//! fails the exchange. The reader meets no header of its last lap, for it zeroed that word itself, and one thread
//! never loads an older value of a word than it has stored. The commit slots and `high_water` are no messages
//! between threads: the reader alone writes them. How the reader reaches its thread, and the ring the
//! producers, is the business of `thread::spawn` and `Arc`. `loom.rs` runs small cases with all that these
//! orderings allow.
//!
//! A kill is the same on both: ARM64's interrupts are precise, too. What a thread did before the one that
//! ended it is done, in whatever order the caches got it, what stood behind has not begun, and the kernel
//! has stopped all threads before the next process can lock the directory. The page that a power cut leaves
//! may have words of different moments, as stores reach memory out of order: that is why a header holds the
//! check of its payload, and a commit slot that of all its words.
//!
//! What a file says is never believed further than its checks reach, and no length takes an
//! access out of the mapping, whatever the file holds.

mod check;
mod frame;
mod header;
mod inspect;
mod layout;
#[cfg(test)]
#[cfg(s3log_loom)]
mod loom;
#[cfg(not(all(test, s3log_loom)))]
mod mapped;
#[cfg(test)]
#[cfg(s3log_loom)]
mod modelled;
mod open;
mod producer;
mod reader;
mod record;
mod recover;
mod step_over;
mod sync;
#[cfg(test)]
#[cfg(not(s3log_loom))]
mod tests;
mod upgrade;

pub use inspect::Glance;
pub(crate) use inspect::glance;
pub use open::{Backing, BadCapacity, Capacity, OpenError, Opened, Recovered};
pub use producer::{PushError, Ring, Usage};
pub use reader::{CommitTooLong, Reader, SyncError, Torn};
pub(crate) use reader::{Taken, Until};
pub use record::Record;
