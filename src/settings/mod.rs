//! What an operator chooses for a stream, from the texts of VCL, a settings file or the command.
//!
//! [`table`] declares the arguments, [`Arguments`] holds their texts, and [`Settings`] is what the
//! threads behind the ring go by.
//!
//! Non-goals: secrets, which are never arguments; settings of the process.

mod arguments;
mod destination;
mod line;
mod region;
mod route;
pub mod table;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::block::{Codec, Members, Naming};
use crate::clock::{Clock as _, System};
use crate::ring::Capacity;
use crate::s3::credentials::{ProcessEnvironment, Sources, Variables};
use crate::s3::{Bucket, Options};
use crate::seal::{Certificate, Recipients, Sealing, Signer};
use crate::spool::{OnSpoolFull, SyncPolicy};
use crate::units;
use crate::zone::{Align, NamedZone};

pub use arguments::{Arguments, Error};
use destination::host;
pub use line::{format, line, program, program_again, sample};
pub use route::Saved;
pub(crate) use table::DEFAULT_SPOOL;

/// Where blocks wait for the gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In this directory, which survives the process.
    Directory(PathBuf),
    /// In memory, by explicit choice.
    Memory,
}

/// What a worker does when the ring is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFull {
    /// Counts the record and goes on.
    Drop,
    /// Waits up to this long first.
    Wait(Duration),
}

/// Which process uploads what waits in the spool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Upload {
    /// This one.
    Internal,
    /// `s3log ship`: this one opens no connection and reads no credentials.
    External,
}

/// What `vcl.load` does with a stream that cannot be started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnStartFailure {
    /// It fails.
    Fail,
    /// It succeeds, and lines wait in memory until the stream can be started.
    Serve,
}

impl OnStartFailure {
    /// `on_start_failure`; `None` when it was left out.
    ///
    /// # Errors
    /// It is neither of the words.
    pub fn read(arguments: &Arguments) -> Result<Option<Self>, Error> {
        arguments.choice("on_start_failure", &[("fail", Self::Fail), ("serve", Self::Serve)])
    }
}

/// Everything that the threads behind the ring go by.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The arguments that these were read from.
    pub arguments: Arguments,
    /// The stream's name.
    pub stream: String,
    /// This node's name in keys.
    pub host: String,
    /// The gateway and the bucket.
    pub bucket: Bucket,
    /// How requests are made.
    pub s3: Options,
    /// Where the access key comes from.
    pub sources: Sources,
    /// How blocks are named.
    pub naming: Naming,
    /// How chunks are compressed.
    pub codec: Codec,
    /// How many members a block has when it is uploaded.
    pub members: Members,
    /// How blocks are encrypted when they are sealed; `None`: they are not encrypted.
    pub sealing: Option<Sealing>,
    /// Who signs blocks when they are sealed.
    pub signer: Option<Signer>,
    /// How long after its first record a block is closed.
    pub period: Duration,
    /// The windows of a clock that no block crosses, if there are such.
    pub align: Option<Align>,
    /// How large a block may grow, compressed.
    pub max_bytes: u64,
    /// Where blocks wait.
    pub place: Place,
    /// The ring's size.
    pub ring: Capacity,
    /// What a worker does when it is full.
    pub on_full: OnFull,
    /// How much may wait in the spool.
    pub spool_max: u64,
    /// What goes when it is full.
    pub on_spool_full: OnSpoolFull,
    /// When the spool is forced to the disk.
    pub sync: SyncPolicy,
    /// How long the process's exit may wait for the last upload.
    pub exit_timeout: Duration,
    /// Which process uploads.
    pub upload: Upload,
    /// How many blocks are uploaded at a time.
    pub upload_threads: usize,
    /// What is wrong with arguments that worked before, and that they can be used with all the same: a time
    /// that is over, or what a build before has taken.
    pub objections: Vec<Error>,
}

const MIB: u64 = 1 << 20;

/// The longest object that S3 takes in one request.
const MOST_OBJECT: u64 = 5 << 30;

/// A block that is copied for its seal, to be encrypted or made one member of, grows by less than this part
/// of it.
pub(crate) const COPY_MORE: u64 = 64;

impl Settings {
    /// Reads and checks the arguments.
    ///
    /// # Errors
    /// The first one that cannot be used.
    pub fn read(arguments: &Arguments) -> Result<Self, Error> {
        let mut settings = Self::read_again(arguments)?;
        if settings.objections.is_empty() {
            Ok(settings)
        } else {
            Err(settings.objections.remove(0))
        }
    }

    /// The same for arguments that may have worked before: what no operator has changed and is wrong by now
    /// is among [`Settings::objections`].
    ///
    /// # Errors
    /// The first one that cannot be used.
    pub fn read_again(arguments: &Arguments) -> Result<Self, Error> {
        Self::read_for(arguments, None)
    }

    /// The same where blocks were encrypted to `key`, the fingerprint of an OpenPGP key, before.
    fn read_for(arguments: &Arguments, key: Option<&str>) -> Result<Self, Error> {
        let bucket = destination::bucket(arguments)?;
        let naming = naming(arguments)?;
        let s3 = destination::options(arguments, &bucket)?;
        let (sealing, over) = sealing(arguments, key)?;
        let objections = over.into_iter().chain(destination::objections(arguments, &s3)).collect();
        Ok(Self {
            arguments: arguments.clone(),
            stream: arguments.stream().to_owned(),
            host: host(arguments),
            s3,
            bucket,
            sources: destination::sources(arguments)?,
            align: align(arguments, &naming)?,
            naming,
            codec: match arguments.get("compression") {
                None => Codec::default(),
                Some(text) => {
                    text.parse().map_err(|error| arguments.problem("compression", error))?
                }
            },
            members: arguments
                .choice("members", &[("many", Members::Many), ("one", Members::One)])?
                .unwrap_or_default(),
            sealing,
            signer: arguments
                .get("sign_key")
                .map(|path| Signer::read(path.as_ref()))
                .transpose()
                .map_err(|error| arguments.key_problem("sign_key", error))?,
            period: arguments.duration("period")?,
            max_bytes: arguments.bytes("max_bytes")?,
            place: place(arguments)?,
            ring: ring(arguments)?,
            on_full: on_full(arguments)?,
            spool_max: arguments.bytes("spool_max")?,
            on_spool_full: arguments
                .choice(
                    "on_spool_full",
                    &[
                        ("drop_oldest", OnSpoolFull::DropOldest),
                        ("drop_newest", OnSpoolFull::DropNewest),
                    ],
                )?
                .unwrap_or_default(),
            sync: sync(arguments)?,
            exit_timeout: arguments.duration("exit_timeout")?,
            upload: upload(arguments)?,
            upload_threads: usize::try_from(arguments.number("upload_threads")?).unwrap_or(2),
            objections,
        })
    }

    /// What a block is made one member with when it is sealed; `None`: it keeps its members.
    #[must_use]
    pub(crate) fn one_member(&self) -> Option<Codec> {
        (self.members == Members::One).then_some(self.codec)
    }

    /// Compressed bytes at which a block ends: `max_bytes`, or a quarter of a small `spool_max`. One that
    /// filled the spool alone would leave no room for what comes until it is uploaded. One that grows when it
    /// is sealed is still one that S3 takes.
    #[must_use]
    pub(crate) fn block_bytes(&self) -> u64 {
        let copied = self.sealing.is_some() || self.one_member().is_some();
        let most = if copied { MOST_OBJECT - MOST_OBJECT / COPY_MORE } else { MOST_OBJECT };
        self.max_bytes.min(self.spool_max / 4).min(most)
    }

    /// Raw bytes after which a chunk is closed: a mebibyte, less for small blocks and small rings.
    #[must_use]
    pub(crate) fn chunk_bytes(&self, ring: u64) -> usize {
        usize::try_from(MIB.min(self.block_bytes()).min(ring / 4)).unwrap_or(usize::MAX)
    }
}

/// How blocks are encrypted, to `key` if a certificate has it; and what a certificate lacks by now.
fn sealing(
    arguments: &Arguments,
    key: Option<&str>,
) -> Result<(Option<Sealing>, Option<Error>), Error> {
    let recipients = arguments.get("encrypt_to").map(Recipients::read).transpose();
    let recipients = recipients.map_err(|error| arguments.key_problem("encrypt_to", error))?;
    let Some(text) = arguments.get("public_key") else {
        return Ok((recipients.map(Sealing::Age), None));
    };
    if recipients.is_some() {
        let text = "encrypt_to is given as well; expected one of the two, not both";
        return Err(arguments.problem("public_key", text));
    }
    let now = System::new().unix().as_secs();
    let problem = |error| arguments.key_problem("public_key", error);
    let (certificate, over) = Certificate::read_again(text, now, key).map_err(problem)?;
    Ok((Some(Sealing::OpenPgp(certificate)), over.map(problem)))
}

fn naming(arguments: &Arguments) -> Result<Naming, Error> {
    let path = arguments.get("path").unwrap_or_default();
    if path.starts_with('/') {
        // S3 takes it, and makes a folder without a name that many tools cannot reach.
        return Err(
            arguments.bad("path", "a path without a slash at its beginning, as varnish/%Y/")
        );
    }
    let format = arguments.get("timestamp_format").unwrap_or(Naming::DEFAULT_TIMESTAMP);
    let zone = match arguments.get("path_timezone") {
        None => NamedZone::utc(),
        Some(name) => NamedZone::named(name)
            .map_err(|takes| arguments.bad("path_timezone", takes.to_string()))?,
    };
    Naming::in_zone(zone, path, format).map_err(|error| arguments.problem("path", error))
}

fn align(arguments: &Arguments, naming: &Naming) -> Result<Option<Align>, Error> {
    if !arguments.flag("align")? {
        return Ok(None);
    }
    let align = Align::new(naming.zone().clone(), arguments.duration("period")?);
    align.map(Some).map_err(|_| {
        arguments.bad(
            "period",
            "a duration that divides a day evenly, as 10s, 5m, 1h or 1d, because align is true",
        )
    })
}

fn place(arguments: &Arguments) -> Result<Place, Error> {
    let directory = match arguments.get("spool") {
        Some("none") => return Ok(Place::Memory),
        Some(text) => PathBuf::from(text),
        None => PathBuf::from(DEFAULT_SPOOL),
    };
    if !directory.is_absolute() {
        return Err(arguments.bad("spool", "an absolute path, or \"none\""));
    }
    Ok(Place::Directory(directory))
}

pub(crate) fn ring(arguments: &Arguments) -> Result<Capacity, Error> {
    let bytes = arguments.bytes("ring")?;
    Capacity::new(bytes).map_err(|_| {
        arguments.bad("ring", "a power of two from 1MB to 1GB, as \"16MB\" or \"64MB\"")
    })
}

fn on_full(arguments: &Arguments) -> Result<OnFull, Error> {
    let wait = OnFull::Wait(arguments.duration("max_wait")?);
    let choice = arguments.choice("on_full", &[("drop", OnFull::Drop), ("wait", wait)])?;
    Ok(choice.unwrap_or(OnFull::Drop))
}

fn upload(arguments: &Arguments) -> Result<Upload, Error> {
    let words = [("internal", Upload::Internal), ("external", Upload::External)];
    let upload = arguments.choice("upload", &words)?.unwrap_or(Upload::Internal);
    if upload == Upload::External && arguments.get("spool") == Some("none") {
        let problem = "external needs a directory in spool, where s3log ship finds the blocks; it \
                       is \"none\"";
        return Err(arguments.problem("upload", problem));
    }
    Ok(upload)
}

fn sync(arguments: &Arguments) -> Result<SyncPolicy, Error> {
    match arguments.get("sync") {
        None | Some("block") => Ok(SyncPolicy::Block),
        Some("none") => Ok(SyncPolicy::None),
        Some(text) => units::duration(text)
            .filter(|every| (10..=3_600_000).contains(&every.as_millis()))
            .map(SyncPolicy::Every)
            .ok_or_else(|| arguments.bad("sync", "none, block, or a duration from 10ms to 1h")),
    }
}

/// The process's environment, for the credentials that stand there.
#[must_use]
pub fn variables() -> Arc<dyn Variables> {
    Arc::new(ProcessEnvironment)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// S3's limit for one PUT.
    const MOST: u64 = 5 << 30;

    #[test]
    fn a_block_of_the_largest_max_bytes_can_be_sent_also_when_it_is_copied_for_its_seal() {
        let key = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p";
        let bytes = |more: &[(&'static str, &str)]| {
            let mut arguments = Arguments::new("access");
            let all = [("endpoint", "https://gateway.example"), ("bucket", "logs")];
            for (name, value) in all.iter().chain(&[("spool_max", "1TB")]).chain(more) {
                arguments.set(name, Some((*value).to_owned()));
            }
            Settings::read(&arguments).unwrap().block_bytes()
        };
        let (most, sealed) = (("max_bytes", "5GB"), ("encrypt_to", key));
        assert_eq!(bytes(&[most]), MOST);
        // age adds a tag of 16 bytes to each 64 KiB, and a few hundred bytes for each of its keys.
        let encrypted = |clear: u64| clear + clear.div_ceil(65_536) * 16 + 65_536;
        for more in [[most, sealed], [most, ("members", "one")]] {
            let clear = bytes(&more);
            assert!(encrypted(clear) <= MOST && clear > MOST / 64 * 62, "{more:?}: {clear}");
        }
        // What has room is as large as it is asked for.
        assert_eq!(bytes(&[sealed]), 64 << 20);
        assert_eq!(bytes(&[sealed, ("max_bytes", "4GB")]), 4 << 30);
    }
}
