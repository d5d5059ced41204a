//! Good members out of a file that is not as it should be.
//!
//! A member carries its own check value, so the members before the first bad one are whole records
//! that were committed or about to be. What is cut off is copied to `foreign/` first.

use std::io;

use crate::block::{Kind, members};
use crate::spool::files::names::{FOREIGN, Name};
use crate::spool::files::{for_each_buffer, remove_if_there};
use crate::spool::{Files, SpoolError};

/// The good start of a file of members.
#[derive(Debug, Clone)]
pub(super) struct Good {
    pub(super) length: u64,
    pub(super) records: u64,
    pub(super) raw_bytes: u64,
    /// Whether the file ended there.
    pub(super) whole: bool,
}

/// Finds the good members in the first `limit` bytes of `name`.
pub(super) fn good_members(
    files: &dyn Files,
    name: &str,
    kind: Kind,
    limit: u64,
) -> Result<Good, SpoolError> {
    let source = files.read(name).map_err(SpoolError::io("read", name))?;
    let mut good = Good { length: 0, records: 0, raw_bytes: 0, whole: false };
    let bad = members(io::Read::take(source, limit), kind, |member| {
        good.length += member.stored;
        good.raw_bytes += member.raw;
        good.records += member.lines;
    })
    .map_err(SpoolError::io("read", name))?;
    good.whole = bad.is_none();
    Ok(good)
}

/// The good members of a file of which nothing else tells, and their codec; `None` when it has none.
/// `usual` is the codec of the settings.
pub(super) fn members_of(
    files: &dyn Files,
    usual: Kind,
    name: Name,
) -> Result<Option<(Kind, Good)>, SpoolError> {
    let name = name.to_string();
    let mut start = [0; 4];
    let mut source = files.read(&name).map_err(SpoolError::io("read", &name))?;
    let codec = match io::Read::read_exact(&mut source, &mut start) {
        Ok(()) => Kind::sniff(&start),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Kind::None,
        Err(error) => return Err(SpoolError::io("read", name)(error)),
    };
    // A file whose start is torn has no magic number either, and is not lines.
    let torn = start.iter().any(|byte| byte.is_ascii_control());
    if codec == Kind::None && usual != Kind::None && torn {
        return Ok(None);
    }
    let good = good_members(files, &name, codec, u64::MAX)?;
    Ok(Some((codec, good)).filter(|(_, good)| good.length > 0))
}

/// Cuts `name` to `length`, after a copy of all of it was put into `foreign/`.
///
/// Doing it again changes nothing: a file of that length is neither copied nor cut.
pub(super) fn cut(
    files: &dyn Files,
    name: &str,
    length: u64,
) -> Result<Option<String>, SpoolError> {
    let found = files.length(name).map_err(SpoolError::io("read", name))?.unwrap_or(0);
    if found <= length {
        return Ok(None);
    }
    let copy = free_name(files, name)?;
    let written = files.create(&copy, &[]).and_then(|()| {
        for_each_buffer(files, name, found, |bytes| files.append(&copy, bytes)).map(drop)
    });
    if let Err(source) = written {
        // No half copy on a full disk; it would be taken for the whole one.
        let _ = remove_if_there(files, &copy);
        return Err(SpoolError::Io { doing: "write", name: copy, source });
    }
    files.truncate(name, length).map_err(SpoolError::io("truncate", name))?;
    Ok(Some(copy))
}

/// Moves a file that is none of ours into `foreign/`, under a name that is free there.
pub(super) fn set_aside(files: &dyn Files, name: &str) -> Result<String, SpoolError> {
    let to = free_name(files, name)?;
    files.rename(name, &to).map_err(SpoolError::io("rename", name))?;
    Ok(to)
}

fn free_name(files: &dyn Files, name: &str) -> Result<String, SpoolError> {
    let first = format!("{FOREIGN}/{name}");
    let mut to = first.clone();
    let mut more = 0_u64;
    while files.length(&to).map_err(SpoolError::io("read", &to))?.is_some() {
        more += 1;
        to = format!("{first}.{more}");
    }
    Ok(to)
}
