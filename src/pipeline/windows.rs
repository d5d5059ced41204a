//! Which window of the clock the records of the ring belong to, for `align = true`.
//!
//! A record's time is when it entered the ring. The ring keeps no times; its order does: whoever finds
//! that a window is over notes up to where the ring was filled then. The packer looks at the end of
//! each window, to the millisecond; the thread that publishes looks ten times a second, for the time
//! in which a disk holds the packer up. What is before such a note belongs to the window before it,
//! whenever it is read.
//!
//! Which window was being read is in the ring's commit too (`spool/commit.rs`), so that what a kill
//! leaves in the ring is dated by the process that had it.
//!
//! Limits: [`MOST`] windows may end while the packer is held up; those after them count as one.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::{Clock, nanoseconds};
use crate::ring::Ring;
use crate::zone::{Align, Window};

/// Windows that are over and not read to their end.
const MOST: usize = 65_536;

/// Nothing ends there.
const ENDLESS: u64 = u64::MAX;

/// What the packer may read now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reading {
    /// The window that it belongs to; `None` where blocks are not aligned.
    pub(super) window: Option<Window>,
    /// Up to where, in bytes since the ring was made.
    pub(super) until: u64,
    /// The window is over: what comes behind `until` belongs to another one.
    pub(super) over: bool,
}

impl Reading {
    /// Everything, whenever it came.
    pub(super) const ALL: Self = Self { window: None, until: ENDLESS, over: false };

    /// The time that records have which are read at `now`, both ns since 1970.
    pub(super) fn date(&self, now: u64) -> u64 {
        self.window.map_or(now, |window| window.clamp(now))
    }

    /// How long the window lasts, at `now`.
    pub(super) fn left(&self, now: Duration) -> Option<Duration> {
        self.window.map(|window| Duration::from_nanos(window.end).saturating_sub(now))
    }

    /// Whether a block or chunk whose first record is of `first` may go on with what is read now.
    pub(super) fn continues(&self, first: u64) -> bool {
        self.window.is_none_or(|window| window.contains(first))
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Windows(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    align: Option<Align>,
    /// The window in which somebody last looked.
    current: Option<Window>,
    /// Windows that are over, oldest first, and up to where the ring was filled by then.
    over: VecDeque<(Window, u64)>,
}

impl Windows {
    /// Of blocks that are aligned to `align`.
    pub(super) fn new(align: Option<&Align>) -> Self {
        Self(Mutex::new(State { align: align.cloned(), ..State::default() }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the packer may read, its blocks aligned to `align` from now on.
    pub(super) fn reading(&self, align: Option<&Align>, ring: &Ring, clock: &dyn Clock) -> Reading {
        let mut state = self.lock();
        if state.align.as_ref() != align {
            *state = State { align: align.cloned(), ..State::default() };
        }
        let filled = state.look(ring, clock);
        match (state.over.front(), state.current) {
            (Some((window, until)), _) => {
                Reading { window: Some(*window), until: *until, over: true }
            }
            // What comes from now on may belong to the next window.
            (None, Some(window)) => Reading { window: Some(window), until: filled, over: false },
            (None, None) => Reading::ALL,
        }
    }

    /// Notes the end of a window, if one is over. For a thread that nothing holds up.
    pub(super) fn look(&self, ring: &Ring, clock: &dyn Clock) {
        self.lock().look(ring, clock);
    }

    /// What the ring held at the start, up to `until`, is of the window that has `time`.
    pub(super) fn resume(&self, time: u64, until: u64) {
        let mut state = self.lock();
        let Some(window) = state.align.as_ref().map(|align| align.window(time)) else { return };
        let now = state.over.front().map(|(window, _)| *window).or(state.current);
        // It goes on where it is the one that the start found.
        if now != Some(window) {
            state.over.push_front((window, until));
        }
    }

    /// The oldest window that is over has been read to its end, and its block is sealed.
    pub(super) fn passed(&self) {
        self.lock().over.pop_front();
    }
}

impl State {
    /// Up to where the ring is filled now.
    fn look(&mut self, ring: &Ring, clock: &dyn Clock) -> u64 {
        let Some(align) = &self.align else { return ENDLESS };
        // In this order: what comes in between counts as of before.
        let now = nanoseconds(clock.unix());
        let filled = ring.position();
        if self.current.is_some_and(|window| window.contains(now)) {
            return filled;
        }
        if let Some(before) = self.current.replace(align.window(now)) {
            if self.over.len() < MOST {
                self.over.push_back((before, filled));
            } else if let Some((_, until)) = self.over.back_mut() {
                *until = filled;
            }
        }
        filled
    }
}
