//! A file system that stops after any operation, or refuses some.
//!
//! A stop is a killed process: what was written stays, a write that was under way is there in part,
//! and every later operation fails until [`Sim::restart`].

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::sync::{Arc, Mutex, MutexGuard};

use vmod_s3log::spool::{Files, Hold, Memory};

#[derive(Debug, Default, Clone, Copy)]
struct Plan {
    /// Changing operations until the stop.
    stop_in: Option<u32>,
    stopped: bool,
    /// Changing operations until the first fault, how many fault, and with what.
    fault: Option<(u32, u32, io::ErrorKind)>,
    /// Changing operations so far.
    done: u32,
}

#[derive(Debug, Default)]
pub struct Sim<F = Memory> {
    files: F,
    plan: Arc<Mutex<Plan>>,
    log: Mutex<Vec<String>>,
    /// Files that cannot be opened or read, with the system's number for why.
    refused: Mutex<BTreeMap<String, i32>>,
}

/// The file has a bad sector where it begins.
struct BadSector;

impl Read for BadSector {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::Error::from_raw_os_error(libc::EIO))
    }
}

enum Verdict {
    Go,
    Partly(io::Error),
}

impl Sim {
    pub fn new() -> Self {
        Self::default()
    }
}

impl<F: Files> Sim<F> {
    /// Stops what is done with these files.
    pub fn over(files: F) -> Self {
        Self { files, plan: Arc::default(), log: Mutex::default(), refused: Mutex::default() }
    }

    /// Other files of the same process.
    pub fn beside<G>(&self, files: G) -> Sim<G> {
        let plan = Arc::clone(&self.plan);
        Sim { files, plan, log: Mutex::default(), refused: Mutex::default() }
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap()
    }

    /// The process is killed in the middle of the changing operation after the next `operations`.
    pub fn stop_in(&self, operations: u32) {
        self.plan().stop_in = Some(operations);
    }

    /// After `operations` changing operations, `count` of them fail with `kind`.
    pub fn fail_in(&self, operations: u32, count: u32, kind: io::ErrorKind) {
        self.plan().fault = Some((operations, count, kind));
    }

    /// From now on, whatever its name becomes, the file cannot be read (`EIO`), or not be opened at all
    /// (any other error).
    pub fn refuse(&self, name: &str, error: i32) {
        self.refused.lock().unwrap().insert(name.to_owned(), error);
    }

    /// What was refused is not any more.
    pub fn allow_all(&self) {
        self.refused.lock().unwrap().clear();
    }

    fn refusal(&self, name: &str) -> Option<i32> {
        self.refused.lock().unwrap().get(name).copied()
    }

    /// As the system does for who may not open the file.
    fn openable(&self, name: &str) -> io::Result<()> {
        match self.refusal(name).filter(|error| *error != libc::EIO) {
            Some(error) => Err(io::Error::from_raw_os_error(error)),
            None => Ok(()),
        }
    }

    pub fn stopped(&self) -> bool {
        self.plan().stopped
    }

    /// A new process, with no plan.
    pub fn restart(&self) {
        *self.plan() = Plan::default();
    }

    /// The changing operations since the last call, in words.
    pub fn take_log(&self) -> Vec<String> {
        std::mem::take(&mut self.log.lock().unwrap())
    }

    fn note(&self, words: String) {
        self.log.lock().unwrap().push(words);
    }

    /// Changing operations since the restart.
    pub fn operations(&self) -> u32 {
        self.plan().done
    }

    pub fn contents(&self, name: &str) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        self.files.read(name).ok()?.read_to_end(&mut bytes).unwrap();
        Some(bytes)
    }

    /// Puts a file there that somebody else has made.
    pub fn place(&self, name: &str, bytes: &[u8]) {
        self.files.create(name, bytes).unwrap();
    }

    pub fn names(&self, folder: &str) -> Vec<String> {
        let mut names = Vec::new();
        self.files.list(folder, &mut |name| names.push(name.to_owned())).unwrap();
        names
    }

    fn ask(&self) -> io::Result<Verdict> {
        let mut plan = self.plan();
        if plan.stopped {
            return Err(io::Error::other("stopped"));
        }
        plan.done += 1;
        match plan.stop_in {
            Some(0) => {
                plan.stopped = true;
                return Ok(Verdict::Partly(io::Error::other("stopped")));
            }
            Some(left) => plan.stop_in = Some(left - 1),
            None => {}
        }
        match plan.fault {
            Some((0, count, kind)) => {
                plan.fault = (count > 1).then_some((0, count - 1, kind));
                return Ok(Verdict::Partly(kind.into()));
            }
            Some((left, count, kind)) => plan.fault = Some((left - 1, count, kind)),
            None => {}
        }
        Ok(Verdict::Go)
    }

    /// For operations that happen or do not.
    fn atomic(&self, operation: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        match self.ask()? {
            Verdict::Go => operation(),
            Verdict::Partly(error) => Err(error),
        }
    }

    fn write(&self, bytes: &[u8], write: impl FnOnce(&[u8]) -> io::Result<()>) -> io::Result<()> {
        match self.ask()? {
            Verdict::Go => write(bytes),
            Verdict::Partly(error) => {
                write(&bytes[..bytes.len() / 2])?;
                Err(error)
            }
        }
    }

    fn alive(&self) -> io::Result<()> {
        if self.stopped() { Err(io::Error::other("stopped")) } else { Ok(()) }
    }
}

impl<F: Files> Files for Sim<F> {
    fn create(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.note(format!("create {name}"));
        self.openable(name)?;
        self.write(bytes, |bytes| self.files.create(name, bytes))
    }

    fn append(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.note(format!("append {name}"));
        self.openable(name)?;
        self.write(bytes, |bytes| self.files.append(name, bytes))
    }

    fn truncate(&self, name: &str, length: u64) -> io::Result<()> {
        self.note(format!("truncate {name} {length}"));
        self.openable(name)?;
        self.atomic(|| self.files.truncate(name, length))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.note(format!("rename {from} {to}"));
        self.atomic(|| self.files.rename(from, to))?;
        let mut refused = self.refused.lock().unwrap();
        if let Some(error) = refused.remove(from) {
            refused.insert(to.to_owned(), error);
        }
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.note(format!("remove {name}"));
        self.atomic(|| self.files.remove(name))
    }

    fn list(&self, folder: &str, each: &mut dyn FnMut(&str)) -> io::Result<()> {
        self.alive()?;
        self.files.list(folder, each)
    }

    fn read(&self, name: &str) -> io::Result<Box<dyn Read + Send>> {
        self.alive()?;
        match self.refusal(name) {
            Some(libc::EIO) => Ok(Box::new(BadSector)),
            _ => self.openable(name).and_then(|()| self.files.read(name)),
        }
    }

    fn length(&self, name: &str) -> io::Result<Option<u64>> {
        self.alive()?;
        self.files.length(name)
    }

    fn modified(&self, name: &str) -> io::Result<u64> {
        self.files.modified(name)
    }

    fn sync_file(&self, name: &str) -> io::Result<()> {
        self.note(format!("sync {name}"));
        self.atomic(|| self.files.sync_file(name))
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.note("sync the directory".to_owned());
        self.atomic(|| self.files.sync_directory())
    }

    fn share(&self, name: &str) -> io::Result<()> {
        self.files.share(name)
    }

    fn try_hold(&self, name: &str) -> io::Result<Option<Hold>> {
        self.openable(name)?;
        self.files.try_hold(name)
    }
}
