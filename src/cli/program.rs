//! Runs a program and takes what it prints, without waiting for ever.
//!
//! Non-goals: a shell; standard error, which the caller directs.

use std::io::Read as _;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use super::Error;
use crate::thread;

/// What is waited for the output of a program that has ended, at least.
const LEAST: Duration = Duration::from_secs(1);
/// Between two looks whether the program has ended.
const LOOK: Duration = Duration::from_millis(5);

/// The error of a program.
pub(super) fn failed(program: &str, problem: impl std::fmt::Display) -> Error {
    Error::Program { program: program.to_owned(), problem: problem.to_string() }
}

/// What the program of `command` prints until it ends, within `timeout` and at most `most` bytes.
///
/// # Errors
/// It cannot be run, fails, takes longer or prints more.
pub(super) fn output(
    mut command: Command,
    timeout: Duration,
    most: u64,
) -> Result<Zeroizing<Vec<u8>>, Error> {
    let start = Instant::now();
    let program = command.get_program().to_string_lossy().into_owned();
    let program = &*program;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| failed(program, format!("cannot be run: {error}")))?;
    let pipe = child.stdout.take();
    let (sender, printed) = mpsc::channel();
    // A thread of its own: what the program leaves behind may hold the pipe open for ever.
    thread::spawn("s3log-exec", move || {
        let mut bytes = Zeroizing::new(Vec::new());
        let read = pipe.map_or(Ok(0), |pipe| pipe.take(most + 1).read_to_end(&mut bytes));
        let _ = sender.send(read.map(|_| bytes));
    })
    .map_err(|error| failed(program, format!("cannot be waited for: {error}")))?;
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if start.elapsed() < timeout => std::thread::sleep(LOOK),
            Ok(None) => {
                end(&mut child);
                let text = format!("did not end within {} s", timeout.as_secs_f64());
                return Err(failed(program, text));
            }
            Err(error) => {
                end(&mut child);
                return Err(failed(program, error));
            }
        }
    };
    let left = match status.success() {
        true => timeout.saturating_sub(start.elapsed()).max(LEAST),
        false => LEAST,
    };
    match printed.recv_timeout(left) {
        // Whose pipe is closed at that ends by a signal: this is the reason.
        Ok(Ok(bytes)) if bytes.len() as u64 > most => {
            Err(failed(program, format!("printed more than {most} bytes")))
        }
        _ if !status.success() => Err(failed(program, format!("ended with {status}"))),
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) => Err(failed(program, error)),
        Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
            Err(failed(program, "ended, and something that it started holds its output open"))
        }
    }
}

fn end(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}
