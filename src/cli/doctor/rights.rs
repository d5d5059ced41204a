//! What the cache process may do with a file, from owners and modes.
//!
//! Non-goals: access control lists, capabilities and security modules, which `denials` hears of.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::cli::varnishd::Process;

/// Bits of a mode, for one of owner, group and others.
pub(super) const READ: u32 = 4;
pub(super) const WRITE: u32 = 2;
pub(super) const ENTER: u32 = 1;

/// Whether the process may do all of `what` with the file itself.
pub(super) fn may(process: &Process, file: &Metadata, what: u32) -> bool {
    if process.uid == 0 {
        return true;
    }
    let shift = match () {
        () if file.uid() == process.uid => 6,
        () if process.groups.contains(&file.gid()) => 3,
        () => 0,
    };
    (file.mode() >> shift) & what == what
}

/// The first folder on the way to `path` that the process may not enter.
pub(super) fn barred<'a>(process: &Process, path: &'a Path) -> Option<&'a Path> {
    let mut folders: Vec<&Path> = path.ancestors().skip(1).collect();
    folders.reverse();
    folders
        .into_iter()
        .find(|folder| std::fs::metadata(folder).is_ok_and(|found| !may(process, &found, ENTER)))
}

/// Whether there is a user of this name.
pub(super) fn is_user(name: &str) -> bool {
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    users.lines().any(|line| line.split(':').next() == Some(name))
}

/// The name of a user, or its number.
pub(super) fn user(uid: u32) -> String {
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    name(&users, uid).unwrap_or_else(|| uid.to_string())
}

/// The name with this number in the text of `/etc/passwd`.
fn name(users: &str, id: u32) -> Option<String> {
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(id)).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn rights_are_those_of_owner_group_or_others_and_root_has_all() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("file");
        fs::write(&file, "").unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
        let meta = fs::metadata(&file).unwrap();
        let process = |uid, groups: &[u32]| Process::example(uid, groups);
        let (uid, gid) = (meta.uid(), meta.gid());
        assert!(may(&process(0, &[]), &meta, READ | WRITE | ENTER));
        assert!(may(&process(uid + 7, &[gid + 1, gid]), &meta, READ));
        assert!(!may(&process(uid + 7, &[gid]), &meta, WRITE));
        assert!(!may(&process(uid + 7, &[gid + 1]), &meta, READ));
        fs::set_permissions(root.path(), Permissions::from_mode(0o700)).unwrap();
        assert_eq!(barred(&process(uid + 7, &[gid + 1]), &file), Some(root.path()));
        assert_eq!(barred(&process(0, &[]), &file), None);
    }

    #[test]
    fn a_user_without_a_name_is_a_number() {
        let users = "root:x:0:0::/:/bin/sh\nvcache:x:105:110::/:/bin/false\n";
        assert_eq!(name(users, 105).as_deref(), Some("vcache"));
        assert_eq!(name(users, 110), None);
        assert_eq!(user(4_000_000_123), "4000000123");
    }
}
