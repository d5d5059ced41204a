//! Reads the small files that an operator names: settings, credentials, certificates, keys.
//!
//! A path may lead anywhere: to a FIFO that nobody writes to, a directory, `/dev/zero`, a file of
//! a terabyte, or a file system whose server is gone. None of them may hold the thread that asks,
//! which answers Varnish's CLI or uploads blocks, and an error says what was found there.
//!
//! Only a regular file is read, and nothing else is even opened: opening a device can have effects.
//! `/dev/null` counts as an empty file, because `AWS_SHARED_CREDENTIALS_FILE=/dev/null` is how
//! people turn that file off.
//!
//! Non-goals: the spool's files, which this module writes itself, and pipes, which the command
//! takes for its keys.
//!
//! Limits: the caller's, in bytes; 5 seconds for the file system to answer. One thread is at a path at a
//! time, so that a file system that hangs costs one sleeping thread a path: who asks meanwhile waits, within
//! its own 5 seconds, and once one has been given up, the next read of the path fails at once.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Read as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError, TryRecvError};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::fs::{major, minor};
use zeroize::{Zeroize as _, Zeroizing};

use crate::thread;

/// Largest file of keys, credentials or a token, in bytes.
pub(crate) const KEYS_MAX: u64 = 64 * 1024;

/// Largest PEM file; Debian's bundle of all authorities has 220 KB.
pub(crate) const PEM_MAX: u64 = 4 << 20;

/// Largest settings file.
pub(crate) const SETTINGS_MAX: u64 = 1 << 20;

/// How long a file system may take; less than Varnish's `cli_timeout`, which is 60 seconds.
const PATIENCE: Duration = Duration::from_secs(5);

/// Linux's number of `/dev/null`: major 1, minor 3.
const NULL: (u32, u32) = (1, 3);

/// The whole content of the regular file at `path`, at most `most` bytes, cleared from memory when
/// dropped.
///
/// # Errors
/// The file system's; [`ErrorKind::InvalidInput`] for what is no regular file,
/// [`ErrorKind::FileTooLarge`], and [`ErrorKind::TimedOut`] when the file system does not answer.
/// The text says what was found and what is accepted; the caller adds the argument and the path.
pub(crate) fn read(path: &Path, most: u64) -> io::Result<Zeroizing<Vec<u8>>> {
    patiently(path, PATIENCE, move |path| read_now(path, most))
}

/// The same for text.
///
/// # Errors
/// Those of [`read`], and [`ErrorKind::InvalidData`] when it is not UTF-8.
pub(crate) fn read_text(path: &Path, most: u64) -> io::Result<Zeroizing<String>> {
    let mut bytes = read(path, most)?;
    String::from_utf8(std::mem::take(&mut *bytes)).map(Zeroizing::new).map_err(|error| {
        error.into_bytes().zeroize();
        io::Error::new(ErrorKind::InvalidData, "it is not UTF-8 text")
    })
}

/// What changes when the file at `path`, which may be anything, is written or replaced: its device and
/// inode, its length, and its modification time in seconds and nanoseconds.
///
/// # Errors
/// The file system's, and [`ErrorKind::TimedOut`] when it does not answer.
pub(crate) fn stamp(path: &Path) -> io::Result<[u64; 5]> {
    let meta = patiently(path, PATIENCE, |path| std::fs::metadata(path))?;
    let (seconds, ns) = (meta.mtime().cast_unsigned(), meta.mtime_nsec().cast_unsigned());
    Ok([meta.dev(), meta.ino(), meta.size(), seconds, ns])
}

fn read_now(path: &Path, most: u64) -> io::Result<Zeroizing<Vec<u8>>> {
    if check(&std::fs::metadata(path)?, most)? == FileKind::Null {
        return Ok(Zeroizing::default());
    }
    // Should something else be there by now, the flags keep its opening from waiting.
    let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY;
    let flags = flags.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let metadata = file.metadata()?;
    check(&metadata, most)?;
    read_open(file, metadata.len(), most)
}

fn read_open(file: File, length: u64, most: u64) -> io::Result<Zeroizing<Vec<u8>>> {
    // Room for all from the start, because growing would leave copies behind. The files of /proc
    // have no length.
    let room = length.max(KEYS_MAX).min(most) + 1;
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(room).unwrap_or(0)));
    file.take(room).read_to_end(&mut bytes)?;
    match bytes.len() as u64 {
        read if read > most => Err(too_large(read, most)),
        read if read == room => Err(io::Error::other("it grew while it was read")),
        _ => Ok(bytes),
    }
}

#[derive(PartialEq, Eq)]
enum FileKind {
    Regular,
    Null,
}

fn check(metadata: &Metadata, most: u64) -> io::Result<FileKind> {
    let kind = metadata.file_type();
    let what = if kind.is_file() {
        let length = metadata.len();
        return if length > most { Err(too_large(length, most)) } else { Ok(FileKind::Regular) };
    } else if kind.is_char_device() && (major(metadata.rdev()), minor(metadata.rdev())) == NULL {
        return Ok(FileKind::Null);
    } else if kind.is_dir() {
        "directory"
    } else if kind.is_fifo() {
        "FIFO"
    } else if kind.is_socket() {
        "socket"
    } else if kind.is_block_device() {
        "block device"
    } else {
        "character device"
    };
    Err(io::Error::new(ErrorKind::InvalidInput, format!("it is a {what}: {}", accepted(most))))
}

fn too_large(length: u64, most: u64) -> io::Error {
    let text = format!("it has {length} bytes: {}", accepted(most));
    io::Error::new(ErrorKind::FileTooLarge, text)
}

fn accepted(most: u64) -> String {
    let (size, unit) = if most < 1 << 20 { (most >> 10, "KiB") } else { (most >> 20, "MiB") };
    format!("a regular file of at most {size} {unit} is required")
}

/// A path that a thread of ours is at.
struct At {
    path: PathBuf,
    /// Who waited for it has given up.
    hangs: bool,
}

/// Each path that a thread of ours is at, once.
static PATHS: Mutex<Vec<At>> = Mutex::new(Vec::new());

/// A thread has left its path, or was given up.
static CHANGED: Condvar = Condvar::new();

fn paths() -> MutexGuard<'static, Vec<At>> {
    PATHS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The claim to a path, until it is dropped.
struct Claim(PathBuf);

impl Claim {
    /// Waits while another thread is at `path`; `None` when no time is `left`, or that one hangs.
    fn wait(path: &Path, left: impl Fn() -> Duration) -> Option<Self> {
        let mut all = paths();
        loop {
            match all.iter().find(|at| at.path == path) {
                None => {
                    all.push(At { path: path.to_owned(), hangs: false });
                    return Some(Self(path.to_owned()));
                }
                Some(at) if at.hangs || left().is_zero() => return None,
                Some(_) => {}
            }
            let waited = CHANGED.wait_timeout(all, left());
            all = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        paths().retain(|at| at.path != self.0);
        CHANGED.notify_all();
    }
}

/// Lets a thread of its own do `work`, and waits for it up to `patience`: neither flag nor signal
/// ends a call into a network file system whose server is gone.
fn patiently<T: Send + 'static>(
    path: &Path,
    patience: Duration,
    work: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let late = || {
        let text = "its file system does not answer: check the mount";
        io::Error::new(ErrorKind::TimedOut, text)
    };
    let begun = Instant::now();
    let left = || patience.saturating_sub(begun.elapsed());
    let claim = Claim::wait(path, left).ok_or_else(late)?;
    let (sender, receiver) = mpsc::sync_channel(1);
    thread::spawn("s3log-file", move || {
        let answer = work(&claim.0);
        // There is room for it. Only then is the path free, so that an answer that comes while its caller
        // gives up is found.
        let _ = sender.send(answer);
        drop(claim);
    })?;
    match receiver.recv_timeout(left()) {
        Ok(answer) => answer,
        Err(RecvTimeoutError::Disconnected) => Err(panicked()),
        Err(RecvTimeoutError::Timeout) => {
            let mut all = paths();
            match receiver.try_recv() {
                Ok(answer) => answer,
                Err(TryRecvError::Disconnected) => Err(panicked()),
                Err(TryRecvError::Empty) => {
                    if let Some(at) = all.iter_mut().find(|at| at.path == path) {
                        at.hangs = true;
                    }
                    CHANGED.notify_all();
                    Err(late())
                }
            }
        }
    }
}

fn panicked() -> io::Error {
    io::Error::other("reading it panicked")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_regular_file_is_read_up_to_its_limit_and_dev_null_is_an_empty_one() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, vec![7; 4096]).unwrap();
        assert_eq!(*read(&file, 4096).unwrap(), vec![7; 4096]);
        assert_eq!(read(&file, 4095).unwrap_err().kind(), ErrorKind::FileTooLarge);
        assert!(read(Path::new("/dev/null"), 10).unwrap().is_empty());
        assert_eq!(read(&folder.path().join("none"), 10).unwrap_err().kind(), ErrorKind::NotFound);
    }

    #[test]
    fn a_file_without_a_length_is_read_and_bounded_as_well() {
        let text = read(Path::new("/proc/self/status"), KEYS_MAX).unwrap();
        assert!(text.starts_with(b"Name:"));
        let error = read(Path::new("/proc/self/status"), 10).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::FileTooLarge);
    }

    #[test]
    fn text_must_be_utf_8() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, b"\xff").unwrap();
        assert_eq!(read_text(&file, 10).unwrap_err().kind(), ErrorKind::InvalidData);
        std::fs::write(&file, "é").unwrap();
        assert_eq!(*read_text(&file, 10).unwrap(), "é");
    }

    #[test]
    fn a_file_system_that_hangs_holds_nobody_and_gets_one_thread() {
        let path = Path::new("/hanging/for/a/test");
        let (release, held) = mpsc::channel::<()>();
        let work = move |_: &Path| {
            let _ = held.recv();
            Ok(1)
        };
        let error = patiently(path, Duration::from_millis(10), work).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        // At once, and without a second thread.
        let error = patiently(path, Duration::MAX, |_| Ok(2)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        drop(release);
        while paths().iter().any(|at| at.path == path) {
            std::thread::yield_now();
        }
        assert_eq!(patiently(path, Duration::MAX, |_| Ok(3)).unwrap(), 3);
    }

    /// Waits until a read has begun.
    fn wait_for(begun: &mpsc::Receiver<()>) {
        begun.recv_timeout(Duration::from_secs(60)).unwrap();
    }

    #[test]
    fn a_second_caller_has_no_thread_of_its_own_while_the_first_one_waits() {
        let path = Path::new("/slow/for/a/test");
        let (begin, begun) = mpsc::channel::<()>();
        let (release, held) = mpsc::channel::<()>();
        let first = std::thread::spawn(move || {
            patiently(path, Duration::MAX, move |_| {
                begin.send(()).unwrap();
                let _ = held.recv();
                Ok(1)
            })
        });
        wait_for(&begun);
        let ran = patiently(path, Duration::from_millis(10), |_| Ok(2)).map_err(|e| e.kind());
        assert_eq!(ran, Err(ErrorKind::TimedOut));
        // Another path is not held up.
        assert_eq!(patiently(Path::new("/quick"), Duration::MAX, |_| Ok(3)).unwrap(), 3);
        // One that has the time waits, and then reads for itself.
        let (begin, begun) = mpsc::channel::<()>();
        let second = std::thread::spawn(move || {
            patiently(path, Duration::MAX, move |_| {
                begin.send(()).unwrap();
                Ok(4)
            })
        });
        assert!(begun.recv_timeout(Duration::from_millis(20)).is_err());
        drop(release);
        assert_eq!(first.join().unwrap().unwrap(), 1);
        wait_for(&begun);
        assert_eq!(second.join().unwrap().unwrap(), 4);
    }

    #[test]
    fn who_waits_for_a_file_system_that_is_given_up_fails_with_it() {
        let path = Path::new("/given/up/for/a/test");
        let (begin, begun) = mpsc::channel::<()>();
        let (release, held) = mpsc::channel::<()>();
        let first = std::thread::spawn(move || {
            patiently(path, Duration::from_millis(50), move |_| {
                begin.send(()).unwrap();
                let _ = held.recv();
                Ok(1)
            })
        });
        wait_for(&begun);
        let second = patiently(path, Duration::MAX, |_| Ok(2)).map_err(|error| error.kind());
        assert_eq!(second, Err(ErrorKind::TimedOut));
        let first = first.join().unwrap().map_err(|error| error.kind());
        assert_eq!(first, Err(ErrorKind::TimedOut));
        drop(release);
    }

    #[test]
    fn a_panic_while_reading_is_an_error() {
        let result = patiently(Path::new("/panic"), Duration::MAX, |_| -> io::Result<()> {
            panic!("on purpose")
        });
        assert_eq!(result.unwrap_err().kind(), ErrorKind::Other);
        // It does not hold up the next one.
        assert_eq!(patiently(Path::new("/panic"), Duration::MAX, |_| Ok(1)).unwrap(), 1);
    }
}
