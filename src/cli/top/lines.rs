//! The newest lines of a stream, as `s3log tail -f` prints them: the same program with the same
//! settings, so that keys and ciphers are its business.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io::{BufRead as _, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use crate::cli::Error;
use crate::thread;

/// Lines that are kept: more than a terminal is high.
const MOST: usize = 500;
/// Bytes of a line that are kept.
const LONGEST: u64 = 4096;

/// A `tail` that runs; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Lines {
    child: Child,
    kept: Arc<Mutex<VecDeque<String>>>,
}

impl Lines {
    /// Follows `stream`; `settings` are the flags that say where it is.
    ///
    /// # Errors
    /// The program cannot be run.
    pub(super) fn follow(stream: &str, settings: &[OsString]) -> Result<Self, Error> {
        let program = std::env::current_exe()?;
        let failed = |source| Error::File { path: program.display().to_string(), source };
        let mut child = Command::new(&program)
            .args(["tail", "-f", "-n", "50"])
            .args(settings)
            .arg("--")
            .arg(stream)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        let kept = Arc::default();
        // Its errors are shown as it would show them: among the lines.
        let outputs: [Option<Box<dyn Read + Send>>; 2] = [
            child.stdout.take().map(|out| Box::new(out) as Box<dyn Read + Send>),
            child.stderr.take().map(|out| Box::new(out) as Box<dyn Read + Send>),
        ];
        let lines = Self { child, kept };
        for output in outputs.into_iter().flatten() {
            let kept = Arc::clone(&lines.kept);
            thread::spawn("s3log-lines", move || keep(output, &kept)).map_err(failed)?;
        }
        Ok(lines)
    }

    /// The newest lines, oldest first.
    pub(super) fn newest(&self) -> Vec<String> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Keeps the newest lines of `output` until it ends.
fn keep(output: impl Read, kept: &Mutex<VecDeque<String>>) {
    let mut output = BufReader::new(output);
    let mut line = Vec::new();
    loop {
        line.clear();
        match output.by_ref().take(LONGEST).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => {
                let text = String::from_utf8_lossy(&line).trim_end_matches('\n').to_owned();
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                if kept.len() >= MOST {
                    kept.pop_front();
                }
                kept.push_back(text);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_lines_are_kept_and_a_long_one_is_cut_into_pieces() {
        let kept = Mutex::default();
        let text: String = (0..MOST + 10).map(|n| format!("{n}\n")).collect();
        keep(text.as_bytes(), &kept);
        let lines = kept.lock().unwrap();
        assert_eq!((lines.len(), &*lines[0], &*lines[MOST - 1]), (MOST, "10", "509"));
        drop(lines);
        let long = "x".repeat(5000);
        keep(long.as_bytes(), &kept);
        let lines = kept.lock().unwrap();
        assert_eq!(lines.iter().rev().take(2).map(String::len).sum::<usize>(), 5000);
    }
}
