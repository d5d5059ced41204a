//! The spool directory: whether it is there and the cache process may write to it, what it lies on, and
//! for how long it lasts when the gateway is away.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use super::finding::Finding;
use super::node::Node;
use super::rights::{ENTER, READ, WRITE, barred, is_user, may, user};
use crate::cli::terminal::output::size;
use crate::cli::varnishd::Process;
use crate::spool::{self, file_system_warning};

/// Linux's number of tmpfs, in `statfs(2)`.
const TMPFS: u64 = 0x0102_1994;

/// Less than this with the gateway away is too little, in hours.
const LITTLE: u64 = 1;
/// Less than this is worth a word.
const FAIR: u64 = 12;

pub(super) fn findings(node: &Node<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    for directory in &node.directories {
        match there(node, directory) {
            Ok(text) => {
                found.push(text);
                found.extend(on(directory));
                found.extend(space(node, directory));
            }
            Err(problem) => found.push(problem),
        }
    }
    for spool in &node.spools {
        found.extend(folder(node, &spool.name, &spool.folder.path));
    }
    found
}

/// The user that the cache process runs as, and its group, for a command.
fn owner(child: &Process) -> String {
    let group = child.groups.first().map_or_else(String::new, ToString::to_string);
    let groups = fs::read_to_string("/etc/group").unwrap_or_default();
    let named = groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == group).then(|| name.to_owned())
    });
    format!("{}:{}", user(child.uid), named.unwrap_or(group))
}

/// Whether the cache process can use the directory.
fn there(node: &Node<'_>, directory: &Path) -> Result<Finding, Finding> {
    let name = directory.display();
    let child = node.varnishd.child.as_ref();
    let make = || {
        // Where none runs, the user that varnishd takes for it.
        let usual = || {
            let known = ["vcache", "varnish"].into_iter().find(|name| is_user(name));
            format!("{}:varnish", known.unwrap_or("vcache"))
        };
        let owner = child.map_or_else(usual, owner);
        let (user, group) = owner.split_once(':').unwrap_or((&owner, "varnish"));
        format!("install -d -m 700 -o {user} -g {group} {name}")
    };
    let meta = match fs::metadata(directory) {
        Ok(meta) => meta,
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            let text = format!("{name} is not to be read by this user");
            return Err(Finding::unseen("spool", text, "Run doctor as root."));
        }
        Err(error) => {
            let action = format!("Make it: {}.", make());
            return Err(Finding::fix("spool", format!("{name}: {error}"), action));
        }
    };
    if !meta.is_dir() {
        let action = format!("Move it away, and make a directory: {}.", make());
        return Err(Finding::fix("spool", format!("{name} is no directory"), action));
    }
    let Some(child) = child else {
        let text = format!("{name} belongs to {}", user(meta.uid()));
        return Ok(Finding::ok("spool", text));
    };
    let runs_as = user(child.uid);
    if !may(child, &meta, READ | WRITE | ENTER) {
        let text = format!(
            "{name} belongs to {} with mode {:o}, and the cache process runs as {runs_as}: it cannot \
             write there",
            user(meta.uid()),
            meta.permissions().mode() & 0o7777
        );
        let action =
            format!("Give it to that user: chown -R {} {name} && chmod 700 {name}.", owner(child));
        return Err(Finding::fix("spool", text, action));
    }
    if let Some(folder) = barred(child, directory) {
        let folder = folder.display();
        let text = format!("the cache process, which runs as {runs_as}, may not enter {folder}");
        let action = format!("Let it pass: chmod o+x {folder}.");
        return Err(Finding::fix("spool", text, action));
    }
    if child.file("mountinfo").is_ok_and(|mounts| is_read_only(&mounts, directory)) {
        let text = format!("{name} is mounted read-only for the cache process");
        let action = format!(
            "Let the unit write there: systemctl edit varnish with [Service] and \
             ReadWritePaths={name}, then systemctl restart varnish."
        );
        return Err(Finding::fix("spool", text, action));
    }
    Ok(Finding::ok(
        "spool",
        format!("{name} can be written by the cache process, which runs as {runs_as}"),
    ))
}

/// Whether the mount that has `path` is read-only, in the text of `/proc/PID/mountinfo`.
fn is_read_only(mounts: &str, path: &Path) -> bool {
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let mount = |line: &str| {
        let mut fields = line.split(' ').skip(4);
        // Spaces in it are \040.
        let point = fields.next()?.replace("\\040", " ");
        let options = fields.next()?;
        let length = path.starts_with(&point).then_some(point.len())?;
        Some((length, options.split(',').any(|option| option == "ro")))
    };
    // Of two mounts on one point the later one is on top.
    let mounts = mounts.lines().filter_map(mount);
    mounts.fold((0, false), |best, next| if next.0 >= best.0 { next } else { best }).1
}

/// What the directory lies on.
fn on(directory: &Path) -> Option<Finding> {
    let name = directory.display();
    if let Some(warning) = file_system_warning(directory) {
        let (what, action) =
            warning.split_once(": ").unwrap_or((warning, "put the spool on a local disk"));
        let action = sentence(action);
        return Some(Finding::note("spool", format!("{name} {what}"), action));
    }
    let kind = rustix::fs::statfs(directory).ok()?.f_type;
    if u64::from_ne_bytes(kind.to_ne_bytes()) == TMPFS {
        let text =
            format!("{name} is in memory (tmpfs): what waits there is lost when the machine ends");
        return Some(Finding::note(
            "spool",
            text,
            "Put the spool on a disk, and name it in `spool`.",
        ));
    }
    None
}

/// The same with a capital and a full stop.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|c| c.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}.", letters.as_str())
}

/// For how many hours the file system has room, at the rate since varnishd's start.
fn space(node: &Node<'_>, directory: &Path) -> Option<Finding> {
    let stat = rustix::fs::statvfs(directory).ok()?;
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    let rate = node.counters.as_ref().and_then(|counters| {
        let stored: u64 = counters.streams.iter().map(|one| one.get("stored_bytes")).sum();
        let uptime = counters.main("uptime").filter(|uptime| *uptime > 0)?;
        // Shorter is no measure.
        (uptime >= 60 && stored > 0).then(|| stored.saturating_mul(3600) / uptime)
    });
    Some(room(&directory.display().to_string(), free, rate))
}

/// What there is to say of so many free bytes, and of so many bytes an hour.
fn room(name: &str, free: u64, rate: Option<u64>) -> Finding {
    let Some(rate) = rate.filter(|rate| *rate > 0) else {
        return Finding::ok("space", format!("{} free for {name}", size(free)));
    };
    let hours = free / rate;
    let lasts = match hours {
        0 => "less than an hour".to_owned(),
        1..48 => format!("{hours} hours"),
        _ => format!("{} days", hours / 24),
    };
    let text = format!(
        "{} free for {name}: {lasts} without the gateway, at the {} an hour since varnishd's start",
        size(free),
        size(rate)
    );
    let action = "Free space there or move the spool to a larger disk, and set `spool_max` below what \
                  is free.";
    match hours {
        hours if hours < LITTLE => Finding::fix("space", text, action),
        hours if hours < FAIR => Finding::note("space", text, action),
        _ => Finding::ok("space", text),
    }
}

/// Whether a folder belongs to the cache process, as it does not after a `drain` by somebody else.
fn folder(node: &Node<'_>, name: &str, path: &Path) -> Option<Finding> {
    if let Some(link) = link(path) {
        return Some(link.of(name));
    }
    let child = node.varnishd.child.as_ref()?;
    let meta = fs::metadata(path).ok()?;
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    let foreign = |meta: &fs::Metadata| meta.uid() != child.uid && child.uid != 0;
    let odd = foreign(&meta).then(|| path.to_owned()).or_else(|| {
        let mut entries = entries.filter(|entry| entry.file_name() != "ship");
        entries
            .find(|entry| entry.metadata().is_ok_and(|meta| foreign(&meta)))
            .map(|entry| entry.path())
    })?;
    let owner_now =
        fs::metadata(&odd).map_or_else(|_| "another user".to_owned(), |meta| user(meta.uid()));
    let text = format!("{} belongs to {owner_now}", odd.display());
    let action = format!(
        "Give it to the cache process's user: chown -R {}: {}, and run s3log drain and requeue as that \
         user.",
        user(child.uid),
        path.display()
    );
    Some(Finding::fix("spool", text, action).of(name))
}

/// A link in place of a folder that root would not follow, see [`spool::owner`].
fn link(path: &Path) -> Option<Finding> {
    let is_link = fs::symlink_metadata(path).is_ok_and(|meta| meta.is_symlink());
    let refused = spool::owner(path).err().filter(|error| is_link && error.get_ref().is_some())?;
    let text = refused.to_string();
    let (what, action) = text.rsplit_once(": ")?;
    Some(Finding::fix("spool", format!("{}: {what}", path.display()), sentence(action)))
}

#[cfg(test)]
mod tests {
    use super::super::finding::Mark;
    use super::*;

    #[test]
    fn the_mount_that_has_the_directory_says_whether_it_is_read_only() {
        let mounts = "1 0 8:1 / / ro,relatime - ext4 /dev/vda rw\n\
                      2 1 8:1 /var /var rw - ext4 /dev/vda rw\n\
                      3 2 8:2 / /var/lib/a\\040b ro - ext4 /dev/vdb ro\n\
                      4 2 8:2 / /var/lib/a\\040b rw - ext4 /dev/vdb rw\n";
        for (path, read_only) in
            [("/srv/x", true), ("/var/lib/x", false), ("/var/lib/a b/x", false)]
        {
            assert_eq!(is_read_only(mounts, Path::new(path)), read_only, "{path}");
        }
        assert!(is_read_only(
            "3 2 8:2 / /va ro - x x ro\n1 0 8:1 / / ro - x x ro\n",
            Path::new("/var/x")
        ));
    }

    #[test]
    fn room_for_less_than_an_hour_is_to_be_fixed() {
        let mark = |free, rate| room("/srv", free, rate).mark;
        assert_eq!(mark(1 << 30, None), Mark::Ok);
        assert_eq!(mark((1 << 30) - 1, Some(1 << 30)), Mark::Fix);
        assert_eq!(mark(1 << 30, Some(1 << 30)), Mark::Note);
        assert_eq!(mark(13 << 30, Some(1 << 30)), Mark::Ok);
        assert!(room("/srv", 100 << 30, Some(1 << 30)).text.contains("4 days without the gateway"));
    }

    #[test]
    fn an_advice_is_a_sentence() {
        assert_eq!(sentence("mount a volume there"), "Mount a volume there.");
    }
}
