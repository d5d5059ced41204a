//! File systems on which a full disk can end the process, and what to do about it.
//!
//! The ring is a mapped file whose space is taken when it is made. A file system that writes changed
//! blocks to new places needs more space for what is there already; when there is none, a write to
//! the mapping is a SIGBUS. Numbers are those of Linux's `statfs(2)` and `magic.h`.

use std::path::Path;

/// What an operator is told of the file system at `path`; `None` for one that is fine, or unknown.
pub(crate) fn warning(path: &Path) -> Option<&'static str> {
    advice(u64::from_ne_bytes(rustix::fs::statfs(path).ok()?.f_type.to_ne_bytes()))
}

fn advice(kind: u64) -> Option<&'static str> {
    match kind {
        0x9123_683e => Some(
            "is on btrfs, which writes changed blocks to new places, so that a full disk can end \
             the cache process with SIGBUS: put the spool on ext4 or XFS, or run chattr +C on the \
             spool's empty directory before the first start and take no snapshots of it",
        ),
        0x2fc1_2fc1 | 0xca45_1a4e | 0xf2f5_2010 | 0x3434 => Some(
            "is on a file system that writes changed blocks to new places (ZFS, bcachefs, F2FS, \
             NILFS), so that a full disk can end the cache process with SIGBUS: put the spool on \
             ext4 or XFS, or keep space free",
        ),
        0x794c_7630 => Some(
            "is on an overlay, the writable layer of a container: it goes with the container, and a \
             full disk can end the cache process with SIGBUS: mount a volume there",
        ),
        0x6969 | 0xff53_4d42 | 0xfe53_4d42 | 0x00c3_6400 | 0x0102_1997 => Some(
            "is on a network file system: its locks and renames may not hold, and a server that is \
             away stops the stream or ends the cache process with SIGBUS: put the spool on a local disk",
        ),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_systems_that_can_end_the_process_are_named_with_what_to_do() {
        for (kind, part) in [
            (0x9123_683e, "btrfs"),
            (0x2fc1_2fc1, "ZFS"),
            (0xf2f5_2010, "F2FS"),
            (0x794c_7630, "mount a volume"),
            (0x6969, "network"),
        ] {
            assert!(advice(kind).unwrap().contains(part), "{kind:x}");
        }
        // ext4, XFS, tmpfs.
        assert_eq!([0xef53, 0x5846_5342, 0x0102_1994].map(advice), [None; 3]);
        assert_eq!(warning(Path::new("/proc")), None);
        assert_eq!(warning(Path::new("/no/such/directory")), None);
    }
}
