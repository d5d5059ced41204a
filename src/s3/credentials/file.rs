//! Credentials in a file: the one named by `credentials=`, or AWS's shared one.

use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::ini::{self, IniError};
use super::types::{Credentials, CredentialsError, Provider, Stamp};
use crate::regular_file;

/// A profile of an INI file. See [`profile`](super::profile) for the format.
#[derive(Debug, Clone)]
pub struct File {
    path: PathBuf,
    profile: String,
    /// How much of it somebody named: that much must be there.
    named: Named,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Named {
    /// The home directory's, which a daemon often may not even look at.
    Nothing,
    /// `AWS_SHARED_CREDENTIALS_FILE`; AWS's tools take a missing one for an empty one.
    Path,
    /// The profile, or `credentials=`.
    Profile,
}

impl File {
    /// The file that the operator named: missing is an error.
    #[must_use]
    pub fn explicit(path: impl Into<PathBuf>, profile: impl Into<String>) -> Self {
        Self { path: path.into(), profile: profile.into(), named: Named::Profile }
    }

    /// The shared file: missing, or without a key pair in its profile, means that it is not
    /// configured; unless the operator named that profile. One that may not be read is an error
    /// only where its path was named.
    #[must_use]
    pub fn shared(
        path: impl Into<PathBuf>,
        profile: impl Into<String>,
        path_named: bool,
        profile_named: bool,
    ) -> Self {
        let named = match (path_named, profile_named) {
            (_, true) => Named::Profile,
            (true, false) => Named::Path,
            (false, false) => Named::Nothing,
        };
        Self { path: path.into(), profile: profile.into(), named }
    }

    fn may_lack(&self, error: &std::io::Error) -> bool {
        use std::io::ErrorKind::{NotADirectory, NotFound, PermissionDenied};
        match self.named {
            Named::Nothing => {
                matches!(error.kind(), NotFound | NotADirectory | PermissionDenied)
            }
            Named::Path => error.kind() == NotFound,
            Named::Profile => false,
        }
    }

    fn broken(&self, reason: impl Into<String>) -> CredentialsError {
        CredentialsError::Broken { place: self.name(), reason: reason.into() }
    }
}

impl Provider for File {
    fn name(&self) -> String {
        format!("file {} [{}]", self.path.display(), self.profile)
    }

    fn load(&self, _now: Duration) -> Result<Option<Credentials>, CredentialsError> {
        let bytes = match regular_file::read(&self.path, regular_file::KEYS_MAX) {
            Ok(bytes) => bytes,
            Err(error) if self.may_lack(&error) => return Ok(None),
            Err(error) => return Err(unreadable(self.name(), "", &error)),
        };
        let optional = self.named != Named::Profile;
        let section = match ini::profile(&bytes, &self.profile) {
            Ok(section) => section,
            Err(IniError::NoProfile(_)) if optional => return Ok(None),
            Err(error) => return Err(self.broken(error.to_string())),
        };
        let get = |key: &str| section.get(key).map(|v| v.as_str()).filter(|v| !v.is_empty());
        let missing = |key| self.broken(IniError::NoKey(self.profile.clone(), key).to_string());
        match (get("aws_access_key_id"), get("aws_secret_access_key")) {
            (Some(access), Some(secret)) => Ok(Some(Credentials::new(
                access,
                secret,
                get("aws_session_token").or_else(|| get("aws_security_token")),
                None,
                self.name(),
            ))),
            (None, None) if optional => Ok(None),
            (None, _) => Err(missing("aws_access_key_id")),
            (_, None) => Err(missing("aws_secret_access_key")),
        }
    }

    fn stamp(&self) -> Option<Stamp> {
        Some(stamp(&self.path))
    }
}

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
    Stamp(match regular_file::metadata(path) {
        Ok(meta) => vec![
            meta.dev(),
            meta.ino(),
            meta.size(),
            meta.mtime().cast_unsigned(),
            meta.mtime_nsec().cast_unsigned(),
        ],
        Err(_) => Vec::new(),
    })
}
