//! Reading back: what the command and a settled 412 need.

use std::fmt;
use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;

use super::client::{Call, Client};
use super::etag::Etag;
use super::http::Patience;
use super::outcome::{Answer, Outcome};
use super::wire::{encode, xml};
use crate::clock::Clock;

/// Most bytes of a page of a listing: 1,000 keys of 1,024 bytes, each escaped three times over.
const PAGE_BODY: u64 = 8 * 1024 * 1024;

/// What HEAD says about an object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Head {
    /// Bytes.
    pub len: Option<u64>,
    /// The entity tag.
    pub(super) tag: Etag,
    /// Names (without `x-amz-meta-`, lower case) and values as sent.
    pub metadata: Vec<(String, String)>,
}

/// An object's body as it comes.
pub struct Get {
    /// Bytes, when the gateway says so.
    pub len: Option<u64>,
    /// Whether it is the object from its start, whatever was asked for.
    pub(crate) whole: bool,
    /// Names (without `x-amz-meta-`, lower case) and values as sent.
    pub metadata: Vec<(String, String)>,
    /// The bytes. A read fails when none come for the client's `timeout`, and when all that was
    /// waited for them is longer than that and they came at less than 1 KiB a second.
    pub body: Box<dyn Read + Send>,
}

impl fmt::Debug for Get {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Get").field("len", &self.len).finish_non_exhaustive()
    }
}

/// Least bytes a second of a body, in the time that is spent waiting for it. A poor line shared by
/// many readers gives more.
const FLOOR: u64 = 1024;

/// A body that may not come by the byte for ever. The caller's own pauses do not count.
struct Paced<R> {
    inner: R,
    clock: Arc<dyn Clock>,
    patience: Duration,
    waited: Duration,
    bytes: u64,
}

impl<R: Read> Read for Paced<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let start = self.clock.monotonic();
        let read = self.inner.read(buffer)?;
        self.waited += self.clock.monotonic().saturating_sub(start);
        self.bytes += read as u64;
        let due = self.patience.saturating_add(Duration::from_secs(self.bytes / FLOOR));
        if read > 0 && self.waited > due {
            let text = format!(
                "too slow: {} bytes in {:.0} s; at least {FLOOR} a second are expected",
                self.bytes,
                self.waited.as_secs_f64()
            );
            return Err(io::Error::new(io::ErrorKind::TimedOut, text));
        }
        Ok(read)
    }
}

impl Client {
    /// What is known about the object at `key`.
    ///
    /// # Errors
    /// The answer of an attempt that did not work; [`Outcome::NoObject`] also when the bucket is
    /// missing: HEAD has no body to tell the two apart.
    pub fn head(&self, key: &str) -> Result<Head, Answer> {
        let call = Call { key: Some(key), ..Call::get("HEAD", self.options().timeout) };
        let (response, signed) = self.send(call)?;
        if response.status != 200 {
            return Err(self.answer_to_head(response, &signed));
        }
        Ok(Head {
            len: response.header("content-length").and_then(|len| len.parse().ok()),
            tag: Etag::of(&response),
            metadata: response.metadata(),
        })
    }

    /// The object at `key`.
    ///
    /// # Errors
    /// The answer of an attempt that did not work.
    pub fn get(&self, key: &str) -> Result<Get, Answer> {
        self.fetch(key, Vec::new())
    }

    /// `length` bytes of the object at `key` from byte `from` on, or fewer where it ends before; at least one
    /// is asked for. A gateway that knows no ranges gives the object from its start.
    ///
    /// # Errors
    /// The answer of an attempt that did not work.
    pub(crate) fn get_range(&self, key: &str, from: u64, length: u64) -> Result<Get, Answer> {
        let last = from.saturating_add(length.max(1) - 1);
        self.fetch(key, vec![("range".to_owned(), format!("bytes={from}-{last}"))])
    }

    fn fetch(&self, key: &str, headers: Vec<(String, String)>) -> Result<Get, Answer> {
        let patience = Patience::EachRead;
        let asked = if headers.is_empty() { 200 } else { 206 };
        let call = Call { headers, ..Call::get("GET", self.options().timeout) };
        let call = Call { key: Some(key), patience, ..call };
        let (response, signed) = self.send(call)?;
        if response.status != 200 && response.status != asked {
            return Err(of_object(self.answer(response, &signed)));
        }
        let whole = response.status == 200;
        let len = response.header("content-length").and_then(|len| len.parse().ok());
        let metadata = response.metadata();
        let body = Paced {
            inner: response.into_reader(),
            clock: Arc::clone(&self.clock),
            patience: self.options().timeout,
            waited: Duration::ZERO,
            bytes: 0,
        };
        Ok(Get { len, whole, metadata, body: Box::new(body) })
    }

    /// A page of the keys that begin with `prefix`; `next` of the last page goes on. Keys come in
    /// the gateway's order, which need not be sorted, and a page may be empty and not the last.
    /// Storj lists folders only: there the folder is listed and the rest is left out here.
    ///
    /// # Errors
    /// The answer of an attempt that did not work.
    pub fn list(&self, prefix: &str, next: Option<&str>) -> Result<xml::Page, Answer> {
        // SigV4 wants the parameters in order.
        let mut query = String::new();
        if let Some(next) = next {
            query.push_str("continuation-token=");
            query.push_str(&encode::query(next));
            query.push('&');
        }
        // No encoding-type=url: there are servers that say they did and did not.
        query.push_str("list-type=2&prefix=");
        let folder = prefix.rfind('/').and_then(|slash| prefix.get(..=slash)).unwrap_or_default();
        let asked = if self.gateway().lists_folders_only() { folder } else { prefix };
        query.push_str(&encode::query(asked));
        let call = Call { query: Some(&query), ..Call::get("GET", self.options().timeout) };
        let (response, signed) = self.send(call)?;
        if response.status != 200 {
            return Err(self.answer(response, &signed));
        }
        let (bytes, whole) = response.read(PAGE_BODY);
        if !whole {
            return Err(Answer::local(Outcome::Broken, "the listing was cut short"));
        }
        let mut page = xml::page(&bytes).ok_or_else(|| {
            Answer::local(Outcome::Broken, "the listing is not a ListBucketResult")
        })?;
        page.entries.retain(|entry| entry.key.starts_with(prefix));
        Ok(page)
    }
}

/// A 404 without a code, asked for an object: it is the object that is missing.
fn of_object(answer: Answer) -> Answer {
    match answer.status {
        Some(404) if answer.code.is_empty() => Answer { outcome: Outcome::NoObject, ..answer },
        _ => answer,
    }
}
