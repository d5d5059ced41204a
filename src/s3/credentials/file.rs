//! What every source that reads a file has in common.

use std::io::{self, ErrorKind};
use std::path::Path;

use super::types::{CredentialsError, Stamp};
use crate::regular_file;

/// The error for a file that cannot be read, `which` being what a source calls it when it has more
/// than that file. A file system that does not answer now may answer later.
pub(super) fn unreadable(place: String, which: &str, error: &io::Error) -> CredentialsError {
    let reason = match error.kind() {
        ErrorKind::NotFound | ErrorKind::PermissionDenied => format!(
            "{which}{error}; the user that varnishd's child runs as must be able to read it"
        ),
        _ => format!("{which}{error}"),
    };
    match error.kind() {
        ErrorKind::TimedOut => CredentialsError::Down { place, reason },
        _ => CredentialsError::Broken { place, reason },
    }
}

/// Changes whenever the file is written, replaced, removed or made.
pub(super) fn stamp(path: &Path) -> Stamp {
    Stamp(regular_file::stamp(path).map_or_else(|_| Vec::new(), Vec::from))
}
