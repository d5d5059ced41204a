//! The metadata of many blocks.

use std::ops::ControlFlow;

use super::list::FoundBlock;
use super::parallel::{each, patiently};
use crate::cli::Error;
use crate::cli::terminal::Progress;
use crate::s3::{Answer, Head};

/// Requests for metadata at a time.
pub(in crate::cli) const HEADS: usize = 16;

/// Asks for the metadata of `blocks` in parallel, and shows `take` each answer with the block's place, in the order
/// in which they come. An answer that it does not take ends this.
///
/// # Errors
/// That answer.
pub(super) fn heads(
    blocks: &[&FoundBlock<'_>],
    progress: &Progress,
    mut take: impl FnMut(usize, Result<Head, Answer>) -> Result<(), Answer>,
) -> Result<(), Error> {
    let mut failed = None;
    each(
        blocks,
        HEADS,
        |found| patiently(|| found.source.client.head(&found.key)),
        |place, answer| {
            progress.add(1);
            let Err(answer) = take(place, answer) else { return ControlFlow::Continue(()) };
            let key = blocks.get(place).map_or("", |found| &*found.key);
            failed = Some(Error::gateway(format!("head {key}"), answer));
            ControlFlow::Break(())
        },
    );
    failed.map_or(Ok(()), Err)
}
