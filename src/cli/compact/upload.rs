//! An object and a manifest into the bucket.

use std::io::{Cursor, Read};
use std::time::Duration;

use super::scratch::Scratch;
use crate::block::{Digest, Signature};
use crate::cli::Error;
use crate::cli::blocks::patiently;
use crate::cli::settings::Source;
use crate::s3::{Action, Answer, Outcome, Patience, PutObject, PutOnce};

/// Metadata of what compaction writes: names without `x-amz-meta-`, and values.
pub(super) type Pairs = Vec<(String, String)>;

/// The pairs that objects and manifests share.
pub(super) fn pairs(what: &str, stream: &str, sha256: Digest, bytes: u64) -> Pairs {
    let pairs = [
        ("format", "1".to_owned()),
        ("compacted", what.to_owned()),
        ("stream", stream.to_owned()),
        ("bytes", bytes.to_string()),
        ("sha256", sha256.to_string()),
    ];
    pairs.map(|(name, value)| (name.to_owned(), value)).to_vec()
}

/// Adds a signature as blocks have it.
pub(super) fn sign(pairs: &mut Pairs, signature: Signature) {
    pairs.push(("signature".to_owned(), signature.signature));
    pairs.push(("global-signature".to_owned(), signature.global));
}

/// Stores an object. One that is there already has the same bytes: its name has their hash.
///
/// # Errors
/// The last answer of the gateway.
pub(super) fn part(
    source: &Source,
    key: &str,
    content: &Scratch,
    metadata: &[(String, String)],
) -> Result<(), Error> {
    let open = || -> std::io::Result<Box<dyn Read>> { Ok(Box::new(content.reader()?)) };
    let object = PutObject {
        key,
        len: content.len(),
        sha256: content.sha256().0,
        metadata,
        open: &open,
        sending: PutObject::UNTOLD,
        patience: Duration::ZERO,
    };
    put(&source.client, &source.patience, &object)
        .map_err(|answer| Error::gateway(format!("put {key}"), answer))
}

/// Stores a manifest; `false` when another is there under its key.
///
/// # Errors
/// The last answer of the gateway.
pub(super) fn manifest(
    source: &Source,
    key: &str,
    text: &str,
    metadata: &[(String, String)],
) -> Result<bool, Error> {
    let failed = |answer| Error::gateway(format!("put {key}"), answer);
    let bytes = text.as_bytes();
    if !source.client.options().object.if_none_match {
        // The gateway does not know If-None-Match: two runs at a time are not told apart.
        match patiently(|| source.client.head(key)) {
            Ok(_) => return Ok(false),
            Err(answer) if answer.outcome == Outcome::NoObject => {}
            Err(answer) => return Err(failed(answer)),
        }
    }
    let open = || -> std::io::Result<Box<dyn Read>> { Ok(Box::new(Cursor::new(bytes.to_vec()))) };
    let (len, sha256) = (bytes.len() as u64, Digest::of(bytes).0);
    let sending = PutObject::UNTOLD;
    let patience = Duration::ZERO;
    let object = PutObject { key, len, sha256, metadata, open: &open, sending, patience };
    match put(&source.client, &source.patience, &object) {
        Ok(()) => Ok(true),
        Err(answer) if answer.outcome == Outcome::Conflict => Ok(false),
        Err(answer) => Err(failed(answer)),
    }
}

fn put(bucket: &dyn PutOnce, known: &Patience, object: &PutObject<'_>) -> Result<(), Answer> {
    let attempt = |patience| {
        let answer = bucket.put(&PutObject { patience, ..*object });
        known.heard(&answer);
        if answer.action() == Action::Done { Ok(()) } else { Err(answer) }
    };
    match patiently(|| attempt(known.least())) {
        // Nobody comes back to it later: once for as long as a slow gateway may take.
        Err(answer) if answer.outcome == Outcome::TimedOut => attempt(Duration::MAX),
        done => done,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::s3::Options;

    const LEN: u64 = 256 << 20;

    /// Answers after so many seconds whoever is still there; and how long each was.
    struct Slow(u64, Mutex<Vec<u64>>);

    impl PutOnce for Slow {
        fn put(&self, object: &PutObject<'_>) -> Answer {
            let patience = Options::default().silence(LEN, object.patience).as_secs();
            self.1.lock().unwrap().push(patience);
            let in_time = self.0 <= patience;
            let outcome = if in_time { Outcome::Stored } else { Outcome::TimedOut };
            let silence = Duration::from_secs(self.0.min(patience));
            Answer { silence, ..Answer::local(outcome, "") }
        }

        fn reread_credentials(&self) {}
    }

    #[test]
    fn an_object_for_a_slow_gateway_has_all_the_time_in_the_end_and_the_next_one_at_once() {
        let (slow, known) = (Slow(2_000, Mutex::default()), Patience::default());
        let open = || -> std::io::Result<Box<dyn Read>> { Ok(Box::new(std::io::empty())) };
        let object = PutObject {
            key: "k",
            len: LEN,
            sha256: [0; 32],
            metadata: &[],
            open: &open,
            sending: PutObject::UNTOLD,
            patience: Duration::ZERO,
        };
        for _ in 0..2 {
            put(&slow, &known, &object).unwrap();
        }
        // 64 KB a second, and 30 s.
        assert_eq!(*slow.1.lock().unwrap(), [94, 188, 376, 752, 4_126, 4_000]);
    }
}
