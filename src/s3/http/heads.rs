//! Heads of responses that the HTTP client does not take as they come.
//!
//! A gateway behind some proxies sends thousands of short lines, and the client takes 128. They count
//! against the 64 KiB that a response's headers may have and against nothing else: of a head with many
//! lines only those that somebody reads here are handed on.
//!
//! What a server says before its answer (1xx: RFC 9110, 15.2) may have header lines as well, which
//! proxies add. `100 Continue`, for which the client waits, is handed on without them, and the others
//! are not. 101 ends an exchange, and is an answer.

use std::time::{Duration, Instant};

use ureq::Error;
use ureq::unversioned::transport::{Buffers, NextTimeout, Transport, time};

/// Heads with fewer lines are not touched.
const MANY: usize = 100;
/// Most bytes of a head that are waited for.
const LONGEST: usize = 63 * 1024;
/// What is left of `100 Continue`.
const CONTINUE: &[u8] = b"HTTP/1.1 100\r\n\r\n";
/// Beginnings of the names that are handed on.
const READ: [&str; 12] = [
    "content-length",
    "content-encoding",
    "content-type",
    "transfer-encoding",
    "connection",
    "date",
    "retry-after",
    "etag",
    "location",
    "x-amz-",
    "last-modified",
    "content-range",
];

/// A connection whose responses have few header lines.
#[derive(Debug)]
pub(super) struct Heads<T> {
    inner: T,
    /// What comes is a head, until it has come.
    in_head: bool,
}

impl<T> Heads<T> {
    pub(super) fn new(inner: T) -> Self {
        Self { inner, in_head: true }
    }
}

/// What is known of a head that has come so far.
enum Head {
    /// It has few lines so far.
    Few,
    /// It has few lines and ends here.
    Small,
    /// It has many lines and goes on.
    Growing,
    /// It has many lines and ends here.
    Large(usize),
}

fn look(input: &[u8]) -> Head {
    let mut lines = 0;
    for at in memchr::memmem::find_iter(input, b"\r\n") {
        lines += 1;
        if input.get(at + 2..at + 4) == Some(b"\r\n") {
            return if lines > MANY { Head::Large(at + 4) } else { Head::Small };
        }
    }
    if lines > MANY { Head::Growing } else { Head::Few }
}

/// Whether the rest of a head is worth waiting for: what is no HTTP is refused as it is. The client takes
/// lines without a carriage return, too.
fn is_begun(head: &[u8]) -> bool {
    let ends = |end: &[u8]| memchr::memmem::find(head, end).is_some();
    head.starts_with(b"HTTP/1.") && head.len() <= LONGEST && !ends(b"\n\n") && !ends(b"\n\r\n")
}

/// A head with the lines that somebody reads.
fn thin(head: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(4096);
    for (number, line) in head.split(|byte| *byte == b'\n').enumerate() {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
        let read = READ.iter().any(|read| {
            name.get(..read.len()).is_some_and(|name| name.eq_ignore_ascii_case(read.as_bytes()))
        });
        if number == 0 || (!line.is_empty() && read) {
            out.extend_from_slice(line);
            out.extend_from_slice(b"\r\n");
        }
    }
    out.extend_from_slice(b"\r\n");
    out
}

/// How many bytes of whole interim responses there are at the beginning, and whether one of them is
/// `100 Continue`.
fn interim(input: &[u8]) -> (usize, bool) {
    let (mut end, mut goes_on) = (0, false);
    while let Some(rest) = input.get(end..)
        && rest.starts_with(b"HTTP/1.")
        && rest.get(8..10) == Some(b" 1")
        && rest.get(8..12) != Some(b" 101")
        && let Some(length) = memchr::memmem::find(rest, b"\r\n\r\n")
    {
        goes_on |= rest.get(8..12) == Some(b" 100");
        end += length + 4;
    }
    (end, goes_on)
}

impl<T: Transport> Heads<T> {
    /// Puts other bytes in the place of the first `end`, from `start` on.
    fn replace(&mut self, (start, end): (usize, usize), by: &[u8]) {
        let buffers = self.inner.buffers();
        let input = buffers.input();
        let kept = [input.get(..start), Some(by), input.get(end..)];
        let bytes = kept.map(Option::unwrap_or_default).concat();
        let whole = input.len();
        buffers.input_consume(whole);
        // It is not longer than what was there, so it fits.
        if let Some(room) = buffers.input_append_buf().get_mut(..bytes.len()) {
            room.copy_from_slice(&bytes);
            buffers.input_appended(bytes.len());
        }
    }

    /// Leaves of the interim responses what the client takes; where the answer begins.
    fn shorten_interim(&mut self) -> usize {
        let (end, goes_on) = interim(self.inner.buffers().input());
        let left = if goes_on { CONTINUE } else { b"" };
        // One that is as short as ours has no lines.
        if end > left.len() {
            self.replace((0, end), left);
            return left.len();
        }
        end
    }
}

impl<T: Transport> Transport for Heads<T> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.inner.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        self.in_head = true;
        self.inner.transmit_output(amount, timeout)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        let begin = Instant::now();
        let mut left = timeout;
        loop {
            let progress = self.inner.await_input(left)?;
            if !self.in_head {
                return Ok(progress);
            }
            let start = self.shorten_interim();
            let input = self.inner.buffers().input();
            let head = input.get(start..).unwrap_or_default();
            match look(head) {
                // All that came was an interim response that nobody waits for, or a part of a head: who
                // waits for a proxy's answer gives each part of it the time of the whole.
                Head::Few if progress && (input.is_empty() || is_begun(head)) => {}
                Head::Few => return Ok(progress),
                Head::Small => {
                    self.in_head = false;
                    return Ok(progress);
                }
                Head::Growing if !progress || input.len() > LONGEST => return Ok(progress),
                Head::Growing => {}
                Head::Large(end) => {
                    self.in_head = false;
                    let thin = thin(head.get(..end).unwrap_or_default());
                    self.replace((start, start + end), &thin);
                    return Ok(true);
                }
            }
            // All of it in the time that was given for a part.
            if let time::Duration::Exact(most) = timeout.after {
                let rest = most.saturating_sub(begin.elapsed());
                if rest.is_zero() {
                    return Err(Error::Timeout(timeout.reason));
                }
                left = NextTimeout {
                    after: time::Duration::Exact(rest.max(Duration::from_millis(1))),
                    ..timeout
                };
            }
        }
    }

    fn is_open(&mut self) -> bool {
        self.inner.is_open()
    }

    fn is_tls(&self) -> bool {
        self.inner.is_tls()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_with_many_lines_keeps_its_status_and_what_somebody_reads() {
        let lines: String = (0..3000).map(|n| format!("X-{n}: y\r\n")).collect();
        let text = format!("HTTP/1.1 200 OK\r\n{lines}ETag: \"e\"\r\nX-Amz-Meta-a: b\r\n\r\nbody");
        let Head::Large(end) = look(text.as_bytes()) else { panic!() };
        assert_eq!(&text.as_bytes()[end..], b"body");
        let thin = String::from_utf8(thin(&text.as_bytes()[..end])).unwrap();
        assert_eq!(thin, "HTTP/1.1 200 OK\r\nETag: \"e\"\r\nX-Amz-Meta-a: b\r\n\r\n");
        assert!(matches!(look(&text.as_bytes()[..end - 1]), Head::Growing));
        assert!(matches!(look(b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n"), Head::Small));
    }

    #[test]
    fn interim_responses_end_where_the_answer_begins() {
        let hints = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
        let goes_on = "HTTP/1.1 100 Continue\r\nVia: 1.1 p\r\n\r\n";
        for answer in ["HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 101 S\r\n\r\n", "HTTP/1.1 103 E", ""] {
            for (before, found) in [
                (String::new(), false),
                (hints.to_owned(), false),
                (format!("{hints}{goes_on}{hints}"), true),
            ] {
                let text = format!("{before}{answer}");
                assert_eq!(interim(text.as_bytes()), (before.len(), found), "{text}");
            }
        }
    }
}
