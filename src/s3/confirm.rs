//! Whether the object under a key is the block that is here.
//!
//! HEAD tells the length, the entity tag and our own metadata. Where the tag contradicts the
//! metadata, or neither tells, or HEAD is not answered, the object is read back and hashed. A gateway whose tags only look
//! like an MD5 is found out so once; from then on its HEAD is enough.

use std::io::Read as _;

use sha2::{Digest as _, Sha256};

use super::client::Client;
use super::object::{self, PutObject, SHA256_NAME, Sent};
use super::outcome::{Answer, Outcome};
use super::read::Head;
use super::wire::encode;

/// What is under a key.
#[derive(Debug)]
pub(super) enum Confirmed {
    /// The block.
    Ours,
    /// Something else.
    Other,
    /// Nothing.
    Missing,
    /// Cannot be determined.
    Unknown(Answer),
}

impl Client {
    /// What is under the key of `object`; `sent` are the hashes of its body, made anew when `None`.
    pub(super) fn confirm(&self, object: &PutObject<'_>, sent: Option<Sent>) -> Confirmed {
        let head = match self.head(object.key) {
            Ok(head) => head,
            Err(answer) if answer.outcome == Outcome::NoObject => return Confirmed::Missing,
            // Some let nothing but GET through.
            Err(answer) if matches!(answer.status, Some(405 | 501)) => return self.compare(object),
            Err(answer) => return Confirmed::Unknown(answer),
        };
        if head.len.is_some_and(|len| len != object.len) {
            return Confirmed::Other;
        }
        let named = named(&head);
        let same_name = named.map(|text| text.eq_ignore_ascii_case(&encode::hex(&object.sha256)));
        if same_name == Some(false) {
            return Confirmed::Other;
        }
        let tagged = head.tag.may_be_md5() && self.learnt().etags_are_md5();
        if tagged {
            let sent = match sent.map_or_else(|| object::hashes(object), Ok) {
                Ok(sent) => sent,
                Err(error) => {
                    return Confirmed::Unknown(Answer::local(
                        Outcome::Unreadable,
                        error.to_string(),
                    ));
                }
            };
            if head.tag.is(&sent.md5) {
                return Confirmed::Ours;
            }
        } else if same_name.is_some() {
            return Confirmed::Ours;
        }
        let found = self.compare(object);
        if tagged && matches!(found, Confirmed::Ours) {
            self.learnt().etags_differ();
        }
        found
    }

    /// The same by the object's bytes alone.
    fn compare(&self, object: &PutObject<'_>) -> Confirmed {
        match self.read_back(object) {
            Ok(true) => Confirmed::Ours,
            Ok(false) => Confirmed::Other,
            Err(answer) if answer.outcome == Outcome::NoObject => Confirmed::Missing,
            Err(answer) => Confirmed::Unknown(answer),
        }
    }

    /// Whether the object's bytes are the block's. They have as long as they had on the way there.
    fn read_back(&self, object: &PutObject<'_>) -> Result<bool, Answer> {
        let deadline = self.options().deadline(object.len);
        let end = self.clock.monotonic().saturating_add(deadline);
        let got = self.get(object.key)?;
        let mut body = got.body.take(object.len.saturating_add(1));
        let mut hash = Sha256::new();
        let mut len: u64 = 0;
        let mut buffer = vec![0; 64 * 1024];
        loop {
            if self.clock.monotonic() >= end {
                let text = format!("{len} of {} bytes were read back in time", object.len);
                return Err(Answer::local(Outcome::TimedOut, text));
            }
            let read = body
                .read(&mut buffer)
                .map_err(|error| Answer::local(Outcome::Broken, error.to_string()))?;
            match buffer.get(..read) {
                Some(piece) if !piece.is_empty() => {
                    hash.update(piece);
                    len += piece.len() as u64;
                }
                _ => break,
            }
        }
        // Where the gateway gives no length, a connection that breaks looks like the end.
        if len < object.len && got.len != Some(len) {
            let text = format!("{len} of {} bytes were read back", object.len);
            return Err(Answer::local(Outcome::Broken, text));
        }
        Ok(hash.finalize()[..] == object.sha256)
    }
}

/// The hash that our metadata names.
fn named(head: &Head) -> Option<&str> {
    let found = head.metadata.iter().find(|(name, _)| name.eq_ignore_ascii_case(SHA256_NAME));
    found.map(|(_, value)| value.as_str())
}
