//! The lines of an object that is a Parquet file, of which parts are fetched as they are needed.
//!
//! Of some blocks only the row groups are fetched that say that they have lines of these. Whoever wrote the object
//! decides what a row group says. If it denies lines that it has, there are fewer than the manifest names, which is an
//! error.

use std::io::{self, Read};

use super::place::Place;
use crate::cli::blocks::{Breaks, patiently};
use crate::cli::columns;
use crate::cli::settings::Source;
use crate::s3::Outcome;

/// The lines of the object at `place`: of all blocks, or of those in the places `blocks`, one behind the other. Blocks and
/// lines are in their order. Nothing is checked but what is needed to read it.
///
/// # Errors
/// [`io::ErrorKind::NotFound`]: it is not there; [`io::ErrorKind::Unsupported`]: this program cannot read such
/// a file; [`io::ErrorKind::InvalidData`]: what is wrong with its bytes; any other: the gateway's answer, or the
/// connection.
pub(in crate::cli) fn lines<'s>(
    source: &'s Source,
    place: &Place,
    blocks: Option<Vec<u32>>,
) -> io::Result<impl Read + Send + use<'s>> {
    if !place.seal.is_empty() {
        let text = "a Parquet object that is encrypted cannot be read";
        return Err(io::Error::new(io::ErrorKind::Unsupported, text));
    }
    let key = place.key.to_string();
    let fetch = Box::new(move |from, length| fetch(source, &key, from, length));
    columns::lines(place.size, fetch, blocks)
}

fn fetch(source: &Source, key: &str, from: u64, length: u64) -> io::Result<Vec<u8>> {
    let mut breaks = Breaks::default();
    loop {
        let got = patiently(|| source.client.get_range(key, from, length)).map_err(|answer| {
            let kind = match answer.outcome {
                Outcome::NoObject => io::ErrorKind::NotFound,
                _ => io::ErrorKind::Other,
            };
            io::Error::new(kind, format!("get {key}: {answer}"))
        })?;
        let mut body = got.body;
        let skipped = match got.whole {
            true => io::copy(&mut Read::by_ref(&mut body).take(from), &mut io::sink()),
            false => Ok(0),
        };
        let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or_default());
        let read = skipped.and_then(|_| body.take(length).read_to_end(&mut bytes));
        if read.is_ok() && bytes.len() as u64 == length {
            return Ok(bytes);
        }
        if !breaks.again() {
            let problem = read.err().map_or("it ended early".to_owned(), |error| error.to_string());
            return Err(io::Error::other(format!("the connection failed: {problem}")));
        }
    }
}
