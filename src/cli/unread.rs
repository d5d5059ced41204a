//! Standard output of the commands whose exit code says what was found or done.
//!
//! Its reader may go before the end, as `head` does. The command does the rest of its work all the same, prints it
//! to nobody, and ends with the code that it has earned.
//!
//! Non-goal: a disk that is full, or another error of a file that the output goes to.

use std::io::{self, ErrorKind, Write};

/// Forgets what nobody reads.
#[derive(Debug)]
pub(super) struct Unread<W> {
    out: W,
    closed: bool,
}

impl<W: Write> Unread<W> {
    /// Of this output.
    pub(super) const fn new(out: W) -> Self {
        Self { out, closed: false }
    }

    /// Does it while there is a reader, and `done` from then on.
    fn with<T>(&mut self, done: T, act: impl FnOnce(&mut W) -> io::Result<T>) -> io::Result<T> {
        if self.closed {
            return Ok(done);
        }
        match act(&mut self.out) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                self.closed = true;
                Ok(done)
            }
            acted => acted,
        }
    }
}

impl<W: Write> Write for Unread<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.with(bytes.len(), |out| out.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.with((), Write::flush)
    }
}
