//! The name of a note, which is all of most notes: see `notes.rs`.

use super::files::names::SHIP;
use crate::block::Digest;

/// What a note says of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Verdict {
    Sent,
    Refused,
}

/// The name of a note.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Note {
    pub(super) number: u64,
    digest: [u8; 8],
    pub(super) verdict: Verdict,
}

impl Note {
    pub(super) fn new(number: u64, sha256: Digest, verdict: Verdict) -> Self {
        let mut digest = [0; 8];
        digest.iter_mut().zip(sha256.0).for_each(|(to, from)| *to = from);
        Self { number, digest, verdict }
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        let (stem, suffix) = text.rsplit_once('.')?;
        let verdict = match suffix {
            "sent" => Verdict::Sent,
            "refused" => Verdict::Refused,
            _ => return None,
        };
        let (number, digest) = stem.split_once('-')?;
        let digest = u64::from_str_radix(digest, 16).ok()?.to_be_bytes();
        let note = Self { number: number.parse().ok()?, digest, verdict };
        (note.to_string() == text).then_some(note)
    }

    /// Its path in the spool.
    pub(super) fn path(self) -> String {
        format!("{SHIP}/{self}")
    }
}

impl std::fmt::Display for Note {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let suffix = match self.verdict {
            Verdict::Sent => "sent",
            Verdict::Refused => "refused",
        };
        let digest = u64::from_be_bytes(self.digest);
        write!(f, "{:010}-{digest:016x}.{suffix}", self.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_named_after_number_and_hash() {
        let mut digest = Digest([0; 32]);
        digest.0[0] = 0xab;
        let note = Note::new(7, digest, Verdict::Sent);
        assert_eq!(note.path(), "ship/0000000007-ab00000000000000.sent");
        assert_eq!(Note::parse(&note.to_string()), Some(note));
        for text in
            ["7-ab00000000000000.sent", "0000000007.sent", "0000000007-AB00000000000000.sent"]
        {
            assert_eq!(Note::parse(text), None, "{text}");
        }
    }
}
