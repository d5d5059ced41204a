//! The varnishd of this machine, as its processes and Varnish's own programs show it.
//!
//! The command links no library of Varnish: `varnishstat` and `varnishadm` of the installed Varnish are
//! run, so that one command serves every version. Nothing here changes anything of Varnish.
//!
//! Non-goals: more than one varnishd at a time; a varnishd in another process namespace.
//!
//! Limits: five seconds for a program to answer.
//!
//! | file | what |
//! |---|---|
//! | `processes` | who runs, from `/proc` |
//! | `counters` | what `varnishstat` says |
//! | `cli` | what `varnishadm` says |
//! | `mask` | what its `vsl_mask` hides |

mod cli;
mod counters;
mod mask;
mod processes;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use memchr::memmem;

use super::{Error, program};
use crate::regular_file;
pub(super) use cli::Parameters;
pub(super) use counters::{Counters, StreamCounters};
pub(super) use mask::Mask;
pub(super) use processes::Process;

/// What a program of Varnish's may take, itself and with its start.
const PATIENCE: Duration = Duration::from_secs(5);

/// Most that one may print: some 200 bytes a counter.
const MOST: u64 = 64 << 20;

/// Largest file of varnishd.
const PROGRAM_MAX: u64 = 64 << 20;

/// A varnishd, or where one is expected.
#[derive(Debug)]
pub(super) struct Varnishd {
    /// What its programs are told with `-n`; `None` for their default.
    name: Option<PathBuf>,
    /// The process that was started; `None` where none is found.
    pub(super) manager: Option<Process>,
    /// The process that serves: the cache process.
    pub(super) child: Option<Process>,
    /// Whether its programs are called `vinylstat` and so on.
    vinyl: bool,
}

impl Varnishd {
    /// The one of this `-n`, or the only one that runs.
    ///
    /// # Errors
    /// Several run and none is named.
    pub(super) fn find(name: Option<&Path>) -> Result<Self, Error> {
        let mut running = processes::managers();
        if let Some(name) = name {
            running.retain(|manager| manager.is_called(name));
        }
        if running.len() > 1 {
            let list: Vec<String> = running
                .iter()
                .map(|manager| {
                    let place = manager.place();
                    let place = place.map_or_else(|| "?".to_owned(), |at| at.display().to_string());
                    format!("process {} in {place}", manager.process.pid)
                })
                .collect();
            let text = format!("several varnishd run ({}); choose one with -n", list.join(", "));
            return Err(Error::Usage(text));
        }
        let manager = running.pop();
        let place = manager.as_ref().and_then(|manager| manager.place());
        Ok(Self {
            name: place.or_else(|| name.map(Path::to_owned)),
            child: manager.as_ref().and_then(|manager| manager.child.clone()),
            vinyl: manager.as_ref().is_some_and(|manager| manager.process.name == "vinyld"),
            manager: manager.map(|manager| manager.process),
        })
    }

    /// How its programs are told which one it is, for a message: empty for their default.
    pub(super) fn option(&self) -> String {
        self.name.as_ref().map_or_else(String::new, |name| format!(" -n {}", name.display()))
    }

    /// What a program of Varnish's prints, `what` being `stat`, `adm` or `log`.
    fn ask(&self, what: &str, arguments: &[&str]) -> Result<String, Error> {
        let program = format!("{}{what}", if self.vinyl { "vinyl" } else { "varnish" });
        let mut command = Command::new(&program);
        if let Some(name) = &self.name {
            command.arg("-n").arg(name);
        }
        // Seconds. varnishadm waits for varnishd's answer, which a loaded machine gives late; varnishstat only reads
        // memory that is there.
        let seconds = if what == "adm" { "4" } else { "1" };
        command.args(["-t", seconds]).args(arguments).stderr(Stdio::null());
        let bytes = program::output(command, PATIENCE, MOST)?;
        Ok(cli::answer(&String::from_utf8_lossy(&bytes)).to_owned())
    }

    /// All counters of the module, and some of Varnish's.
    ///
    /// # Errors
    /// `varnishstat` is not there, or gives none.
    pub(super) fn counters(&self) -> Result<Counters, Error> {
        let text = self.ask("stat", &["-j", "-f", "S3LOG.*", "-f", "MAIN.*"])?;
        Counters::read(&text).ok_or_else(|| program::failed("varnishstat", "printed no counters"))
    }

    /// Its parameters.
    ///
    /// # Errors
    /// `varnishadm` is not there, or this user may not ask.
    pub(super) fn parameters(&self) -> Result<Parameters, Error> {
        let text = self.ask("adm", &["param.show", "-j"])?;
        Parameters::read(&text)
            .ok_or_else(|| program::failed("varnishadm", "printed no parameters"))
    }

    /// The text of the VCLs in use: the active one and those that have a label.
    ///
    /// # Errors
    /// As of [`Self::parameters`].
    pub(super) fn vcl(&self) -> Result<String, Error> {
        let names = cli::in_use(&self.ask("adm", &["vcl.list", "-j"])?);
        let names =
            names.ok_or_else(|| program::failed("varnishadm", "printed no list of VCLs"))?;
        let mut all = String::new();
        for name in names {
            all.push_str(&self.ask("adm", &["vcl.show", "-v", &name])?);
            all.push('\n');
        }
        Ok(all)
    }

    /// Which Varnish it is, as its modules are asked for: `Varnish 7.7.0 HASH`.
    ///
    /// # Errors
    /// Neither `varnishadm` nor the file of the process's program says it to this user.
    pub(super) fn abi(&self) -> Result<String, Error> {
        let banner = self.ask("adm", &["banner"]);
        if let Some(abi) = banner.as_deref().ok().and_then(cli::abi) {
            return Ok(abi);
        }
        let Some(manager) = &self.manager else {
            return Err(program::failed("varnishd", "is not running"));
        };
        // Through /proc, because the file may have been replaced since. It is read and not run: any user may call a
        // program varnishd, and it is root who looks.
        let file = PathBuf::from(format!("/proc/{}/exe", manager.pid));
        let program = regular_file::read(&file, PROGRAM_MAX)
            .map_err(|error| program::failed("varnishd", error))?;
        cli::abi_within(&program)
            .ok_or_else(|| program::failed("varnishd", "its file says no version"))
    }

    /// Whether the varnishd that was installed in place of the one that runs loads modules of this ABI; `None`
    /// where none was, or where this user may not look.
    pub(super) fn successor_loads(&self, abi: &str) -> Option<bool> {
        let file = self.manager.as_ref()?.successor()?;
        let program = regular_file::read(&file, PROGRAM_MAX).ok()?;
        // The text that it compares a module's with.
        Some(memmem::find(&program, &[abi.as_bytes(), b"\0"].concat()).is_some())
    }

    /// The newest messages of the module in Varnish's log, oldest first.
    ///
    /// # Errors
    /// `varnishlog` is not there, or cannot read the log.
    pub(super) fn messages(&self) -> Result<Vec<String>, Error> {
        let query = r#"Error ~ "^S3LOG""#;
        let text = self.ask("log", &["-g", "raw", "-d", "-q", query])?;
        Ok(text.lines().filter_map(cli::message).collect())
    }
}
