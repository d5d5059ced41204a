//! What is on the disk of a plan, and how it is made so.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, chown};
use std::path::Path;

use similar::TextDiff;

use super::plan::{Content, Entry};
use crate::cli::Error;
use crate::regular_file;

/// The user that the cache process runs as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Owner {
    uid: u32,
    gid: u32,
    name: String,
}

impl Owner {
    /// The user of this name and its group.
    pub(super) fn named(name: &str) -> Option<Self> {
        let users = fs::read_to_string("/etc/passwd").ok()?;
        Self::find(&users, |fields| fields.first() == Some(&name))
    }

    /// The user of this number, with `gid` or the user's own group.
    pub(super) fn of(uid: u32, gid: Option<u32>) -> Self {
        let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
        let number = uid.to_string();
        let known = Self::find(&users, |fields| fields.get(2) == Some(&&*number));
        let known = known.unwrap_or(Self { uid, gid: uid, name: number });
        Self { gid: gid.unwrap_or(known.gid), ..known }
    }

    fn find(users: &str, is: impl Fn(&[&str]) -> bool) -> Option<Self> {
        users.lines().find_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            let [name, _, uid, gid, ..] = fields.as_slice() else { return None };
            let own = || {
                Some(Self {
                    uid: uid.parse().ok()?,
                    gid: gid.parse().ok()?,
                    name: (*name).to_owned(),
                })
            };
            is(&fields).then(own)?
        })
    }
}

/// What became of an entry.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Done {
    /// It was as it should be.
    Same,
    /// It was not there; in words, what it is now.
    Made(String),
    /// It was something else, and the difference.
    Replaced(String),
    /// It is left as it was: the difference.
    Differs(String),
    /// It has another owner and mode now, in words.
    Given(String),
    /// A file of credentials with a key in it, which nobody replaces.
    Kept,
}

/// Makes an entry what it should be. `dry` changes nothing and gives what would be done; a file that
/// differs is replaced with `force` only.
///
/// # Errors
/// The file system's.
pub(super) fn put(entry: &Entry, owner: &Owner, dry: bool, force: bool) -> Result<Done, Error> {
    let path = &entry.path;
    let done = match &entry.content {
        Content::Text(text) => put_text(path, text, dry, force),
        Content::Secret(text) => put_secret(path, text, owner, dry),
        Content::Directory => put_directory(path, owner, dry),
    };
    done.map_err(|source| Error::File { path: path.display().to_string(), source })
}

/// What is in a file; `None` where there is none.
fn read(path: &Path) -> io::Result<Option<String>> {
    match regular_file::read_text(path, regular_file::SETTINGS_MAX) {
        Ok(text) => Ok(Some(text.to_string())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn put_text(path: &Path, text: &str, dry: bool, force: bool) -> io::Result<Done> {
    let before = read(path)?;
    let done = match &before {
        Some(before) if before == text => return Ok(Done::Same),
        None => Done::Made("root's, mode 644".to_owned()),
        Some(before) if force => Done::Replaced(diff(before, text)),
        Some(before) => return Ok(Done::Differs(diff(before, text))),
    };
    if !dry {
        folder(path)?;
        let new = path.with_extension("s3log-init");
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create_new(true).mode(0o644).open(&new)?;
        let written = file
            .set_permissions(Permissions::from_mode(0o644))
            .and_then(|()| file.write_all(text.as_bytes()))
            .and_then(|()| file.sync_all())
            .and_then(|()| fs::rename(&new, path));
        if let Err(error) = written {
            let _ = fs::remove_file(&new);
            return Err(error);
        }
    }
    Ok(done)
}

fn put_secret(path: &Path, text: &str, owner: &Owner, dry: bool) -> io::Result<Done> {
    let what = format!("{}'s, mode 600", owner.name);
    if fs::symlink_metadata(path).is_ok() {
        let kept = match has_key(path) {
            true => Done::Kept,
            false => Done::Same,
        };
        return own(path, owner, 0o077, 0o600, dry)
            .map(|given| if given { Done::Given(what) } else { kept });
    }
    if !dry {
        folder(path)?;
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        chown(path, Some(owner.uid), Some(owner.gid))?;
    }
    Ok(Done::Made(format!("{what}, without a key")))
}

fn put_directory(path: &Path, owner: &Owner, dry: bool) -> io::Result<Done> {
    let what = format!("{}'s, mode 700", owner.name);
    if path.is_dir() {
        // A folder that a group may enter is that of s3log ship.
        let given = own(path, owner, 0o007, 0o700, dry)?;
        return Ok(if given { Done::Given(what) } else { Done::Same });
    }
    if !dry {
        folder(path)?;
        fs::create_dir(path)?;
        fs::set_permissions(path, Permissions::from_mode(0o700))?;
        chown(path, Some(owner.uid), Some(owner.gid))?;
    }
    Ok(Done::Made(what))
}

/// Gives what is there to its owner, and takes from others what `forbidden` says; whether that was needed.
fn own(path: &Path, owner: &Owner, forbidden: u32, mode: u32, dry: bool) -> io::Result<bool> {
    let meta = fs::symlink_metadata(path)?;
    if meta.is_symlink() || (meta.uid() == owner.uid && meta.mode() & forbidden == 0) {
        return Ok(false);
    }
    if !dry {
        chown(path, Some(owner.uid), Some(owner.gid))?;
        fs::set_permissions(path, Permissions::from_mode(mode))?;
    }
    Ok(true)
}

fn folder(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), fs::create_dir_all)
}

fn diff(before: &str, after: &str) -> String {
    TextDiff::from_lines(before, after).unified_diff().context_radius(2).to_string()
}

/// Whether a file of credentials has a key, or is none of ours to judge.
pub(super) fn has_key(path: &Path) -> bool {
    match read(path) {
        Ok(Some(text)) => text.lines().any(|line| {
            let (name, value) = line.split_once('=').unwrap_or((line, ""));
            !name.trim_start().starts_with(['#', ';', '[']) && !value.trim().is_empty()
        }),
        Ok(None) => false,
        Err(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn me() -> Owner {
        Owner::of(rustix::process::geteuid().as_raw(), Some(rustix::process::getegid().as_raw()))
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    #[test]
    fn a_file_is_made_left_alone_shown_and_replaced_only_by_force() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("new/s3log.toml");
        let entry =
            |text: &str| Entry { path: path.clone(), content: Content::Text(text.to_owned()) };
        let put = |text: &str, dry, force| put(&entry(text), &me(), dry, force).unwrap();
        assert!(matches!(put("a\n", true, false), Done::Made(_)));
        assert!(!path.exists(), "a dry run writes nothing");
        assert!(matches!(put("a\n", false, false), Done::Made(_)));
        assert_eq!(mode(&path), 0o644);
        assert_eq!(put("a\n", false, true), Done::Same);
        let Done::Differs(diff) = put("b\n", false, false) else { panic!("it differs") };
        assert!(diff.contains("\n-a\n") && diff.contains("\n+b\n"), "{diff}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "a\n");
        assert!(matches!(put("b\n", true, true), Done::Replaced(_)));
        assert_eq!(fs::read_to_string(&path).unwrap(), "a\n");
        assert!(matches!(put("b\n", false, true), Done::Replaced(_)));
        assert_eq!(fs::read_to_string(&path).unwrap(), "b\n");
        assert_eq!(
            fs::read_dir(path.parent().unwrap()).unwrap().count(),
            1,
            "nothing is left behind"
        );
    }

    #[test]
    fn a_key_is_never_replaced_and_nobody_else_may_read_it() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("s3log.credentials");
        let text = "[default]\naws_access_key_id =\naws_secret_access_key =\n".to_owned();
        let entry = Entry { path: path.clone(), content: Content::Secret(text) };
        let put = |dry, force| put(&entry, &me(), dry, force).unwrap();
        assert!(matches!(put(false, false), Done::Made(_)));
        assert_eq!((mode(&path), has_key(&path)), (0o600, false));
        assert_eq!(put(false, true), Done::Same);
        fs::write(&path, "[default]\naws_access_key_id = A\n").unwrap();
        assert_eq!(put(false, true), Done::Kept);
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(put(true, false), Done::Given(_)));
        assert_eq!(mode(&path), 0o644);
        assert!(matches!(put(false, false), Done::Given(_)));
        assert_eq!(mode(&path), 0o600);
        assert!(fs::read_to_string(&path).unwrap().contains("= A"));
    }

    #[test]
    fn the_spool_is_made_for_its_owner_alone_and_that_of_a_shipper_is_left() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("lib/spool");
        let entry = Entry { path: path.clone(), content: Content::Directory };
        let put = |dry| put(&entry, &me(), dry, false).unwrap();
        assert!(matches!(put(true), Done::Made(_)));
        assert!(!path.exists());
        assert!(matches!(put(false), Done::Made(_)));
        assert_eq!((mode(&path), put(false)), (0o700, Done::Same));
        fs::set_permissions(&path, Permissions::from_mode(0o2750)).unwrap();
        assert_eq!((put(false), mode(&path)), (Done::Same, 0o2750));
    }

    #[test]
    fn an_owner_is_found_by_name_and_by_number() {
        let users = "root:x:0:0:root:/root:/bin/sh\nvcache:x:105:110::/:/bin/false\n";
        let found = Owner::find(users, |fields| fields.first() == Some(&"vcache")).unwrap();
        assert_eq!(found, Owner { uid: 105, gid: 110, name: "vcache".to_owned() });
        assert_eq!(Owner::named("no such user"), None);
        assert_eq!(Owner::of(4_000_000_123, Some(7)).gid, 7);
    }
}
