//! Responses with more header lines than the HTTP client takes, which is 128.
//!
//! A gateway behind some proxies sends thousands of short lines. They count against the 64 KiB that
//! a response's headers may have and against nothing else: of a head with many lines only those that
//! somebody reads here are handed on.

use std::time::{Duration, Instant};

use ureq::Error;
use ureq::unversioned::transport::{Buffers, NextTimeout, Transport, time};

/// Heads with fewer lines are not touched.
const MANY: usize = 100;
/// Most bytes of a head that are waited for.
const LONGEST: usize = 63 * 1024;
/// Beginnings of the names that are handed on.
const READ: [&str; 11] = [
    "content-length",
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

impl<T: Transport> Heads<T> {
    /// Puts a thinner head in the place of the one that ends at `end`.
    fn replace(&mut self, end: usize) {
        let buffers = self.inner.buffers();
        let input = buffers.input();
        let mut bytes = thin(input.get(..end).unwrap_or_default());
        bytes.extend_from_slice(input.get(end..).unwrap_or_default());
        let whole = input.len();
        buffers.input_consume(whole);
        // It is shorter than what was there, so it fits.
        if let Some(room) = buffers.input_append_buf().get_mut(..bytes.len()) {
            room.copy_from_slice(&bytes);
            buffers.input_appended(bytes.len());
        }
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
        let start = Instant::now();
        let mut left = timeout;
        loop {
            let progress = self.inner.await_input(left)?;
            if !self.in_head {
                return Ok(progress);
            }
            let input = self.inner.buffers().input();
            match look(input) {
                Head::Few => return Ok(progress),
                Head::Small => {
                    // After 100 Continue another one comes.
                    self.in_head = input.get(8..10) == Some(b" 1");
                    return Ok(progress);
                }
                Head::Growing if !progress || input.len() > LONGEST => return Ok(progress),
                Head::Growing => {}
                Head::Large(end) => {
                    self.in_head = false;
                    self.replace(end);
                    return Ok(true);
                }
            }
            // All of it in the time that was given for a part.
            if let time::Duration::Exact(most) = timeout.after {
                let rest = most.saturating_sub(start.elapsed());
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
}
