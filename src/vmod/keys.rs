//! A worker's keys for `s3log.hash()`, by the path of their file.
//!
//! A file is looked at once in [`FRESH`]: its metadata alone while it is unchanged, its content when
//! it has changed. What came of a look counts until the next one, a failure too, so that a missing
//! file or a hung mount costs one request in a second and not every one.
//!
//! Non-goals: keys that workers share, which would need a lock.
//!
//! Limits: [`PATHS_MAX`] paths; a path that VCL makes of a request cannot grow a worker further.

use std::ffi::{CStr, CString, OsStr};
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use crate::regular_file;

/// Least length of a key in bytes: 128 bits, which nobody can search.
const KEY_MIN: usize = 16;

/// How many paths a worker keeps. The one whose use is longest ago goes.
const PATHS_MAX: usize = 16;

/// How long a look at a file counts.
const FRESH: Duration = Duration::from_secs(1);

/// A worker's keys, the one used last at the end.
#[derive(Default)]
pub(super) struct Keys(Vec<Kept>);

struct Kept {
    path: CString,
    /// When the look at the file ended.
    looked: Instant,
    /// None after a look that failed.
    key: Option<Key>,
}

struct Key {
    stamp: [u64; 5],
    bytes: Zeroizing<Vec<u8>>,
}

impl Keys {
    /// The key in the file at `path`.
    ///
    /// # Errors
    /// What is wrong with the file, from the look that found it; nothing as long as that look
    /// counts.
    pub(super) fn get(
        &mut self,
        path: &CStr,
        clock: impl Fn() -> Instant,
    ) -> Result<&[u8], Option<io::Error>> {
        let known = self.0.iter().position(|kept| kept.path.as_c_str() == path);
        let known = known.map(|at| self.0.remove(at));
        let (kept, error) = match known {
            Some(kept) if clock().saturating_duration_since(kept.looked) < FRESH => (kept, None),
            known => {
                let (path, before) = match known {
                    Some(kept) => (kept.path, kept.key),
                    None => (path.to_owned(), None),
                };
                let (key, error) = match look(&path, before) {
                    Ok(key) => (Some(key), None),
                    Err(error) => (None, Some(error)),
                };
                // A file system may have taken seconds to answer.
                (Kept { path, looked: clock(), key }, error)
            }
        };
        if self.0.len() >= PATHS_MAX {
            self.0.remove(0);
        }
        self.0.push(kept);
        self.0
            .last()
            .and_then(|kept| kept.key.as_ref())
            .map(|key| key.bytes.as_slice())
            .ok_or(error)
    }
}

/// `before` if the file is as it was then, else what it has now.
fn look(path: &CStr, before: Option<Key>) -> io::Result<Key> {
    let path = Path::new(OsStr::from_bytes(path.to_bytes()));
    // Ahead of the content: a change in between shows at the next look.
    let stamp = regular_file::stamp(path)?;
    if let Some(key) = before
        && key.stamp == stamp
    {
        return Ok(key);
    }
    let read = regular_file::read(path, regular_file::KEYS_MAX)?;
    if read.len() < KEY_MIN {
        let text =
            format!("it has {} bytes: a key of at least {KEY_MIN} bytes is required", read.len());
        return Err(io::Error::new(ErrorKind::InvalidData, text));
    }
    // A copy of its own length: `read` has room for the longest.
    Ok(Key { stamp, bytes: Zeroizing::new(read.to_vec()) })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn c(path: &Path) -> CString {
        CString::new(path.as_os_str().as_bytes()).unwrap()
    }

    #[test]
    fn a_key_of_less_than_16_bytes_is_refused_and_said_once() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        fs::write(&file, [7; 15]).unwrap();
        let (mut keys, now) = (Keys::default(), Instant::now());
        let error = keys.get(&c(&file), || now).unwrap_err().unwrap();
        assert_eq!(error.to_string(), "it has 15 bytes: a key of at least 16 bytes is required");
        assert!(keys.get(&c(&file), || now).unwrap_err().is_none());
        fs::write(&file, [7; 16]).unwrap();
        assert_eq!(keys.get(&c(&file), || now + FRESH).unwrap(), [7; 16]);
    }

    #[test]
    fn a_changed_file_is_read_again_after_a_second() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        fs::write(&file, [1; 32]).unwrap();
        let (mut keys, now) = (Keys::default(), Instant::now());
        assert_eq!(keys.get(&c(&file), || now).unwrap(), [1; 32]);

        fs::write(&file, [2; 33]).unwrap();
        let later = now + FRESH - Duration::from_millis(1);
        assert_eq!(keys.get(&c(&file), || later).unwrap(), [1; 32]);
        assert_eq!(keys.get(&c(&file), || now + FRESH).unwrap(), [2; 33]);

        // Of the same length, by its time alone.
        fs::write(&file, [3; 33]).unwrap();
        let time = std::time::SystemTime::UNIX_EPOCH;
        fs::File::options().write(true).open(&file).unwrap().set_modified(time).unwrap();
        assert_eq!(keys.get(&c(&file), || now + 2 * FRESH).unwrap(), [3; 33]);

        // A key that is taken away is not used any longer.
        fs::remove_file(&file).unwrap();
        let error = keys.get(&c(&file), || now + 3 * FRESH).unwrap_err().unwrap();
        assert_eq!(error.kind(), ErrorKind::NotFound);
    }

    #[test]
    fn a_file_with_its_old_length_and_time_is_not_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        fs::write(&file, [1; 32]).unwrap();
        let time = fs::metadata(&file).unwrap().modified().unwrap();
        let (mut keys, now) = (Keys::default(), Instant::now());
        assert_eq!(keys.get(&c(&file), || now).unwrap(), [1; 32]);

        // Only a read would find these bytes.
        fs::write(&file, [2; 32]).unwrap();
        fs::File::options().write(true).open(&file).unwrap().set_modified(time).unwrap();
        assert_eq!(keys.get(&c(&file), || now + FRESH).unwrap(), [1; 32]);

        // The second look counts from its own time on.
        fs::remove_file(&file).unwrap();
        assert_eq!(keys.get(&c(&file), || now + FRESH + FRESH / 2).unwrap(), [1; 32]);
        assert!(keys.get(&c(&file), || now + 2 * FRESH).is_err());
    }

    #[test]
    fn a_failed_read_counts_for_a_second() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        let (mut keys, now) = (Keys::default(), Instant::now());
        let error = keys.get(&c(&file), || now).unwrap_err().unwrap();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        fs::write(&file, [1; 32]).unwrap();
        assert!(keys.get(&c(&file), || now + FRESH / 2).unwrap_err().is_none());
        assert_eq!(keys.get(&c(&file), || now + FRESH).unwrap(), [1; 32]);
    }

    #[test]
    fn a_worker_keeps_16_paths_and_the_one_not_used_for_longest_goes() {
        let folder = tempfile::tempdir().unwrap();
        let path = |n: usize| c(&folder.path().join(n.to_string()));
        let (mut keys, now) = (Keys::default(), Instant::now());
        for n in 0..PATHS_MAX {
            fs::write(folder.path().join(n.to_string()), [1; 16]).unwrap();
            keys.get(&path(n), || now).unwrap();
        }
        // Path 0 is used again, and so path 1 goes.
        keys.get(&path(0), || now).unwrap();
        for n in 0..=1 {
            fs::remove_file(folder.path().join(n.to_string())).unwrap();
        }
        assert!(keys.get(&path(PATHS_MAX), || now).unwrap_err().is_some());
        assert!(keys.get(&path(0), || now).is_ok());
        assert!(keys.get(&path(1), || now).unwrap_err().is_some());
        for n in 100..1000 {
            assert!(keys.get(&path(n), || now).is_err());
        }
        assert_eq!(keys.0.len(), PATHS_MAX);
    }
}
