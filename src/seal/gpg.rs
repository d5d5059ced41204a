//! Opens OpenPGP messages with the program `gpg`, which has the keys, the agent and the smart card.
//!
//! Bytes go through it as they come: a thread feeds it, the caller reads what it gives. As with
//! any pipe, what was read before a damage was found has been read: the error comes at the end.
//!
//! Limits: 4 KiB of what the program says are kept.

use std::io::{self, Read, Write};
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};
use std::thread::JoinHandle;

/// How much of what the program says is kept, bytes.
const SAID: usize = 4096;

/// The clear bytes of a message.
pub struct Opened {
    child: Child,
    out: ChildStdout,
    err: Option<JoinHandle<String>>,
    /// Ends with what became of the source.
    feeder: Option<JoinHandle<io::Result<()>>>,
    ended: bool,
}

impl std::fmt::Debug for Opened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opened").field("pid", &self.child.id()).finish_non_exhaustive()
    }
}

/// Starts `gpg --decrypt` for `source`, with the keys of the user who runs this (`GNUPGHOME`).
///
/// # Errors
/// The program cannot be started; [`io::ErrorKind::PermissionDenied`] when it is not installed.
pub fn open(source: impl Read + Send + 'static) -> io::Result<Opened> {
    let mut child = Command::new("gpg")
        .args(["--batch", "--quiet", "--no-tty", "--decrypt"])
        // What it says is looked at for what is wrong.
        .env("LC_ALL", "C")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => no_key("gpg is not installed".to_owned()),
            _ => error,
        })?;
    let missing = || io::Error::other("gpg has no pipe");
    let mut stdin = child.stdin.take().ok_or_else(missing)?;
    let out = child.stdout.take().ok_or_else(missing)?;
    let err = child.stderr.take().ok_or_else(missing)?;
    let mut source = source;
    let feeder = std::thread::spawn(move || {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let read = match source.read(&mut buffer) {
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            // When it does not want any more, it says why.
            let bytes = buffer.get(..read).unwrap_or_default();
            if read == 0 || stdin.write_all(bytes).is_err() {
                return Ok(());
            }
        }
    });
    let err = Some(std::thread::spawn(move || said(err)));
    Ok(Opened { child, out, err, feeder: Some(feeder), ended: false })
}

/// What the program says, all of it read and its start kept.
fn said(mut from: ChildStderr) -> String {
    let mut kept = Vec::new();
    let _ = Read::by_ref(&mut from).take(SAID as u64).read_to_end(&mut kept);
    let _ = io::copy(&mut from, &mut io::sink());
    String::from_utf8_lossy(&kept).into_owned()
}

fn no_key(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, text)
}

impl Opened {
    /// Whether the program is content, and the source was.
    fn end(&mut self) -> io::Result<()> {
        self.ended = true;
        let status = self.child.wait()?;
        let said = self.err.take().and_then(|err| err.join().ok()).unwrap_or_default();
        if let Some(feeder) = self.feeder.take() {
            feeder.join().map_err(|_| io::Error::other("the thread that feeds gpg panicked"))??;
        }
        if status.success() {
            return Ok(());
        }
        let lines = said.lines().map(|line| line.trim_start_matches("gpg: ").trim());
        let text = lines.collect::<Vec<_>>().join("; ");
        if text.contains("No secret key") {
            return Err(no_key(format!("gpg has no key to decrypt the block: {text}")));
        }
        Err(io::Error::new(io::ErrorKind::InvalidData, format!("gpg: {text}")))
    }
}

impl Read for Opened {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.out.read(buffer)?;
        if read == 0 && !buffer.is_empty() && !self.ended {
            self.end()?;
        }
        Ok(read)
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        if !self.ended {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        // The source is not read from any more when this is over.
        if let Some(feeder) = self.feeder.take() {
            let _ = feeder.join();
        }
    }
}
