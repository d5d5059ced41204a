//! The right to upload from a folder, and what is known of who else has it: see `external.rs`.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::spool::{ShipperState, Uploading};

/// What is known of who uploads.
#[derive(Debug, Default)]
pub(super) struct Right(Mutex<State>);

/// How far the notes are taken that whoever had the right before has left.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum Notes {
    /// They have not been looked at since.
    #[default]
    Unseen,
    /// They are being taken.
    Passing,
    /// There are none but those that cannot be taken.
    Taken,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) held: Option<Uploading>,
    /// Nothing is uploaded before they are taken.
    pub(super) notes: Notes,
    /// When it is asked for again, monotonic.
    pub(super) next: Duration,
    /// When notes were last looked for.
    pub(super) looked: Duration,
    /// What the shipper last said, and when that was first seen; `None` for what this process found when it
    /// began to listen.
    pub(super) heard: Option<(ShipperState, Option<Duration>)>,
    /// When this process began to listen.
    pub(super) began: Option<Duration>,
}

impl Right {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// With the right that the caller has.
    pub(super) fn held(held: Uploading) -> Self {
        Self(Mutex::new(State { held: Some(held), notes: Notes::Taken, ..State::default() }))
    }

    /// Whether the folder is still the one of that right.
    pub(super) fn is_valid(&self) -> bool {
        self.state().held.as_ref().is_some_and(Uploading::holds)
    }
}
