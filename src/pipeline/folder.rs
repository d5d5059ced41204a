//! The folders of a stream in the spool's directory: one a route.
//!
//! The first route of a stream has the folder of the stream's name; another one that is in use at
//! the same time, or has blocks waiting, has `NAME@ROUTE` beside it. The file `route` in a folder
//! says whose it is ([`Saved`]). A folder without that file was made by a release that had one
//! folder a stream; the first route adopts it that would have given its newest block that name, and that
//! encrypts if there is anything in it that must be encrypted.

use std::fs;
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::block::{RouteId, sanitise};
use crate::settings::{Saved, Settings};
use crate::spool::{Files, SealedBy};
use crate::{regular_file, ring, spool};

/// The file that says whose folder it is.
const ROUTE: &str = "route";
/// The same, not renamed yet.
const ROUTE_NEW: &str = "route.new";
/// More than any such file has: a certificate is up to 64 KiB.
const ROUTE_MAX: u64 = 1 << 20;
/// The ring's file.
const RING: &str = "ring";
/// Between a stream's name and a route in a folder's name; no stream has it in its name.
const SEPARATOR: char = '@';

/// A folder, and whose it is if that is known.
#[derive(Debug, Clone)]
pub struct Folder {
    /// Where it is.
    pub path: PathBuf,
    /// What the file in it says.
    pub saved: Option<Saved>,
}

impl Folder {
    /// Reads what the folder says of itself.
    #[must_use]
    pub fn read(path: PathBuf) -> Self {
        let saved = read_saved(&path).ok();
        Self { path, saved }
    }

    /// The same, but for what may tell whose it is at another time and does not now.
    pub(super) fn try_read(path: PathBuf) -> io::Result<Self> {
        match read_saved(&path) {
            Err(error) if is_passing(&error) => Some(Self { path, saved: None })
                .filter(|folder| folder.route().is_some())
                .ok_or(error),
            saved => Ok(Self { path, saved: saved.ok() }),
        }
    }

    /// The route that the folder belongs to.
    #[must_use]
    pub fn route(&self) -> Option<RouteId> {
        self.saved.as_ref().and_then(Saved::route).or_else(|| {
            let name = self.path.file_name()?.to_str()?;
            name.rsplit_once(SEPARATOR)?.1.parse().ok()
        })
    }

    /// Whether another user's process uploads from it.
    #[must_use]
    pub fn is_external(&self) -> bool {
        self.saved.as_ref().is_some_and(Saved::is_external)
    }

    /// Whether the process that packs in the folder at `path` uploads from it again: the folder says so,
    /// or does not let this user read what it says.
    #[must_use]
    pub fn is_taken_back(path: &Path) -> bool {
        match read_saved(path) {
            Ok(saved) => !saved.is_external(),
            Err(error) => error.kind() == io::ErrorKind::PermissionDenied,
        }
    }

    /// Whether it is one of `stream`, as far as it says: names of several streams may look alike in
    /// the names of folders.
    fn is_of(&self, stream: &str) -> bool {
        self.saved.as_ref().is_none_or(|saved| saved.stream() == stream)
    }

    /// Whether there is something in it that has to be sent, or may be: a ring that cannot be read is
    /// kept for whoever can read it. Reads no more than it must.
    #[must_use]
    pub(crate) fn has_records(&self) -> bool {
        let ring = match ring::glance(&self.path.join(RING)) {
            Ok(ring) => ring.used > 0,
            Err(error) => error.kind() != io::ErrorKind::NotFound,
        };
        ring || spool::has_blocks(&self.path)
    }
}

fn read_saved(folder: &Path) -> io::Result<Saved> {
    let text = regular_file::read_text(&folder.join(ROUTE), ROUTE_MAX)?;
    serde_json::from_str(&text).map_err(io::Error::other)
}

/// Whether the process or the machine has too little of something just now, or the file system does not
/// answer: that says nothing about the file.
fn is_passing(error: &io::Error) -> bool {
    let lacks = [libc::EMFILE, libc::ENFILE, libc::ENOMEM, libc::EAGAIN];
    error.kind() == io::ErrorKind::TimedOut
        || error.raw_os_error().is_some_and(|code| lacks.contains(&code))
}

/// Writes into `folder`, whose `files` these are, that it is `route`'s, unless it says so already. Under every
/// `sync` it is on the disk before anything is logged there: a folder that had records and did not say
/// whose they are would be anybody's. Who may list the folder may read it: where another user's process
/// uploads or did, that process has to learn which of the two it is.
///
/// # Errors
/// The file system's.
pub(super) fn save(
    folder: &Path,
    files: &dyn Files,
    settings: &Settings,
    route: RouteId,
) -> io::Result<()> {
    let saved = Saved::of(settings).named(route);
    let text = serde_json::to_string_pretty(&saved).map_err(io::Error::other)?;
    let mut before = String::new();
    let read = files.read(ROUTE).and_then(|mut file| file.read_to_string(&mut before));
    if read.is_err() || before != text {
        files.create(ROUTE_NEW, text.as_bytes())?;
        if fs::metadata(folder)?.permissions().mode() & 0o040 != 0 {
            files.share(ROUTE_NEW)?;
        }
        files.sync_file(ROUTE_NEW)?;
        files.rename(ROUTE_NEW, ROUTE)?;
    }
    // Also what a call before could not sync.
    match files.sync_directory() {
        // There are file systems that cannot.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
        synced => synced,
    }
}

/// The folders of `stream` in `directory`, that of its name first; none where there is no directory.
///
/// # Errors
/// Which folders there are, or whose, cannot be told now.
pub fn all(directory: &Path, stream: &str) -> io::Result<Vec<Folder>> {
    let mut folders = named(directory, stream)?;
    folders.retain(|folder| folder.is_of(stream));
    Ok(folders)
}

/// The folders with names of `stream`.
fn named(directory: &Path, stream: &str) -> io::Result<Vec<Folder>> {
    let name = sanitise(stream);
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut paths = Vec::new();
    for entry in entries {
        let entry = entry?;
        let found = entry.file_name();
        let Some(found) = found.to_str() else { continue };
        let of_route = |rest: &str| {
            rest.strip_prefix(SEPARATOR).is_some_and(|id| id.parse::<RouteId>().is_ok())
        };
        if found == name || found.strip_prefix(&*name).is_some_and(of_route) {
            paths.push(entry.path());
        }
    }
    paths.sort();
    paths.into_iter().map(Folder::try_read).collect()
}

/// The folder for these settings, which need not be there yet. `taken` says whether another route is
/// just opening or closing a folder.
///
/// # Errors
/// Which folders there are, or whose, cannot be told now: one may be another route's, or this one's own.
pub(super) fn choose(
    directory: &Path,
    settings: &Settings,
    taken: &dyn Fn(&Path) -> bool,
) -> io::Result<PathBuf> {
    let route = settings.route();
    let folders = named(directory, &settings.stream)?;
    let own = |folder: &&Folder| folder.route() == Some(route) && folder.is_of(&settings.stream);
    if let Some(own) = folders.iter().find(own) {
        return Ok(own.path.clone());
    }
    let first = directory.join(sanitise(&settings.stream));
    let other = || directory.join(format!("{}{SEPARATOR}{route}", sanitise(&settings.stream)));
    Ok(match folders.iter().find(|folder| folder.path == first) {
        _ if taken(&first) => other(),
        None => first,
        Some(folder) if folder.route().is_some() => other(),
        // One that could be damaged is nobody's to adopt.
        Some(folder) if folder.path.join(ROUTE).try_exists()? => other(),
        Some(folder) if may_adopt(&folder.path, settings) => first,
        Some(_) => other(),
    })
}

/// Whether a folder that does not say its route may become that of `settings`. Who loads a VCL waits for
/// the answer, so that it is no where much is in the folder and its newest block is not found.
fn may_adopt(folder: &Path, settings: &Settings) -> bool {
    let ring = ring::glance(&folder.join(RING)).ok();
    let open = ring.and_then(|ring| spool::open_glance(&ring.payload));
    let Some(told) = spool::tell_at_once(folder, open.map(|open| open.number)) else {
        return false;
    };
    let secret = told.secrets && settings.sealing.is_none();
    !secret && told.newest.is_none_or(|sealed| is_of(&sealed, settings))
}

/// Whether a folder that does not say its route may be that of `settings`: its newest block has the name
/// that they give it, and is not encrypted where they encrypt nothing.
pub(crate) fn may_be_of(folder: &Path, settings: &Settings) -> bool {
    spool::sealed_by(folder).is_none_or(|sealed| is_of(&sealed, settings))
}

fn is_of(sealed: &SealedBy, settings: &Settings) -> bool {
    let name = settings.naming.key(&sealed.meta, "");
    let named = sealed.key.strip_prefix(&*name).is_some_and(|rest| {
        // What an encryption adds.
        rest.is_empty() || rest.starts_with('.')
    });
    let weaker = sealed.encrypted && settings.sealing.is_none();
    named && sealed.meta.host == sanitise(&settings.host) && !weaker
}

/// Removes a folder that holds nothing any more. Its lock must be held.
///
/// # Errors
/// There is something in it, or the file system's.
pub(super) fn remove(folder: &Path) -> io::Result<()> {
    spool::remove_empty(folder, &[ROUTE_NEW, ROUTE])
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::Arc;

    use super::*;
    use crate::block::{BootId, ChunkEncoder, Drops};
    use crate::pipeline::tests::disk::{self, Chance, Stop};
    use crate::ring::{Backing, Capacity, Ring};
    use crate::settings::Arguments;
    use crate::spool::{ChunkStats, Disk, Options, Spool};

    #[test]
    fn a_folder_that_another_route_is_opening_or_removing_is_not_waited_for() {
        let root = tempfile::tempdir().unwrap();
        let mut arguments = Arguments::new("access");
        for (name, value) in [("endpoint", "https://gateway.example"), ("bucket", "logs")] {
            arguments.set(name, Some(value.to_owned()));
        }
        let settings = Settings::read(&arguments).unwrap();
        let (first, other) = (root.path().join("access"), format!("access@{}", settings.route()));
        let other = root.path().join(other);
        let choose = |taken: &dyn Fn(&Path) -> bool| choose(root.path(), &settings, taken).unwrap();
        assert_eq!(choose(&|_| false), first);
        assert_eq!(choose(&|path| path == first), other);
        // Its own is its own, whoever has it.
        let files = Disk::open(&first).unwrap();
        save(&first, &files, &settings, settings.route()).unwrap();
        assert_eq!(choose(&|path| path == first), first);
    }

    #[test]
    fn a_spool_that_cannot_be_listed_is_not_taken_for_empty() {
        let root = tempfile::tempdir().unwrap();
        let mut arguments = Arguments::new("access");
        for (name, value) in [("endpoint", "https://gateway.example"), ("bucket", "logs")] {
            arguments.set(name, Some(value.to_owned()));
        }
        let settings = Settings::read(&arguments).unwrap();
        let (none, file) = (root.path().join("none"), root.path().join("file"));
        fs::write(&file, "").unwrap();
        assert_eq!(choose(&none, &settings, &|_| false).unwrap(), none.join("access"));
        assert!(all(&none, "access").unwrap().is_empty());
        assert!(choose(&file, &settings, &|_| false).is_err());
        assert!(all(&file, "access").is_err());
    }

    #[test]
    fn whose_a_folder_is_outlives_a_power_cut_once_it_was_saved_and_is_never_half_there() {
        let root = tempfile::tempdir().unwrap();
        let settings = |path: &str| {
            let mut arguments = Arguments::new("access");
            let all = [("endpoint", "https://gateway.example"), ("bucket", "logs"), ("path", path)];
            for (name, value) in all {
                arguments.set(name, Some(value.to_owned()));
            }
            Settings::read(&arguments).unwrap()
        };
        let (one, two) = (settings("one/"), settings("two/"));
        let text = |settings: &Settings| serde_json::to_vec_pretty(&Saved::of(settings)).unwrap();
        for seed in 0..200 {
            let disk = disk::Disk::default();
            save(root.path(), &disk, &one, one.route()).unwrap();
            disk.come_back(&mut Chance::new(seed));
            assert_eq!(disk.contents(ROUTE), Some(text(&one)), "seed {seed}");
            for stop in 0.. {
                disk.stop_in(stop, Stop::Cut);
                let saved =
                    catch_unwind(AssertUnwindSafe(|| save(root.path(), &disk, &two, two.route())));
                disk.come_back(&mut Chance::new(seed + stop as u64));
                let found = disk.contents(ROUTE);
                assert!(found == Some(text(&one)) || found == Some(text(&two)), "{seed}, {stop}");
                if saved.is_ok() {
                    assert_eq!(found, Some(text(&two)), "seed {seed}");
                    break;
                }
            }
        }
    }

    /// A folder as an older release left it, with `more` names.
    fn left_behind(root: &Path, settings: &Settings, more: usize) {
        let boot = BootId::new(1_700_000_000, 1);
        let options = Options {
            codec: settings.codec.kind(),
            naming: settings.naming.clone(),
            ..Options::new(&settings.stream, &settings.host, boot)
        };
        let files = Arc::new(Disk::open(root).unwrap());
        let (mut spool, _) = Spool::open(files, options, None).unwrap();
        let mut member = Vec::new();
        ChunkEncoder::new(settings.codec).unwrap().encode(b"line\n", &mut member).unwrap();
        let stats =
            ChunkStats { records: 1, raw_bytes: 5, first: 1, last: 1, ..ChunkStats::default() };
        for _ in 0..3 {
            spool.append(&member, stats).unwrap();
            spool.seal(&Drops::default()).unwrap();
        }
        let path = root.join(RING);
        let mut opened = Ring::open(Backing::File(&path), Capacity::MIN).unwrap();
        opened.reader.commit(spool.payload().as_bytes()).unwrap();
        for number in 100..100 + more {
            fs::write(root.join(format!("{number:010}.data")), "").unwrap();
        }
    }

    #[test]
    fn a_folder_of_an_older_release_is_adopted_at_once_however_much_is_in_it() {
        let root = tempfile::tempdir().unwrap();
        let settings = |path: &str| {
            let mut arguments = Arguments::new("access");
            let all =
                [("endpoint", "http://127.0.0.1:1"), ("bucket", "logs"), ("hostname", "node")];
            for (name, value) in all.into_iter().chain([("path", path)]) {
                arguments.set(name, Some(value.to_owned()));
            }
            Settings::read(&arguments).unwrap()
        };
        let (its, another) = (settings("its/"), settings("another/"));
        let folder = root.path().join("access");
        fs::create_dir(&folder).unwrap();
        left_behind(&folder, &its, spool::AT_ONCE + 1000);
        let chosen = |settings: &Settings| {
            let before = spool::NAMES_READ.get();
            let chosen = choose(root.path(), settings, &|_| false).unwrap();
            let read = spool::NAMES_READ.get() - before;
            assert!(read <= spool::AT_ONCE + 1, "{read} names read");
            chosen
        };
        assert_eq!(chosen(&its), folder);
        assert_ne!(chosen(&another), folder);
        // Some of the newest blocks are in quarantine or lost.
        let names = |number: u64| folder.join(format!("{number:010}.json"));
        fs::remove_file(names(3)).unwrap();
        fs::rename(names(2), folder.join("0000000002.done")).unwrap();
        assert_eq!(chosen(&its), folder);
        assert_ne!(chosen(&another), folder);
        // Whose it is cannot be told without reading it all.
        fs::remove_file(folder.join("0000000002.done")).unwrap();
        fs::remove_file(names(1)).unwrap();
        assert_ne!(chosen(&its), folder);
        for number in 100..spool::AT_ONCE + 1100 {
            fs::remove_file(folder.join(format!("{number:010}.data"))).unwrap();
        }
        assert_eq!(chosen(&its), folder, "nothing is sealed in it");
    }

    #[test]
    fn a_folder_whose_ring_cannot_be_read_or_has_an_old_tail_is_not_taken_for_empty() {
        let root = tempfile::tempdir().unwrap();
        let has = || Folder::read(root.path().to_owned()).has_records();
        assert!(!has(), "nothing is there");
        let path = root.path().join("ring");
        let opened = Ring::open(Backing::File(&path), Capacity::MIN).unwrap();
        assert!(!has(), "the ring is empty");
        opened.ring.push(b"a line").unwrap();
        drop(opened);
        assert!(has());
        // As a power cut can leave it: the record is on the disk and the page with the tail is not.
        let mut bytes = fs::read(&path).unwrap();
        bytes[256..264].fill(0);
        fs::write(&path, &bytes).unwrap();
        assert!(has(), "the tail is old");
        // Of a newer release.
        bytes[8] = 9;
        fs::write(&path, &bytes).unwrap();
        assert!(has(), "the ring cannot be read");
    }
}
