//! Clients and objects for the tests of `s3`.

use std::io::{Cursor, Read};
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use vmod_s3log::clock::Clock;
use vmod_s3log::s3::credentials::{Cache, Credentials, CredentialsError, Provider};
use vmod_s3log::s3::{
    Action, Addressing, Answer, Attempted, Attempts, Backoff, Bucket, Client, Endpoint, Failure,
    Options, Patience, PutObject, PutOnce,
};

use super::s3_server::BUCKET;

/// One key for ever.
#[derive(Debug)]
pub struct Fixed(pub Credentials);

impl Provider for Fixed {
    fn name(&self) -> String {
        "test".to_owned()
    }

    fn load(&self, _now: Duration) -> Result<Option<Credentials>, CredentialsError> {
        Ok(Some(self.0.clone()))
    }
}

/// A client with one key.
pub fn client(
    endpoint: &str,
    keys: (&str, &str),
    options: Options,
    clock: impl Clock + 'static,
) -> Client {
    let endpoint = Endpoint::parse(endpoint, false).unwrap();
    let bucket = Bucket::new(endpoint, BUCKET, Addressing::Path).unwrap();
    let fixed = Fixed(Credentials::new(keys.0, keys.1, None, None, "test"));
    let cache = Arc::new(Cache::new(vec![Box::new(fixed)]));
    Client::new(bucket, options, cache, Arc::new(clock)).unwrap()
}

/// Calls `with` with an object of these bytes, its hash under `sha256`.
pub fn object<T>(key: &str, body: &[u8], with: impl FnOnce(&PutObject<'_>) -> T) -> T {
    let sha256: [u8; 32] = Sha256::digest(body).into();
    let metadata = [
        ("sha256".to_owned(), vmod_s3log::s3::wire::encode::hex(&sha256)),
        ("records".to_owned(), "3".to_owned()),
        ("host".to_owned(), "käse  box".to_owned()),
    ];
    let open = || -> std::io::Result<Box<dyn Read>> { Ok(Box::new(Cursor::new(body.to_vec()))) };
    with(&PutObject {
        key,
        len: body.len() as u64,
        sha256,
        metadata: &metadata,
        open: &open,
        sending: PutObject::UNTOLD,
        patience: Duration::ZERO,
    })
}

/// One attempt.
pub fn put(client: &Client, key: &str, body: &[u8]) -> Answer {
    object(key, body, |object| client.put(object))
}

/// How [`upload`] ended.
#[derive(Debug)]
pub enum Finished {
    Stored {
        attempts: u32,
        elapsed: Duration,
        already: bool,
    },
    Condemned(Failure),
    /// `wait` said to stop; the failure is the last one.
    Stopped(Failure),
}

/// Attempts until the object is there, is to be set aside, or `wait` says to stop. `notice` hears of
/// every failed one.
pub fn upload(
    store: &dyn PutOnce,
    object: &PutObject<'_>,
    clock: &dyn Clock,
    backoff: Backoff,
    wait: &mut dyn FnMut(Duration) -> bool,
    notice: &mut dyn FnMut(&Failure, Action, Duration),
) -> Finished {
    let mut attempts = Attempts::new(backoff);
    let patience = Patience::default();
    loop {
        match attempts.once(store, object, clock, &patience) {
            Attempted::Stored { attempts, elapsed, already } => {
                return Finished::Stored { attempts, elapsed, already };
            }
            Attempted::Condemned(failure) => return Finished::Condemned(failure),
            Attempted::Kept(failure, pause) => {
                notice(&failure, failure.answer.action(), pause);
                if !wait(pause) {
                    return Finished::Stopped(failure);
                }
            }
        }
    }
}
