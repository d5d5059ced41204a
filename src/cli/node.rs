//! What `drain`, `ship` and `requeue` give the module's own pipeline, and as whom the first and the last work.

use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::sync::Arc;

use super::{Error, program};

use crate::clock::System;
use crate::events::{Events, Level};
use crate::pipeline::{Environment, FOREVER, Folder, Observer};
use crate::printable::printable;
use crate::spool::{self, Owner};
use crate::stats::Stats;

/// Messages, on standard error.
#[derive(Debug)]
pub(super) struct Terminal;

impl Events for Terminal {
    fn event(&self, level: Level, message: &str) {
        // A closed standard error is nobody's loss.
        let _ = writeln!(std::io::stderr(), "s3log: {}: {}", level.word(), printable(message));
    }
}

/// The counters are read from the pipeline, or go into the spool.
struct Nobody;

impl Observer for Nobody {
    fn observe(&mut self, _stats: &Stats) {}
}

/// An environment whose messages go to `events`, and which waits for as long as it takes.
pub(super) fn environment(events: Arc<dyn Events>) -> Environment {
    Environment {
        clock: Arc::new(System::new()),
        events,
        observer: Arc::new(|_| Box::new(Nobody)),
        grace: FOREVER,
    }
}

/// Goes on as the user that all these folders belong to, if root runs this: what root makes in them,
/// varnishd's user could not read. The same command starts anew, and reads settings and credentials as that
/// user. A folder that another user can have put there has no owner, and where there are several owners root
/// stays root: who works in a folder then refuses it, see [`spool::check_owner`].
pub(super) fn become_owner(folders: impl Iterator<Item = Folder>) -> Result<(), Error> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let mut owners = folders.filter_map(|folder| spool::owner(&folder.path).ok());
    let Some(owner) = owners.next() else { return Ok(()) };
    if owner.uid == 0 || owners.any(|other| other != owner) {
        return Ok(());
    }
    let Owner { uid, gid } = owner;
    // Through /proc: that user may not see where the program's file is. The other groups of root go as well.
    let error = Command::new("/proc/self/exe")
        .arg0("s3log")
        .args(std::env::args_os().skip(1))
        .uid(uid)
        .gid(gid)
        .exec();
    Err(program::failed("s3log as the spool's user", error))
}
