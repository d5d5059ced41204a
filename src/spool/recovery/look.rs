//! What the files of one block are, as far as reading them tells: for a start, and for who only asks what a start
//! would do.

use std::io;

use super::SpoolFiles;
use crate::block::{Kind, Meta};
use crate::spool::commit::OpenBlock;
use crate::spool::files::names::Name;
use crate::spool::files::{hash, read_small};
use crate::spool::moved::{is_there, some_wait};
use crate::spool::sidecar::Sidecar;
use crate::spool::{Files, SpoolError};

/// What the files of a block are of which no sidecar tells that can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Undescribed {
    /// Not the spool's.
    Foreign,
    /// What taking a block from another folder has left, which was cut short; it is still there.
    Moved,
    /// The open block, perhaps with an encryption that was not finished.
    Open,
    /// Members in one piece in `N.sealed`; the others went when the block was sealed.
    Sealed,
    /// Members in `N.data`.
    Data,
}

/// Says that of the block `number`; `last` is what the ring says of the open one.
pub(super) fn undescribed(
    files: &dyn Files,
    last: Option<OpenBlock>,
    number: u64,
    found: SpoolFiles,
) -> Result<Undescribed, SpoolError> {
    let SpoolFiles { data, sealed, sidecar, .. } = found;
    Ok(match last {
        Some(last) if last.number < number => Undescribed::Foreign,
        last if sealed
            && !data
            && !sidecar
            && last.is_none_or(|last| last.number == number && last.length == 0)
            && some_wait(files)? =>
        {
            Undescribed::Moved
        }
        _ if sealed && !data && is_plain(files, Name::Sealed(number))? => Undescribed::Sealed,
        Some(last) if last.number == number => Undescribed::Open,
        _ if data => Undescribed::Data,
        _ => Undescribed::Foreign,
    })
}

/// Whether a transformed block is not encrypted.
fn is_plain(files: &dyn Files, sealed: Name) -> Result<bool, SpoolError> {
    let name = sealed.to_string();
    let start = read_small(files, &name, 4);
    Ok(Kind::sniff(&start.map_err(SpoolError::io("read", name))?) != Kind::None)
}

/// Whether a power cut has kept a sidecar and not the encrypted block that it describes, or in its
/// place what an earlier attempt had left, while the members are still there. A file system that
/// logs its changes one by one may do that, and only before the directory's sync, so that the block
/// was never sent.
pub(super) fn came_too_early(
    files: &dyn Files,
    sidecar: &Sidecar,
    found: SpoolFiles,
) -> Result<bool, SpoolError> {
    let waits = match sidecar.held {
        Some(number) => {
            let name = Name::Held(number).to_string();
            files.length(&name).map_err(SpoolError::io("read", name))?.is_some()
        }
        None => false,
    };
    let moved = |name: &String| is_there(files, name);
    let members =
        sidecar.transformed && (found.data || waits) || sidecar.moved.as_ref().is_some_and(moved);
    Ok(members && !is_whole(files, sidecar)?)
}

/// Whether the block that `sidecar` describes is there, byte by byte.
fn is_whole(files: &dyn Files, sidecar: &Sidecar) -> Result<bool, SpoolError> {
    let Meta { number, sha256, .. } = sidecar.meta;
    let name = if sidecar.transformed { Name::Sealed(number) } else { Name::Data(number) };
    let name = name.to_string();
    match hash(files, &name, u64::MAX) {
        Ok((_, digest, _)) => Ok(digest == sha256),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(SpoolError::io("read", name)(error)),
    }
}
