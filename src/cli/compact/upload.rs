//! An object and a manifest into the bucket.

use std::io::{Cursor, Read};

use super::scratch::Scratch;
use crate::block::{Digest, Signature};
use crate::cli::Error;
use crate::cli::blocks::patiently;
use crate::cli::settings::Source;
use crate::s3::{Action, Answer, Outcome, PutObject};

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
        unanswered: 0,
    };
    put(source, &object).map_err(|answer| Error::Gateway { what: format!("put {key}"), answer })
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
    let failed = |answer| Error::Gateway { what: format!("put {key}"), answer };
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
    let unanswered = 0;
    match put(source, &PutObject { key, len, sha256, metadata, open: &open, sending, unanswered }) {
        Ok(()) => Ok(true),
        Err(answer) if answer.outcome == Outcome::Conflict => Ok(false),
        Err(answer) => Err(failed(answer)),
    }
}

fn put(source: &Source, object: &PutObject<'_>) -> Result<(), Answer> {
    let mut unanswered = 0;
    patiently(|| {
        let answer = source.client.put(&PutObject { unanswered, ..*object });
        unanswered += u32::from(answer.outcome == Outcome::TimedOut);
        if answer.action() == Action::Done { Ok(()) } else { Err(answer) }
    })
}
