//! A look at a spool's directory that changes nothing and takes no lock, while another process may
//! be using it. Files come and go meanwhile: what is not there any more is not counted.

use std::fs;
use std::io;
use std::os::linux::fs::MetadataExt;
use std::path::Path;

use super::commit::OpenBlock;
use super::files::names::{FOREIGN, FORMAT, LOCK, Name, QUARANTINE};
use super::moved;
use super::note::{Note, Verdict};
use super::notes::{self, ShipperState, shipper_state};
use super::sidecar::{self, Sidecar};
use super::store::Tally;
use crate::block::{BootId, Drops, Meta};

/// The open block, as the ring's last commit has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenGlance {
    /// Its number.
    pub number: u64,
    /// The boot in which it was begun.
    pub boot: BootId,
    /// Records in it.
    pub records: u64,
    /// Bytes as stored.
    pub bytes: u64,
    /// Time of its first record, ns since 1970; 0 while it is empty.
    pub first: u64,
    /// Drops that no sealed block tells of yet.
    pub dropped: Drops,
}

/// What a spool holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Glance {
    /// The process that holds the lock.
    pub holder: Option<u32>,
    /// The process that uploads from it: the holder, or `s3log ship`.
    pub uploader: Option<u32>,
    /// What `s3log ship` last said of itself.
    pub shipper: Option<ShipperState>,
    /// Sealed blocks that wait for upload.
    pub sealed: Tally,
    /// Blocks that `s3log ship` has uploaded, and that the process that packs has not removed yet.
    pub sent: Tally,
    /// Blocks that the gateway refused, and that the process that packs has not set aside yet.
    pub refused: Tally,
    /// What the oldest of them says of itself.
    pub oldest: Option<Meta>,
    /// Blocks that wait for a key to be encrypted to.
    pub held: Tally,
    /// Blocks that came from another route's folder and are not sealed anew yet.
    pub moved: Tally,
    /// Blocks that the gateway did not take.
    pub quarantined: Tally,
    /// Files that are not the spool's.
    pub foreign: u64,
    /// Sidecars, and folders of the spool, that could not be read.
    pub unreadable: u64,
    /// The newest block that is gone from the spool: uploaded, or dropped.
    pub(crate) last_gone: Option<Meta>,
    /// Numbers and bytes of blocks of which nothing tells but their members.
    undescribed: Vec<(u64, u64)>,
}

/// Looks at the spool in `root`.
///
/// # Errors
/// The directory cannot be read.
pub(crate) fn glance(root: &Path) -> io::Result<Glance> {
    let mut glance = Glance {
        holder: holder(root),
        uploader: uploader(root),
        shipper: shipper_state(root),
        ..Glance::default()
    };
    match moved::tally(root) {
        Some(moved) => glance.moved = moved,
        None => glance.unreadable += 1,
    }
    // Before the blocks: one that is removed meanwhile is not counted at all.
    let notes = notes::left(root)?;
    let (mut oldest, mut members, mut held): (Option<u64>, Vec<u64>, Vec<u64>) =
        (None, Vec::new(), Vec::new());
    for entry in fs::read_dir(root)? {
        let name = entry?.file_name();
        match Name::parse(&name.to_string_lossy()) {
            Some(Name::Sidecar(number)) => {
                if let Some(meta) = glance.sidecar(&root.join(&name)) {
                    let has = |verdict| notes.contains(&Note::new(number, meta.sha256, verdict));
                    if has(Verdict::Sent) {
                        glance.sent.add(meta.records, meta.bytes);
                        continue;
                    }
                    if has(Verdict::Refused) {
                        glance.refused.add(meta.records, meta.bytes);
                        continue;
                    }
                    glance.sealed.add(meta.records, meta.bytes);
                    if oldest.is_none_or(|oldest| number < oldest) {
                        oldest = Some(number);
                        glance.oldest = Some(meta);
                    }
                }
            }
            Some(Name::Data(number)) => members.push(number),
            Some(Name::Held(number)) => held.push(number),
            Some(Name::Hold(_)) => {
                let state = sidecar::read(&root.join(&name)).ok();
                match state.and_then(|bytes| OpenBlock::decode(&bytes).ok()) {
                    Some(state) => glance.held.add(state.records, state.length),
                    None => glance.unreadable += 1,
                }
            }
            Some(Name::Done(number)) => {
                let newer = glance.last_gone.as_ref().is_none_or(|meta| meta.number < number);
                if newer && let Some(meta) = glance.sidecar(&root.join(&name)) {
                    glance.last_gone = Some(meta);
                }
            }
            _ => {}
        }
    }
    for entry in glance.entries(&root.join(QUARANTINE)) {
        let name = entry.file_name();
        if matches!(Name::parse(&name.to_string_lossy()), Some(Name::Sidecar(_)))
            && let Some(meta) = glance.sidecar(&entry.path())
        {
            glance.quarantined.add(meta.records, meta.bytes);
        }
    }
    let is_there = |name: Name| root.join(name.to_string()).exists();
    let bytes = |name: Name| Some(fs::metadata(root.join(name.to_string())).ok()?.len());
    // Set aside where there was no room to describe it: what is in it is not known.
    for number in held.into_iter().filter(|number| !is_there(Name::Hold(*number))) {
        if let Some(bytes) = bytes(Name::Held(number)) {
            glance.held.add(0, bytes);
        }
    }
    // Of one that is sealed or sent meanwhile one of these is there, or the members are gone.
    members.retain(|number| !is_there(Name::Sidecar(*number)) && !is_there(Name::Done(*number)));
    let sized = members.into_iter().filter_map(|number| Some((number, bytes(Name::Data(number))?)));
    glance.undescribed = sized.collect();
    glance.foreign = glance.entries(&root.join(FOREIGN)).len() as u64;
    Ok(glance)
}

impl Glance {
    /// Damaged blocks that a start with room on the disk mends, with the bytes of what is there of them; what
    /// is in them is not known. `open` is what the ring said before: none of a later block is damaged.
    #[must_use]
    pub fn damaged(&self, open: Option<&OpenGlance>) -> Tally {
        let mut damaged = Tally::default();
        let before = open.map_or(0, |open| open.number);
        for (_, bytes) in self.undescribed.iter().filter(|(number, _)| *number < before) {
            damaged.add(0, *bytes);
        }
        damaged
    }

    /// What is in a folder that a spool need not have; one that cannot be listed counts as unreadable.
    fn entries(&mut self, folder: &Path) -> Vec<fs::DirEntry> {
        match fs::read_dir(folder).and_then(Iterator::collect) {
            Ok(entries) => entries,
            Err(error) => {
                self.unreadable += u64::from(error.kind() != io::ErrorKind::NotFound);
                Vec::new()
            }
        }
    }

    fn sidecar(&mut self, path: &Path) -> Option<Meta> {
        let read = match sidecar::read(path) {
            // Uploaded meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            read => read,
        };
        let sidecar = read.ok().and_then(|bytes| Sidecar::decode(&bytes).ok());
        self.unreadable += u64::from(sidecar.is_none());
        sidecar.map(|sidecar| sidecar.meta)
    }
}

/// Reads what the ring's last commit says of the spool; `None` when it is not of this release.
#[must_use]
pub(crate) fn open_glance(payload: &[u8]) -> Option<OpenGlance> {
    let state = OpenBlock::decode(payload).ok()?;
    Some(OpenGlance {
        number: state.number,
        boot: state.boot,
        records: state.records,
        bytes: state.length,
        first: state.first,
        dropped: state.drops,
    })
}

/// The process that has the spool in `root`, if the kernel shows it.
#[must_use]
pub(crate) fn holder(root: &Path) -> Option<u32> {
    locked_by(&root.join(LOCK))
}

/// The process that has the right to upload from the spool in `root`, if the kernel shows it.
#[must_use]
pub fn uploader(root: &Path) -> Option<u32> {
    locked_by(&root.join(FORMAT))
}

/// Who holds the flock of a file, as the kernel's list of locks has it; asking with flock itself
/// would take it for a moment, and a varnishd that starts in that moment would be refused.
fn locked_by(lock: &Path) -> Option<u32> {
    let metadata = fs::metadata(lock).ok()?;
    let device = metadata.st_dev();
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let wanted = format!("{major:02x}:{minor:02x}:{}", metadata.st_ino());
    let locks = fs::read_to_string("/proc/locks").ok()?;
    // "1: FLOCK  ADVISORY  WRITE 4711 fe:00:131 0 EOF"
    locks.lines().find_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        let kind = words.next()?;
        let pid = words.nth(2)?;
        let file = words.next()?;
        (kind == "FLOCK" && file == wanted).then(|| pid.parse().ok())?
    })
}
