//! Which varnishd run on this machine, from `/proc`.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

/// What the managing process is called, by Varnish and by Vinyl Cache.
const MANAGERS: [&str; 2] = ["varnishd", "vinyld"];

/// A process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) struct Process {
    /// Its number.
    pub(in crate::cli) pid: u32,
    /// What the kernel calls it.
    pub(super) name: String,
    parent: u32,
    /// Whose rights it has with files.
    pub(in crate::cli) uid: u32,
    /// Its groups, the effective one first.
    pub(in crate::cli) groups: Vec<u32>,
}

impl Process {
    fn read(pid: u32) -> Option<Self> {
        Self::parse(pid, &fs::read_to_string(format!("/proc/{pid}/status")).ok()?)
    }

    /// Reads `/proc/PID/status`.
    fn parse(pid: u32, status: &str) -> Option<Self> {
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            Some(line.strip_prefix(':')?.trim())
        };
        // Real, effective, saved and that of the file system.
        let last = |text: &str| text.split_whitespace().nth(3)?.parse().ok();
        let mut groups = vec![last(field("Gid")?)?];
        let more = field("Groups").unwrap_or_default().split_whitespace();
        groups.extend(more.filter_map(|group| group.parse::<u32>().ok()));
        Some(Self {
            pid,
            name: field("Name")?.to_owned(),
            parent: field("PPid")?.parse().ok()?,
            uid: last(field("Uid")?)?,
            groups,
        })
    }

    /// One of this user and these groups.
    #[cfg(test)]
    pub(in crate::cli) fn example(uid: u32, groups: &[u32]) -> Self {
        Self { pid: 1, name: "cache-main".to_owned(), parent: 1, uid, groups: groups.to_vec() }
    }

    /// The text of a file of it in `/proc`, such as `limits`.
    ///
    /// # Errors
    /// It has ended, or belongs to another user.
    pub(in crate::cli) fn file(&self, name: &str) -> std::io::Result<String> {
        fs::read_to_string(format!("/proc/{}/{name}", self.pid))
    }

    /// Where its program's file was, if that is another file by now or none; `None` also where this user may
    /// not look.
    pub(super) fn successor(&self) -> Option<PathBuf> {
        let process = PathBuf::from(format!("/proc/{}", self.pid));
        let link = fs::read_link(process.join("exe")).ok()?;
        let path = link.as_os_str().as_bytes().strip_suffix(b" (deleted)")?.strip_prefix(b"/")?;
        // As the process sees it, which may have a root directory of its own.
        Some(process.join("root").join(OsStr::from_bytes(path)))
    }
}

/// A varnishd: the process that was started, and the one that serves.
#[derive(Debug)]
pub(super) struct Manager {
    pub(super) process: Process,
    pub(super) child: Option<Process>,
    /// Its working directory, where this user may see it.
    directory: Option<PathBuf>,
    /// What it was given with `-n`.
    given: Option<PathBuf>,
}

impl Manager {
    /// What its programs are told with `-n`.
    pub(super) fn place(&self) -> Option<PathBuf> {
        self.directory.clone().or_else(|| self.given.clone())
    }

    /// Whether `name` names it.
    pub(super) fn is_called(&self, name: &Path) -> bool {
        let of_directory = self.directory.as_ref().is_some_and(|directory| {
            directory == name
                || (name.components().count() == 1
                    && directory.file_name() == Some(name.as_os_str()))
                || name.canonicalize().is_ok_and(|name| name == *directory)
        });
        of_directory || self.given.as_deref() == Some(name)
    }
}

/// All that run.
pub(super) fn managers() -> Vec<Manager> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let all: Vec<Process> = pids.filter_map(Process::read).collect();
    let is_manager = |process: &&Process| {
        let named = MANAGERS.contains(&&*process.name);
        // A child has its parent's name before it gives itself its own.
        named && !all.iter().any(|one| one.pid == process.parent && one.name == process.name)
    };
    all.iter()
        .filter(is_manager)
        .map(|process| {
            let mut children = all.iter().filter(|one| one.parent == process.pid);
            let command = process.file("cmdline").unwrap_or_default();
            Manager {
                process: process.clone(),
                child: children.find(|one| one.name.starts_with("cache-")).cloned(),
                directory: fs::read_link(format!("/proc/{}/cwd", process.pid)).ok(),
                given: given(&command),
            }
        })
        .collect()
}

/// What follows `-n` in `/proc/PID/cmdline`.
fn given(command: &str) -> Option<PathBuf> {
    let mut words = command.split('\0');
    while let Some(word) = words.next() {
        match word.strip_prefix("-n") {
            Some("") => return words.next().map(PathBuf::from),
            Some(name) => return Some(PathBuf::from(name)),
            None => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_read_from_its_status() {
        let text = "Name:\tcache-main\nUmask:\t0022\nState:\tS (sleeping)\nPPid:\t7\n\
                    Uid:\t0\t105\t0\t106\nGid:\t1\t2\t3\t4\nGroups:\t27 1000 \n";
        let process = Process::parse(9, text).unwrap();
        assert_eq!((process.pid, process.parent, process.uid), (9, 7, 106));
        assert_eq!(process.groups, [4, 27, 1000]);
        assert_eq!(process.name, "cache-main");
        assert_eq!(Process::parse(9, "Name:\tx\n"), None);
    }

    #[test]
    fn the_name_of_an_instance_is_found_in_its_command() {
        for (command, name) in [
            ("varnishd\0-F\0-n\0/srv/work\0-a\0:80\0", Some("/srv/work")),
            ("varnishd\0-nedge\0", Some("edge")),
            ("varnishd\0-a\0:80\0", None),
            ("varnishd\0-n", None),
        ] {
            assert_eq!(given(command), name.map(PathBuf::from), "{command:?}");
        }
    }

    #[test]
    fn this_process_is_in_proc_with_its_user() {
        let own = Process::read(std::process::id()).unwrap();
        assert_eq!(own.uid, rustix::process::geteuid().as_raw());
        assert!(own.file("limits").unwrap().contains("Max open files"));
    }
}
