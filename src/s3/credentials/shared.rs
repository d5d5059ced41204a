//! AWS's files for a user, as one: `~/.aws/config`, and `~/.aws/credentials` on top of it.
//!
//! A file that was named must be there; a home directory is often closed to a daemon, and then it
//! has no files. With `credentials=` that file stands alone.
//! Source: <https://docs.aws.amazon.com/sdkref/latest/guide/file-location.html>.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::super::http::Variables;
use super::file::{stamp, unreadable};
use super::ini::{self, IniError, Section};
use super::sources::Sources;
use super::types::{CredentialsError, Stamp};
use crate::regular_file;

/// How much of a file somebody named: that much must be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Named {
    /// The home directory's, which a daemon often may not even look at.
    Nothing,
    /// By a variable; AWS's tools take a missing one for an empty one.
    Variable,
    /// By `credentials=`.
    Argument,
}

/// The files, in the order in which their settings count: a later one wins.
#[derive(Debug, Clone)]
pub(super) struct SharedFiles {
    files: Vec<(PathBuf, Named)>,
    /// The profile, and whether somebody named it.
    pub(super) profile: String,
    pub(super) profile_named: bool,
}

impl SharedFiles {
    /// The files that `sources` and `variables` lead to.
    pub(super) fn new(sources: &Sources, variables: &dyn Variables) -> Self {
        if let Some(path) = &sources.file {
            let profile = sources.profile.clone();
            return Self {
                files: vec![(path.clone(), Named::Argument)],
                profile: profile.unwrap_or_else(|| "default".to_owned()),
                profile_named: true,
            };
        }
        let profile = sources.profile.clone().or_else(|| variables.get("AWS_PROFILE"));
        let file = |variable: &str, name: &str| {
            let named = variables.get(variable).map(|path| (path.into(), Named::Variable));
            let home = || variables.get("HOME").map(PathBuf::from);
            named.or_else(|| Some((home()?.join(".aws").join(name), Named::Nothing)))
        };
        let config = file("AWS_CONFIG_FILE", "config");
        let credentials = file("AWS_SHARED_CREDENTIALS_FILE", "credentials");
        Self {
            files: config.into_iter().chain(credentials).collect(),
            profile_named: profile.is_some(),
            profile: profile.unwrap_or_else(|| "default".to_owned()),
        }
    }

    /// What messages call them.
    pub(super) fn name(&self) -> String {
        let names: Vec<_> = self.files.iter().map(|(path, _)| path.display().to_string()).collect();
        match names.is_empty() {
            true => format!("files in ~/.aws (HOME is not set) [{}]", self.profile),
            false => format!("file {} [{}]", names.join(" and "), self.profile),
        }
    }

    /// The settings of the section called `name`; `None` where no file has it.
    pub(super) fn section(&self, name: &str) -> Result<Option<Section>, CredentialsError> {
        let mut found: Option<Section> = None;
        for (path, named) in &self.files {
            let place = || format!("file {} [{name}]", path.display());
            let bytes = match regular_file::read(path, regular_file::KEYS_MAX) {
                Ok(bytes) => bytes,
                Err(error) if self.may_lack(*named, error.kind()) => continue,
                Err(error) => return Err(unreadable(place(), "", &error)),
            };
            match ini::profile(&bytes, name) {
                Ok(section) => found.get_or_insert_default().extend(section),
                Err(IniError::NoProfile(_)) => {}
                Err(error) => {
                    let (place, reason) = (place(), error.to_string());
                    return Err(CredentialsError::Broken { place, reason });
                }
            }
        }
        Ok(found)
    }

    fn may_lack(&self, named: Named, error: ErrorKind) -> bool {
        use ErrorKind::{NotADirectory, NotFound, PermissionDenied};
        match named {
            // Who names a profile means a file that can be read.
            Named::Nothing if error == PermissionDenied => !self.profile_named,
            Named::Nothing => matches!(error, NotFound | NotADirectory),
            Named::Variable => error == NotFound,
            Named::Argument => false,
        }
    }

    /// Changes when one of the files does.
    pub(super) fn stamp(&self) -> Stamp {
        Stamp::of(self.files.iter().map(|(path, _)| stamp(path)))
    }

    /// The directory of the first file, where AWS's tools keep more.
    pub(super) fn directory(&self) -> Option<&Path> {
        self.files.first().and_then(|(path, _)| path.parent())
    }
}

/// The `region` of the profile that `sources` and `variables` lead to. A file that cannot be used is
/// no error here: it is one when credentials are needed.
#[must_use]
pub(crate) fn profile_region(sources: &Sources, variables: &dyn Variables) -> Option<String> {
    let files = SharedFiles::new(sources, variables);
    let section = files.section(&files.profile).ok()??;
    section.get("region").map(|text| text.as_str().to_owned()).filter(|text| !text.is_empty())
}
