//! Which Varnish a module was compiled against, read from the module's file.
//!
//! A module loads only into the Varnish whose ABI string it carries, and nothing else of the file says
//! which one that is in all versions: the description that the VCL compiler reads has the string from
//! Varnish 7.2 on, and has pointers to it before. So the module carries the string once more, between
//! two marks (`mark`), and [`of`] looks for them.
//!
//! Non-goals: whether the two fit. Varnish compares the whole text, which is [`BuiltFor::abi`].
//!
//! Limits: a module file of at most 512 MiB, which is read as a whole (a debug build has 40 MB).

use std::fmt;
use std::io;
use std::path::Path;

use memchr::memmem;

use crate::regular_file;

/// What stands before the ABI string; no text of a source file has such a byte in it.
const BEFORE: &[u8] = b"s3log is built for\x02";

/// What ends it.
const AFTER: u8 = 3;

/// Longest ABI string, in bytes; they have about 60.
const ABI_MAX: usize = 256;

/// Largest module file.
const MODULE_MAX: u64 = 512 << 20;

/// Length of the mark around an ABI string of `abi` bytes.
pub(crate) const fn mark_length(abi: usize) -> usize {
    BEFORE.len() + abi + 1
}

/// The mark around an ABI string: `N` is [`mark_length`] of it.
pub(crate) const fn mark<const N: usize>(abi: &[u8]) -> [u8; N] {
    let mut bytes = [AFTER; N];
    let (head, rest) = bytes.split_at_mut(BEFORE.len());
    head.copy_from_slice(BEFORE);
    rest.split_at_mut(abi.len()).0.copy_from_slice(abi);
    bytes
}

/// The Varnish that a module was compiled against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuiltFor {
    abi: String,
}

/// Why that cannot be determined.
#[derive(Debug, thiserror::Error)]
pub enum BuiltForError {
    /// The file cannot be read.
    #[error(transparent)]
    Read(#[from] io::Error),
    /// It is not this module, or one that was built before it had the mark.
    #[error(
        "it does not say which Varnish it was built for: it is not the module s3log, or one that is too old to say so"
    )]
    Unmarked,
}

impl BuiltFor {
    /// What Varnish compares: product, version and commit, such as
    /// `Varnish 7.7.0 eef25264e5ca5f96a77129308edb83ccf84cb1b1`. A Varnish that was built from a
    /// release's archive may have `NOGIT` for its commit.
    #[must_use]
    pub fn abi(&self) -> &str {
        &self.abi
    }

    /// The version alone, such as `7.7.0`; `trunk` in a Varnish between releases.
    #[must_use]
    pub fn version(&self) -> &str {
        let (rest, _) = self.split();
        rest.rsplit_once(' ').map_or(rest, |(_, version)| version)
    }

    /// The commit alone, as `varnishd -V` prints it behind `revision`.
    #[must_use]
    pub fn commit(&self) -> &str {
        self.split().1
    }

    fn split(&self) -> (&str, &str) {
        self.abi.rsplit_once(' ').unwrap_or((&self.abi, ""))
    }
}

/// For people: `Varnish 7.7.0 (revision eef25264...)`, with the words of `varnishd -V`.
impl fmt::Display for BuiltFor {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (version, commit) = self.split();
        write!(out, "{version} (revision {commit})")
    }
}

/// Which Varnish the module in this file was compiled against.
///
/// # Errors
/// The file system's, a file that is not a regular one or has more than 512 MiB, and one that is not
/// this module.
pub fn of(module: &Path) -> Result<BuiltFor, BuiltForError> {
    within(&regular_file::read(module, MODULE_MAX)?).ok_or(BuiltForError::Unmarked)
}

/// The ABI string between the first two marks that have one between them.
fn within(file: &[u8]) -> Option<BuiltFor> {
    memmem::find_iter(file, BEFORE).find_map(|at| {
        let rest = file.get(at + BEFORE.len()..)?;
        let end = rest.iter().take(ABI_MAX).position(|byte| *byte == AFTER)?;
        let abi = std::str::from_utf8(rest.get(..end)?).ok()?;
        let printable = abi.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
        (printable && !abi.is_empty()).then(|| BuiltFor { abi: abi.to_owned() })
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    const ABI: &[u8] = b"Varnish Plus 6.0.13r5 ab12";
    static MARK: [u8; mark_length(ABI.len())] = mark(ABI);

    #[test]
    fn the_mark_is_found_behind_an_opening_without_an_end() {
        let file = [&b"\x7fELF"[..], BEFORE, b"\0\0", &MARK, b"\0tail"].concat();
        let found = within(&file).unwrap();
        assert_eq!(found.abi().as_bytes(), ABI);
        assert_eq!((found.version(), found.commit()), ("6.0.13r5", "ab12"));
        assert_eq!(found.to_string(), "Varnish Plus 6.0.13r5 (revision ab12)");
    }

    #[test]
    fn a_mark_that_is_cut_off_or_not_printable_is_none() {
        assert_eq!(within(MARK.get(..MARK.len() - 1).unwrap()), None);
        assert_eq!(within(&[BEFORE, b"Varnish\x1b[2J\x03"].concat()), None);
        assert_eq!(within(&[BEFORE, b"\x03"].concat()), None);
        assert_eq!(within(b""), None);
    }
}
