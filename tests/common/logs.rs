//! A bucket of real blocks: written by the spool, stored by the client, of several hosts and boots.

use std::collections::HashMap;
use std::io::{Cursor, Read};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use vmod_s3log::block::{BootId, ChunkEncoder, Codec, Digest, Drops, Meta, Naming, RouteId};
use vmod_s3log::clock::System;
use vmod_s3log::s3::{Action, Client, ObjectOptions, Options as S3Options, PutObject};
use vmod_s3log::seal::{Sealing, Signer};
use vmod_s3log::spool::{ChunkStats, Disk, Options, Spool};

use super::s3_objects::client;
use super::s3_server::{ACCESS_KEY, BUCKET, S3Server, SECRET_KEY};

/// What keys begin with.
pub const PATH: &str = "varnish/%Y/%m/%d/";
/// 2026-11-22T10:00:00Z, the first record of the first block.
pub const START: u64 = 1_795_341_600;

/// A block as it was stored.
#[derive(Debug, Clone)]
pub struct Written {
    pub key: String,
    pub meta: Meta,
    pub lines: String,
}

/// A server with blocks in its bucket, and a settings file for them.
pub struct Logs {
    pub server: S3Server,
    pub blocks: Vec<Written>,
    pub directory: tempfile::TempDir,
    /// Overwrites, as one does who wants to do harm.
    pub client: Client,
    payloads: HashMap<String, Vec<u8>>,
    /// When each boot began, in seconds since 1970.
    boots: HashMap<u64, u64>,
    /// Seconds since 1970 of the next block's first record.
    pub now: u64,
    pub codec: Codec,
    /// How blocks are encrypted, and who signs them.
    pub sealing: Option<Sealing>,
    pub signer: Option<Signer>,
    /// The route of the next blocks, which have a spool of their own.
    pub route: Option<RouteId>,
    /// Which of a host's spools the next blocks go through: each varnishd has one.
    pub spool: u8,
}

impl Logs {
    /// An empty bucket.
    pub fn start() -> Self {
        let server = S3Server::start();
        let directory = tempfile::tempdir().unwrap();
        let object = ObjectOptions { if_none_match: false, ..ObjectOptions::default() };
        let options = S3Options { object, ..S3Options::default() };
        let client = client(&server.endpoint(), (ACCESS_KEY, SECRET_KEY), options, System::new());
        let logs = Self {
            server,
            blocks: Vec::new(),
            directory,
            client,
            payloads: HashMap::new(),
            boots: HashMap::new(),
            now: START,
            codec: Codec::default(),
            sealing: None,
            signer: None,
            route: None,
            spool: 0,
        };
        logs.credentials(SECRET_KEY);
        logs.settings(&["access", "errors"]);
        logs
    }

    /// Two hosts, two boots each, six blocks a host.
    pub fn usual() -> Self {
        Self::of_boots(&[1, 2])
    }

    /// Two hosts, three blocks a host of each boot.
    pub fn of_boots(boots: &[u64]) -> Self {
        let mut logs = Self::start();
        for &boot in boots {
            for _ in 0..3 {
                for host in ["edge-1", "edge-2"] {
                    logs.block("access", host, boot, 5);
                }
            }
        }
        logs
    }

    pub fn credentials(&self, secret: &str) {
        let text =
            format!("[default]\naws_access_key_id={ACCESS_KEY}\naws_secret_access_key={secret}\n");
        std::fs::write(self.path("credentials"), text).unwrap();
    }

    pub fn settings(&self, streams: &[&str]) {
        let table = |stream: &&str| {
            format!(
                "[{stream}]\nendpoint = '{}'\nbucket = '{BUCKET}'\npath = '{PATH}'\n\
                 credentials = '{}'\nspool = '{}'\nhostname = 'edge-1'\n",
                self.server.endpoint(),
                self.path("credentials").display(),
                self.path("spool").display(),
            )
        };
        let text: String = streams.iter().map(table).collect();
        std::fs::write(self.path("s3log.toml"), text).unwrap();
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes a block of `records` lines through a host's own spool and stores it. Each is ten
    /// seconds after the one before.
    pub fn block(&mut self, stream: &str, host: &str, boot: u64, records: u64) -> Written {
        let lines: String = (0..records)
            .map(|n| format!("{host} {stream} boot {boot} time {} line {n}\n", self.now))
            .collect();
        // Two chunks, where there are two records: members follow one another.
        let cut = lines.match_indices('\n').nth(1).map_or(lines.len(), |(at, _)| at + 1);
        let (one, two) = lines.split_at(cut);
        let parts = [one, two].into_iter().filter(|part| !part.is_empty());
        let (key, meta) = self.chunks(stream, host, boot, parts);
        let written = Written { key, meta, lines };
        self.blocks.push(written.clone());
        written
    }

    /// The same of lines that are given, a chunk at a time; gives key and metadata.
    pub fn chunks<T: AsRef<str>>(
        &mut self,
        stream: &str,
        host: &str,
        boot: u64,
        chunks: impl IntoIterator<Item = T>,
    ) -> (String, Meta) {
        let route = self.route.map_or_else(String::new, |route| route.to_string());
        let name = format!("{host}-{stream}{route}-{}", self.spool);
        // Each has a boot of its own, as routes of one process have.
        let random = 7 + u16::try_from(route.bytes().map(u32::from).sum::<u32>()).unwrap();
        let began = START + boot;
        self.boots.entry(boot).or_insert_with(|| began.max(self.now));
        let boot = BootId::new(self.began(boot), random);
        let written = {
            let disk = Disk::open(&self.path("hosts").join(&name)).unwrap();
            let mut options = Options::new(stream, host, boot);
            options.naming = Naming::new(PATH, Naming::DEFAULT_TIMESTAMP).unwrap();
            options.codec = self.codec.kind();
            options.sealing = self.sealing.clone();
            options.signer = self.signer.clone();
            options.route = self.route;
            let payload = self.payloads.get(&name).cloned();
            let (mut spool, _) = Spool::open(Arc::new(disk), options, payload.as_deref()).unwrap();
            if spool.lacks_key() {
                spool.end_secrecy();
            }
            let mut encoder = ChunkEncoder::new(self.codec).unwrap();
            for part in chunks {
                let part = part.as_ref();
                let mut chunk = Vec::new();
                encoder.encode(part.as_bytes(), &mut chunk).unwrap();
                let stats = ChunkStats {
                    records: part.lines().count() as u64,
                    raw_bytes: part.len() as u64,
                    first: self.now * 1_000_000_000,
                    last: (self.now + 5) * 1_000_000_000,
                    cut: 0,
                };
                spool.append(&chunk, stats).unwrap();
            }
            let (sealed, payload) = spool.seal(&Drops::default()).unwrap().unwrap();
            self.payloads.insert(name, payload.as_bytes().to_vec());
            let store = spool.store();
            let number = store.claim(Duration::ZERO).unwrap();
            let mut bytes = Vec::new();
            store.open_block(number).unwrap().content.read_to_end(&mut bytes).unwrap();
            self.put(&sealed.key, &bytes, &pairs(&sealed.meta));
            store.uploaded(number).unwrap();
            (sealed.key, sealed.meta)
        };
        self.now += 10;
        written
    }

    /// When a boot began: no earlier one is at work any more.
    pub fn began(&self, boot: u64) -> u64 {
        self.boots.get(&boot).copied().unwrap_or(START + boot)
    }

    /// The next block of each host begins a chain, as with a new spool.
    pub fn new_spools(&mut self) {
        std::fs::remove_dir_all(self.path("hosts")).unwrap();
        self.payloads.clear();
    }

    /// The blocks of a host, by number from 1.
    pub fn of(&self, host: &str) -> Vec<Written> {
        self.blocks.iter().filter(|block| block.meta.host == host).cloned().collect()
    }

    /// The lines of all blocks, in the order in which they were written.
    pub fn lines(&self) -> String {
        self.blocks.iter().map(|block| block.lines.as_str()).collect()
    }

    /// Stores an object, over one that is there.
    pub fn put(&self, key: &str, bytes: &[u8], metadata: &[(String, String)]) {
        let open =
            || -> std::io::Result<Box<dyn Read>> { Ok(Box::new(Cursor::new(bytes.to_vec()))) };
        let answer = self.client.put(&PutObject {
            key,
            len: bytes.len() as u64,
            sha256: Digest::of(bytes).0,
            metadata,
            open: &open,
            sending: PutObject::UNTOLD,
            patience: Duration::ZERO,
        });
        assert_eq!(answer.action(), Action::Done, "{answer}");
    }

    /// An object's bytes and metadata.
    pub fn get(&self, key: &str) -> (Vec<u8>, Vec<(String, String)>) {
        let mut got = self.client.get(key).unwrap();
        let mut bytes = Vec::new();
        got.body.read_to_end(&mut bytes).unwrap();
        (bytes, got.metadata)
    }

    /// Deletes an object, where the server keeps it.
    pub fn delete(&self, key: &str) {
        std::fs::remove_file(self.server.root().join(BUCKET).join(key)).unwrap();
    }

    /// Runs the command with the settings file and nothing else in its environment.
    pub fn s3log(&self, arguments: &[&str]) -> Ran {
        run(&mut self.command(arguments))
    }

    /// The command, not run yet.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_s3log"));
        command.env_clear().env("S3LOG_CONFIG", self.path("s3log.toml")).args(arguments);
        command
    }
}

/// Runs a command to its end.
pub fn run(command: &mut Command) -> Ran {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    Ran::of(&command.output().unwrap())
}

/// A block's metadata as it is sent.
pub fn pairs(meta: &Meta) -> Vec<(String, String)> {
    meta.to_pairs().into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// What a run printed, and how it ended.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Ran {
    pub fn of(output: &Output) -> Self {
        Self {
            code: output.status.code().unwrap(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}
