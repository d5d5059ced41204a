//! Where the operator says that credentials are.

use std::path::PathBuf;

use super::sts::Role;

/// What the operator chose; all of it is optional.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// `credentials=`: this file and no other source.
    pub file: Option<PathBuf>,
    /// `profile=`: the section in that file or in the shared one; `AWS_PROFILE`, then `default`.
    pub profile: Option<String>,
    /// `role_arn=`: a role on top of what is found.
    pub role: Option<Role>,
}
