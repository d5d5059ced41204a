//! A stream's pipeline in this process: real threads, a real directory, the machine's clock.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use vmod_s3log::block::Decoder;
use vmod_s3log::clock::System;
use vmod_s3log::events::{Events, Level};
use vmod_s3log::pipeline::{Attachment, Environment, Observer, Pipeline, Registry};
use vmod_s3log::priority::Priority;
use vmod_s3log::settings::{Arguments, Settings};
use vmod_s3log::stats::Stats;

use super::s3_server::{ACCESS_KEY, BUCKET, S3Server, SECRET_KEY};

/// Nobody listens there.
pub const DEAD: &str = "http://127.0.0.1:1";

/// Keeps the messages.
#[derive(Debug, Default)]
pub struct Told(Mutex<Vec<String>>);

impl Events for Told {
    fn event(&self, level: Level, message: &str) {
        self.0.lock().unwrap().push(format!("{}: {message}", level.word()));
    }
}

impl Told {
    pub fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

struct Nobody;

impl Observer for Nobody {
    fn observe(&mut self, _stats: &Stats) {}
}

/// A process with a registry, a directory for spools and credentials.
pub struct Process {
    pub registry: Registry,
    pub told: Arc<Told>,
    pub environment: Environment,
    pub directory: tempfile::TempDir,
}

impl Process {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("spool")).unwrap();
        let keys = format!(
            "[default]\naws_access_key_id = {ACCESS_KEY}\naws_secret_access_key = {SECRET_KEY}\n"
        );
        std::fs::write(directory.path().join("credentials"), keys).unwrap();
        let told = Arc::new(Told::default());
        let events: Arc<dyn Events> = told.clone();
        let environment = Environment {
            clock: Arc::new(System::new()),
            events,
            observer: Arc::new(|_| Box::new(Nobody)),
            grace: Duration::ZERO,
        };
        Self { registry: Registry::default(), told, environment, directory }
    }

    /// Where the spools are; the stream's own is the folder `access` in it.
    pub fn spool(&self) -> PathBuf {
        self.directory.path().join("spool")
    }

    pub fn arguments(&self, endpoint: &str, more: &[(&'static str, &str)]) -> Arguments {
        self.arguments_of("access", endpoint, more)
    }

    /// The same for a stream of another name.
    pub fn arguments_of(
        &self,
        stream: &str,
        endpoint: &str,
        more: &[(&'static str, &str)],
    ) -> Arguments {
        let mut arguments = Arguments::new(stream);
        let mut set = |name, value: &str| arguments.set(name, Some(value.to_owned()));
        set("endpoint", endpoint);
        set("bucket", BUCKET);
        set("hostname", "node");
        set("period", "1h");
        set("ring", "1MB");
        set("spool", self.spool().to_str().unwrap());
        set("credentials", self.directory.path().join("credentials").to_str().unwrap());
        for (name, value) in more {
            set(name, value);
        }
        arguments
    }

    pub fn settings(&self, endpoint: &str, more: &[(&'static str, &str)]) -> Settings {
        Settings::read(&self.arguments(endpoint, more)).unwrap()
    }

    pub fn attach(&self, endpoint: &str, more: &[(&'static str, &str)]) -> Holder<'_> {
        let settings = self.settings(endpoint, more);
        self.hold(settings)
    }

    /// The same for settings that were read already.
    pub fn hold(&self, settings: Settings) -> Holder<'_> {
        let attachment = self.registry.attach(settings, &self.environment).unwrap();
        let pipeline = Arc::clone(attachment.pipeline());
        Holder { process: self, pipeline, attachment }
    }

    /// Why the stream cannot be opened.
    pub fn refused(&self, endpoint: &str, more: &[(&'static str, &str)]) -> String {
        self.refuses(self.settings(endpoint, more))
    }

    /// Why a stream with these settings cannot be opened.
    pub fn refuses(&self, settings: Settings) -> String {
        let attached = self.registry.attach(settings, &self.environment);
        attached.err().unwrap().to_string()
    }

    /// Waits until no pipeline is left.
    pub fn wait_closed(&self) {
        wait_for("the pipelines to close", || self.registry.is_empty());
    }

    pub fn messages(&self) -> Vec<String> {
        self.told.all()
    }
}

/// Somebody who holds on to the stream, as a VCL does, and lets go when dropped.
pub struct Holder<'a> {
    process: &'a Process,
    pub pipeline: Arc<Pipeline>,
    attachment: Attachment,
}

impl Holder<'_> {
    /// Pushes the lines `{name} {number}`.
    pub fn push(&self, name: &str, numbers: std::ops::Range<usize>) {
        for number in numbers {
            self.push_line(&format!("{name} {number}"));
        }
    }

    pub fn push_line(&self, line: &str) {
        self.push_with(line, Priority::Normal);
    }

    pub fn push_with(&self, line: &str, priority: Priority) {
        self.attachment.push(format!("{line}\n").as_bytes().into(), priority);
    }

    pub fn stat(&self, name: &str) -> u64 {
        let all = self.pipeline.stats().snapshot();
        all.iter().find(|(known, _)| *known == name).unwrap().1
    }

    pub fn wait_stat(&self, name: &str, at_least: u64) {
        wait_for(&format!("{name} {at_least}"), || self.stat(name) >= at_least);
    }

    /// Waits until what came in is what went out and what is still here.
    pub fn wait_balance(&self) {
        let sides = || {
            let sum = |names: &[&str]| names.iter().map(|name| self.stat(name)).sum::<u64>();
            let out =
                ["uploaded_records", "spooled_records", "dropped_spool", "quarantined_records"];
            (sum(&["records", "recovered"]), sum(&out))
        };
        let end = Instant::now() + Duration::from_secs(120);
        loop {
            let (came, went) = sides();
            if came == went {
                return;
            }
            assert!(Instant::now() < end, "{came} came, {went} went: {}", self.pipeline.status());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Holder<'_> {
    fn drop(&mut self) {
        self.process.registry.detach(&self.attachment);
    }
}

pub fn wait_for(what: &str, check: impl Fn() -> bool) {
    // A guard against a hang, for the slowest of machines.
    let end = Instant::now() + Duration::from_secs(120);
    while !check() {
        assert!(Instant::now() < end, "waited 120 s for {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Every object of the bucket: its key and its lines, in the order of keys.
pub fn objects(server: &S3Server) -> Vec<(String, Vec<String>)> {
    fn walk(root: &Path, at: &Path, found: &mut Vec<(String, PathBuf)>) {
        for entry in std::fs::read_dir(at).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(root, &path, found);
            } else if path.to_str().unwrap().contains(".log") {
                let key = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                found.push((key, path));
            }
        }
    }
    let root = server.root().join(BUCKET);
    let mut found = Vec::new();
    walk(&root, &root, &mut found);
    found.sort();
    found
        .into_iter()
        .map(|(key, path)| {
            let mut text = String::new();
            let file = std::fs::File::open(path).unwrap();
            Decoder::sniff(file).unwrap().read_to_string(&mut text).unwrap();
            (key, text.lines().map(str::to_owned).collect())
        })
        .collect()
}

/// All lines of the bucket, sorted.
pub fn lines(server: &S3Server) -> Vec<String> {
    let mut lines: Vec<_> = objects(server).into_iter().flat_map(|(_, lines)| lines).collect();
    lines.sort();
    lines
}

/// The lines that [`Holder::push`] makes, sorted.
pub fn expected(pushed: &[(&str, std::ops::Range<usize>)]) -> Vec<String> {
    let mut lines: Vec<_> = pushed
        .iter()
        .flat_map(|(name, numbers)| numbers.clone().map(move |number| format!("{name} {number}")))
        .collect();
    lines.sort();
    lines
}
