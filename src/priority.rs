//! Which records give way first when the ring fills up.
//!
//! A record that is in the ring stays there, so room is reserved instead: each priority may fill the
//! ring up to a share of its capacity, and what would go beyond is dropped and counted.
//!
//! | priority | may fill | so that is kept free for others |
//! |---|---|---|
//! | low | 1/2 | half for normal and high |
//! | normal | 7/8 | an eighth for high |
//! | high | all of it | |
//!
//! The packer makes room from `PRESSED` on, which is less than the least share: while it keeps up,
//! nothing is shed.
//!
//! A leaf: it knows neither the ring nor VCL.

use std::str::FromStr;

/// What a record is worth when there is no room for all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Priority {
    /// Shed first, from a ring that is half full on.
    Low,
    /// What VCL says nothing about.
    #[default]
    Normal,
    /// Dropped only when the ring is full: errors, unless VCL says otherwise.
    High,
}

/// A word that is no priority.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it accepts low, normal, high")]
pub struct NotAPriority;

/// Sixteenths of the ring from which on the packer makes room.
const PRESSED: u64 = 6;

/// Whether a ring is so full that the packer writes what there is, before low records are shed.
#[must_use]
pub(crate) const fn presses(used: u64, capacity: u64) -> bool {
    used > capacity / 16 * PRESSED
}

impl Priority {
    /// The priority of a record that VCL has not given one: errors of the server are high.
    #[must_use]
    pub(crate) fn of_status(status: Option<u16>) -> Self {
        // VCL may use statuses of its own, of which the last three digits are sent.
        let error = status.is_some_and(|status| (500..600).contains(&(status % 1000)));
        if error { Self::High } else { Self::Normal }
    }

    /// How many bytes of a ring may be in use after a record of this priority has entered it.
    #[must_use]
    pub const fn share(self, capacity: u64) -> u64 {
        match self {
            Self::Low => capacity / 2,
            Self::Normal => capacity / 8 * 7,
            Self::High => capacity,
        }
    }
}

impl FromStr for Priority {
    type Err = NotAPriority;

    fn from_str(text: &str) -> Result<Self, NotAPriority> {
        match text {
            "low" => Ok(Self::Low),
            "normal" => Ok(Self::Normal),
            "high" => Ok(Self::High),
            _ => Err(NotAPriority),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_packer_makes_room_before_the_first_record_is_shed() {
        for capacity in [64, 1 << 20, 1 << 30] {
            let shares = [Priority::Low, Priority::Normal, Priority::High]
                .map(|priority| priority.share(capacity));
            assert!(shares.is_sorted_by(|less, more| less < more), "{shares:?}");
            assert_eq!(shares.last(), Some(&capacity));
            assert!(presses(shares[0], capacity) && !presses(capacity / 4, capacity));
        }
    }

    #[test]
    fn errors_of_the_server_are_high_and_nothing_else_is() {
        for (status, high) in
            [(200, false), (404, false), (499, false), (500, true), (503, true), (600, false)]
        {
            let priority = Priority::of_status(Some(status));
            assert_eq!(priority == Priority::High, high, "{status}");
        }
        // VCL's own 1503 is sent as 503.
        assert_eq!(Priority::of_status(Some(1503)), Priority::High);
        assert_eq!(Priority::of_status(None), Priority::Normal);
    }

    #[test]
    fn only_the_three_words_are_priorities() {
        assert_eq!("low".parse(), Ok(Priority::Low));
        for text in ["", "Low", "lo", " high", "1"] {
            assert_eq!(text.parse::<Priority>(), Err(NotAPriority), "{text:?}");
        }
    }
}
