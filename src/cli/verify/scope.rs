//! Which blocks of a stream are checked.

use crate::cli::blocks::Range;

/// Which blocks of a stream are checked, and how.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scope<'a> {
    pub(super) range: &'a Range,
    /// Blocks looked at in parallel.
    pub(super) jobs: u8,
    /// The first blocks of a chain may be missing.
    pub(super) open_start: bool,
}
