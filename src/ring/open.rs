//! Makes, opens and replaces a ring's file.

use std::fs::{File, OpenOptions};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FallocateFlags, SeekFrom, fallocate, seek};
use rustix::io::Errno;

use super::header::Key;
use super::inspect::{header_page, latest_commit};
use super::layout::{Commit, Preamble, SLOT_WORDS, Unreadable, VERSION};
use super::producer::Ring;
use super::reader::{CommitTooLong, Reader};
use super::recover::{Walk, recover};
use super::sync::Memory;
use super::upgrade::upgrade;

/// How much of a hole is allocated at a time.
const PIECE: u64 = 64 * 1024;

/// Bytes of a ring's region: a power of two, 1 MiB to 1 GiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Capacity(u32);

/// A size that no ring can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a ring takes a power of two from 1 MiB to 1 GiB, not {0} bytes")]
pub struct BadCapacity(pub u64);

impl Capacity {
    /// 1 MiB.
    pub const MIN: Self = Self(1 << 20);
    /// 1 GiB.
    pub const MAX: Self = Self(1 << 30);

    /// A capacity in bytes.
    ///
    /// # Errors
    ///
    /// `bytes` is not a power of two or not within [`Capacity::MIN`] and [`Capacity::MAX`].
    pub fn new(bytes: u64) -> Result<Self, BadCapacity> {
        u32::try_from(bytes)
            .ok()
            .filter(|bytes| bytes.is_power_of_two())
            .map(Self)
            .filter(|capacity| (Self::MIN..=Self::MAX).contains(capacity))
            .ok_or(BadCapacity(bytes))
    }

    /// In bytes.
    #[must_use]
    pub fn bytes(self) -> u64 {
        self.0.into()
    }

    /// A ring small enough to fill in a test; a power of two from 64.
    #[cfg(test)]
    #[cfg(not(s3log_loom))]
    pub(crate) fn tiny(bytes: u32) -> Self {
        assert!(bytes.is_power_of_two() && bytes >= 64);
        Self(bytes)
    }
}

impl Default for Capacity {
    /// 16 MiB.
    fn default() -> Self {
        Self(16 << 20)
    }
}

/// What holds the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backing<'a> {
    /// A file that outlives the process. Made if there is none; nobody else may have it open,
    /// which the caller's lock sees to.
    File(&'a Path),
    /// Memory that ends with the process.
    Memory,
}

/// A ring that is ready for use.
#[derive(Debug)]
pub struct Opened {
    /// For the producers.
    pub ring: Arc<Ring>,
    /// For the one consumer; it starts at the last commit.
    pub reader: Reader,
    /// What was there before.
    pub recovered: Recovered,
    /// Why a power cut may undo that a new file has taken its name, if so. It holds for this process and
    /// its successors.
    pub unsynced: Option<io::Error>,
}

/// What a ring's file held when it was opened.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Recovered {
    /// Whole records that wait for the reader.
    pub records: u64,
    /// Places where bytes were skipped: claimed by a producer that died before it published, or
    /// damaged. Each held at least one record, and records next to each other count as one.
    pub torn: u64,
    /// Bytes in those places.
    pub(crate) skipped_bytes: u64,
    /// What the last commit said; `None` if it said nothing or there was none.
    pub payload: Option<Vec<u8>>,
    /// The file keeps its own size, which is not the wanted one: drain it, then
    /// [`Ring::replace`] it.
    pub(crate) capacity_differs: bool,
    /// The ring was made anew.
    pub(crate) fresh: bool,
}

/// Why a ring could not be opened. No file was changed, save that an unfinished new one beside it
/// may be left.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Not one of our files.
    #[error("{} is not a ring; it was left as it is", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// One of ours, but unusable.
    #[error("the ring {} is damaged: {what}", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What does not hold.
        what: &'static str,
    },
    /// Written by a later release.
    #[error(
        "the ring {} has format {found} and this release reads up to {known}: run the release that wrote it, or drain it with that release's s3log", path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// There is no space for the whole file. It must be there from the start: writing to a hole
    /// of a mapping on a full disk kills the process.
    #[error(
        "no space for the ring {} of {bytes} bytes: {source}; make room, or set another spool or a smaller ring",
        path.display()
    )]
    Allocate {
        /// The file.
        path: PathBuf,
        /// Its length.
        bytes: u64,
        /// The system's reason.
        source: io::Error,
    },
    /// Anything else that the system refused.
    #[error("cannot {verb} the ring {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried: a verb.
        verb: &'static str,
        /// The system's reason.
        source: io::Error,
    },
    /// The payload given to [`Ring::replace`].
    #[error(transparent)]
    Payload(#[from] CommitTooLong),
}

impl OpenError {
    /// Whether the file itself is at fault: moved aside, a new one can take its place.
    #[must_use]
    pub fn blames_file(&self) -> bool {
        match self {
            Self::Foreign { .. } | Self::Corrupt { .. } => true,
            // Its records are for the release that wrote it.
            Self::Newer { .. } | Self::Allocate { .. } | Self::Io { .. } | Self::Payload(_) => {
                false
            }
        }
    }
}

impl Ring {
    /// Opens the ring of `backing`, recovering what a file holds, or makes it.
    ///
    /// # Errors
    ///
    /// See [`OpenError`]. A file that is not ours, damaged or newer is never overwritten.
    pub fn open(backing: Backing<'_>, capacity: Capacity) -> Result<Opened, OpenError> {
        let path = match backing {
            Backing::Memory => return in_memory(capacity),
            Backing::File(path) => path,
        };
        let mut options = OpenOptions::new();
        options.read(true).write(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
        match options.open(path) {
            Ok(file) => existing(path, &file, capacity),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                fresh(path, capacity, random_key(), &[])
            }
            // A link: whatever it leads to was not made here.
            Err(e) if e.raw_os_error() == Some(libc::ELOOP) => {
                Err(OpenError::Foreign { path: path.to_path_buf() })
            }
            Err(source) => Err(failed("open", path)(source)),
        }
    }

    /// Puts a new, empty ring in the place of the file at `path`, in one step, with `payload` as
    /// if it had been committed. For a drained ring of another capacity, or a file set aside.
    ///
    /// # Errors
    ///
    /// See [`OpenError`]. The file at `path` is the old one then, as it was.
    pub fn replace(path: &Path, capacity: Capacity, payload: &[u8]) -> Result<Opened, OpenError> {
        fresh(path, capacity, random_key(), payload)
    }
}

/// The part of [`Ring::replace`] that tests call with a key of their own.
pub(super) fn fresh(
    path: &Path,
    capacity: Capacity,
    key: Key,
    payload: &[u8],
) -> Result<Opened, OpenError> {
    fresh_by(File::sync_all, path, capacity, key, payload)
}

/// The same, where `sync` makes the rename survive a power cut. Once the new file has its name nothing
/// fails any more: whoever goes on in the old one writes to a file that is gone.
pub(super) fn fresh_by(
    sync: fn(&File) -> io::Result<()>,
    path: &Path,
    capacity: Capacity,
    key: Key,
    payload: &[u8],
) -> Result<Opened, OpenError> {
    let directory = open_directory(path).map_err(failed("make", path))?;
    let preamble = Preamble { capacity: capacity.bytes(), key, version: VERSION };
    let words = Commit::encode(1, 0, payload).ok_or(CommitTooLong(payload.len()))?;
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let beside = PathBuf::from(name);
    match std::fs::remove_file(&beside) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(failed("make", &beside)(e)),
        _ => {}
    }
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&beside)
        .map_err(failed("make", &beside))?;
    // Nothing to walk: a new file is all zero, and looking would touch every page of it.
    let commit = Some(Commit { generation: 1, head: 0, payload: payload.to_vec() });
    let opened = allocate(&file, path, preamble)
        .and_then(|()| {
            let written = write_header(&file, preamble, &words).and_then(|()| file.sync_all());
            written.map_err(failed("make", path))
        })
        .and_then(|()| start(path, &file, preamble, commit, |_, _, _| Walk::default()))
        .and_then(|opened| {
            std::fs::rename(&beside, path).map_err(failed("make", path))?;
            Ok(opened)
        });
    let opened = opened.inspect_err(|_| {
        // The space is wanted elsewhere now. If this fails as well, the next start removes it.
        let _ = std::fs::remove_file(&beside);
    })?;
    let recovered = Recovered { fresh: true, ..opened.recovered };
    Ok(Opened { recovered, unsynced: sync(&directory).err(), ..opened })
}

fn in_memory(capacity: Capacity) -> Result<Opened, OpenError> {
    let refused = |source| OpenError::Allocate {
        path: PathBuf::from("in memory"),
        bytes: capacity.bytes(),
        source,
    };
    let memory = Memory::anonymous(usize_of(capacity)).map_err(refused)?;
    memory.prepare().map_err(refused)?;
    let ring = Arc::new(Ring::new(memory, random_key()));
    let reader = Reader::new(Arc::clone(&ring), 0, 1);
    let recovered = Recovered { fresh: true, ..Recovered::default() };
    Ok(Opened { ring, reader, recovered, unsynced: None })
}

fn existing(path: &Path, file: &File, wanted: Capacity) -> Result<Opened, OpenError> {
    let metadata = file.metadata().map_err(failed("read", path))?;
    let path_buf = path.to_path_buf();
    if !metadata.is_file() {
        return Err(OpenError::Foreign { path: path_buf });
    }
    let page = header_page(file).map_err(failed("read", path))?;
    let mut preamble = Preamble::decode(&page, metadata.len()).map_err(|reason| match reason {
        Unreadable::Foreign => OpenError::Foreign { path: path_buf },
        Unreadable::Corrupt(what) => OpenError::Corrupt { path: path_buf, what },
        Unreadable::Newer { found } => OpenError::Newer { path: path_buf, found, known: VERSION },
    })?;
    let commit = latest_commit(file, preamble).map_err(failed("read", path))?;
    // A copy of a ring may have holes where the ring had zeros.
    let bytes = preamble.file_bytes();
    fill_holes(&fallocate_range, file, bytes).map_err(no_space(path, bytes))?;
    if preamble.version != VERSION && commit.is_some() {
        preamble = upgrade(file, preamble).map_err(failed("upgrade", path))?;
    }
    let opened = start(path, file, preamble, commit, recover)?;
    let capacity_differs = preamble.capacity != wanted.bytes();
    let recovered = Recovered { capacity_differs, ..opened.recovered };
    Ok(Opened { recovered, ..opened })
}

/// Maps the file and recovers it with `walk`.
fn start(
    path: &Path,
    file: &File,
    preamble: Preamble,
    commit: Option<Commit>,
    walk: fn(&Memory, Key, u64) -> Walk,
) -> Result<Opened, OpenError> {
    let Some(commit) = commit else {
        let what = "neither of its commits holds";
        return Err(OpenError::Corrupt { path: path.to_path_buf(), what });
    };
    let Preamble { capacity, key, .. } = preamble;
    let capacity = usize::try_from(capacity).unwrap_or(usize::MAX);
    let memory = Memory::shared(file, capacity).map_err(failed("map", path))?;
    memory.prepare().map_err(|source| OpenError::Allocate {
        path: path.to_path_buf(),
        bytes: preamble.file_bytes(),
        source,
    })?;
    let Walk { records, torn, skipped_bytes } = walk(&memory, key, commit.head);
    let ring = Arc::new(Ring::new(memory, key));
    let reader = Reader::new(Arc::clone(&ring), commit.head, commit.generation);
    let payload = Some(commit.payload).filter(|payload| !payload.is_empty());
    let recovered = Recovered { records, torn, skipped_bytes, payload, ..Recovered::default() };
    Ok(Opened { ring, reader, recovered, unsynced: None })
}

/// Allocates a new file.
fn allocate(file: &File, path: &Path, preamble: Preamble) -> Result<(), OpenError> {
    let bytes = preamble.file_bytes();
    let done = match fallocate_range(file, 0, bytes) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => rewrite(file, bytes),
        done => done.map_err(io::Error::from),
    };
    done.map_err(no_space(path, bytes))
}

/// Allocates so many bytes of a file from a position on, as fallocate(2) does.
pub(super) type Allocate<'a> = &'a dyn Fn(&File, u64, u64) -> Result<(), Errno>;

fn fallocate_range(file: &File, at: u64, bytes: u64) -> Result<(), Errno> {
    fallocate(file, FallocateFlags::empty(), at, bytes)
}

/// Allocates what is missing of a file that is there. Its holes take space, and what has some keeps it,
/// also on a full disk.
pub(super) fn fill_holes(allocate: Allocate<'_>, file: &File, bytes: u64) -> io::Result<()> {
    match allocate(file, 0, bytes) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => rewrite(file, bytes),
        // XFS sets aside as much space as the range is long before it looks at what is there already.
        Err(refused @ (Errno::NOSPC | Errno::DQUOT)) => {
            let missing = missing(file, bytes)?;
            if missing > 0 && missing <= room(file)? {
                fill_hole_by_hole(allocate, file, bytes)?;
            }
            if self::missing(file, bytes)? == 0 { Ok(()) } else { Err(refused.into()) }
        }
        done => Ok(done?),
    }
}

/// Bytes of the file that have no space. Not by `SEEK_HOLE`, to which space that was never written is a
/// hole.
fn missing(file: &File, bytes: u64) -> io::Result<u64> {
    let metadata = file.metadata()?;
    let there = metadata.blocks().saturating_mul(512).min(metadata.len());
    Ok(bytes.saturating_sub(there))
}

/// Bytes that the file's disk has room for.
fn room(file: &File) -> io::Result<u64> {
    let disk = rustix::fs::fstatvfs(file)?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// In pieces that are small enough for the last of the space.
fn fill_hole_by_hole(allocate: Allocate<'_>, file: &File, bytes: u64) -> io::Result<()> {
    let mut at = 0;
    while at < bytes {
        let hole = match seek(file, SeekFrom::Hole(at)) {
            // The file ends before.
            Err(Errno::NXIO) => at,
            hole => hole?.min(bytes),
        };
        let data = match seek(file, SeekFrom::Data(hole)) {
            Err(Errno::NXIO) => bytes,
            data => data?.min(bytes),
        };
        at = hole;
        while at < data {
            let piece = PIECE.min(data - at);
            match allocate(file, at, piece) {
                // What has space and was never written is refused as well.
                Err(Errno::NOSPC | Errno::DQUOT) => {}
                done => done?,
            }
            at += piece;
        }
    }
    Ok(())
}

fn no_space(path: &Path, bytes: u64) -> impl FnOnce(io::Error) -> OpenError {
    move |source| OpenError::Allocate { path: path.to_path_buf(), bytes, source }
}

/// For file systems that cannot allocate: writes each byte with what it was, so that none is a
/// hole. A kill in between changes nothing.
pub(super) fn rewrite(file: &File, bytes: u64) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    if file.metadata()?.len() < bytes {
        file.set_len(bytes)?;
    }
    let mut at = 0;
    while at < bytes {
        let wanted = usize::try_from(bytes - at).unwrap_or(usize::MAX).min(buffer.len());
        let piece = buffer.get_mut(..wanted).unwrap_or_default();
        file.read_exact_at(piece, at)?;
        file.write_all_at(piece, at)?;
        at += wanted as u64;
    }
    Ok(())
}

/// A new file's preamble, and its first commit, which stands in slot 1.
fn write_header(file: &File, preamble: Preamble, words: &[u64; SLOT_WORDS]) -> io::Result<()> {
    file.write_all_at(&preamble.encode(), 0)?;
    let slot: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
    let [_, at] = preamble.slots();
    file.write_all_at(&slot, at)
}

/// The directory of a file, to be synced.
fn open_directory(path: &Path) -> io::Result<File> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => File::open(parent),
        _ => File::open("."),
    }
}

/// Unpredictable to clients: the standard library seeds its hash maps from the system.
fn random_key() -> Key {
    Key(RandomState::new().build_hasher().finish())
}

fn usize_of(capacity: Capacity) -> usize {
    usize::try_from(capacity.0).unwrap_or(usize::MAX)
}

fn failed(verb: &'static str, path: &Path) -> impl FnOnce(io::Error) -> OpenError {
    move |source| OpenError::Io { path: path.to_path_buf(), verb, source }
}
