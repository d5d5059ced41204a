//! Makes a file of version 1 into one of version 2, in place.
//!
//! The region and slot 0 are where they were; slot 1 moves behind the region. A stop at any point
//! leaves a file that this does again or is done with: slot 1 is copied and on the disk before the
//! version changes, which is one write within a sector.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::layout::{Preamble, SLOT_BYTES, VERSION};

/// Upgrades `file`, which has its new length already.
pub(super) fn upgrade(file: &File, old: Preamble) -> io::Result<Preamble> {
    let new = Preamble { version: VERSION, ..old };
    let mut slot = [0; SLOT_BYTES];
    let ([_, from], [_, to]) = (old.slots(), new.slots());
    file.read_exact_at(&mut slot, from)?;
    file.write_all_at(&slot, to)?;
    file.sync_all()?;
    file.write_all_at(&new.encode(), 0)?;
    file.sync_all()?;
    Ok(new)
}
