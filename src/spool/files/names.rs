//! The names in the spool's directory.

use std::fmt;

pub(in crate::spool) const LOCK: &str = "lock";
pub(in crate::spool) const FORMAT: &str = "format";
pub(in crate::spool) const FORMAT_NEW: &str = "format.new";
pub(in crate::spool) const QUARANTINE: &str = "quarantine";
pub(in crate::spool) const FOREIGN: &str = "foreign";
/// Blocks that come from the folder of another route.
pub(in crate::spool) const MOVED: &str = "moved";
/// What the process has to say that uploads for another one: see `notes.rs`.
pub(in crate::spool) const SHIP: &str = "ship";
/// While it is there, an open block that nothing else tells of is to be encrypted.
pub(in crate::spool) const SECRET: &str = "secret";

/// The highest number that a name may have. Numbers count up from 1 and never come near it. Behind one that a
/// person has made up there is room for 2^32 more.
const MOST: u64 = u64::MAX - (1 << 32);

/// A file that the spool made, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::spool) enum Name {
    /// Members of the open block, and of a sealed one that is not encrypted.
    Data(u64),
    /// A sealed block that was transformed.
    Sealed(u64),
    /// A sidecar in the making.
    New(u64),
    /// The sidecar of a sealed block: its existence is what makes the block sealed.
    Sidecar(u64),
    /// The sidecar of an uploaded block.
    Done(u64),
    /// The sidecar of a block that is gone and not uploaded.
    Gone { sequence: u64, number: u64, why: Why },
    /// Why a block is in quarantine, in words.
    Reason(u64),
    /// A request to send a block in quarantine again.
    Requeue(u64),
    /// Members of a block that waits for a key. Its number is its own, not that of a block.
    Held(u64),
    /// What is known of those members.
    Hold(u64),
}

/// How a block that was not uploaded came to be gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::spool) enum Why {
    /// `spool_max`.
    Dropped,
    /// Its data was not there any more.
    Lost,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Data(number) => write!(f, "{number:010}.data"),
            Self::Sealed(number) => write!(f, "{number:010}.sealed"),
            Self::New(number) => write!(f, "{number:010}.new"),
            Self::Sidecar(number) => write!(f, "{number:010}.json"),
            Self::Done(number) => write!(f, "{number:010}.done"),
            Self::Gone { sequence, number, why: Why::Dropped } => {
                write!(f, "{sequence:010}-{number:010}.dropped")
            }
            Self::Gone { sequence, number, why: Why::Lost } => {
                write!(f, "{sequence:010}-{number:010}.lost")
            }
            Self::Reason(number) => write!(f, "{number:010}.reason"),
            Self::Requeue(number) => write!(f, "{number:010}.requeue"),
            Self::Held(number) => write!(f, "{number:010}.held"),
            Self::Hold(number) => write!(f, "{number:010}.hold"),
        }
    }
}

impl Name {
    /// The file that a name stands for; `None` for a name that the spool does not give.
    pub(in crate::spool) fn parse(text: &str) -> Option<Self> {
        let (stem, suffix) = text.rsplit_once('.')?;
        let number = |text: &str| text.parse().ok().filter(|number| *number <= MOST);
        let name = if let Some((sequence, of)) = stem.split_once('-') {
            let why = match suffix {
                "dropped" => Why::Dropped,
                "lost" => Why::Lost,
                _ => return None,
            };
            Self::Gone { sequence: number(sequence)?, number: number(of)?, why }
        } else {
            let number = number(stem)?;
            match suffix {
                "data" => Self::Data(number),
                "sealed" => Self::Sealed(number),
                "new" => Self::New(number),
                "json" => Self::Sidecar(number),
                "done" => Self::Done(number),
                "reason" => Self::Reason(number),
                "requeue" => Self::Requeue(number),
                "held" => Self::Held(number),
                "hold" => Self::Hold(number),
                _ => return None,
            }
        };
        // "+1", "1" and "00000000001" are not names that the spool gives.
        (name.to_string() == text).then_some(name)
    }

    pub(in crate::spool) fn quarantined(self) -> String {
        format!("{QUARANTINE}/{self}")
    }
}

/// Names that are other parts' business or the file system's.
pub(in crate::spool) fn is_not_ours(name: &str) -> bool {
    [
        LOCK,
        FORMAT,
        QUARANTINE,
        FOREIGN,
        MOVED,
        SHIP,
        SECRET,
        "ring",
        "route",
        "route.new",
        "lost+found",
    ]
    .contains(&name)
        || name.starts_with("ring.")
        || name.starts_with(".nfs")
}
