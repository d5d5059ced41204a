//! The one place where the ring's source differs between a real build and a loom model.
//!
//! A model runs only as a unit test under `--cfg s3log_loom`; every other build, that of the
//! library under the same cfg included, gets the standard library.

#[cfg(not(all(test, s3log_loom)))]
mod real {
    pub(in crate::ring) use std::hint::spin_loop;
    pub(in crate::ring) use std::sync::atomic::Ordering;

    pub(in crate::ring) use crate::ring::mapped::Memory;

    /// Attempts of a waiting push before it sleeps: a few microseconds.
    pub(in crate::ring) const SPINS: u32 = 64;
}

#[cfg(all(test, s3log_loom))]
mod model {
    pub(in crate::ring) use ::loom::hint::spin_loop;
    pub(in crate::ring) use ::loom::sync::atomic::Ordering;

    pub(in crate::ring) use crate::ring::modelled::Memory;

    /// Each attempt multiplies the interleavings, and one shows what many would.
    pub(in crate::ring) const SPINS: u32 = 1;
}

#[cfg(all(test, s3log_loom))]
pub(super) use model::{Memory, Ordering, SPINS, spin_loop};
#[cfg(not(all(test, s3log_loom)))]
pub(super) use real::{Memory, Ordering, SPINS, spin_loop};
