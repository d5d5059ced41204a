//! `s3log compact`: the blocks of past hours in few large objects, with the proof that nothing is lost.
//!
//! | file | what |
//! |---|---|
//! | `target` | what objects are to be, as the command line and the stream's format say |
//! | `plan` | which blocks: those of closed stretches of time |
//! | `backlog` | the blocks that are due, the oldest first, so many at a time |
//! | `ledger` | what the manifests of a day name already |
//! | `batch` | the blocks of a manifest: sorted out, written, named |
//! | `lines` | a block's lines, once its bytes have the hash that its metadata says |
//! | `part` | an object in the making: compressed or made columns, encrypted, hashed |
//! | `scratch` | bytes in a temporary file that nobody else sees |
//! | `upload` | an object and a manifest into the bucket |
//! | `delete` | blocks whose lines were read back from compacted objects |
//!
//! What a reader sees changes in one step, when the manifest is there: until then the blocks are read,
//! from then on the objects that the manifest names. A run that is ended before leaves objects that
//! nobody reads, and the next run starts anew; one that is ended while it deletes is continued. Two
//! runs at a time cannot name a block twice, because a manifest's key is the next number of the day
//! and is written with `If-None-Match: *`.
//!
//! Non-goals: objects that are compacted once more, multipart uploads.
//!
//! Limits: an object is at most 4 GiB. Memory: 16 MiB for each job (8 at most), the encoder or a row
//! group (`columns`), the manifest of 10,000 blocks, the listing of 200,000 blocks and 16 bytes for each block of a day:
//! 256 MiB in all. Temporary files: one object, and a block of more than 4 MiB for each job.

mod backlog;
mod batch;
mod delete;
mod ledger;
mod lines;
mod part;
mod plan;
mod scratch;
mod target;
mod upload;

use std::collections::HashSet;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use self::backlog::Backlog;
use self::batch::{Batcher, Compacted};
use self::delete::Deleter;
use self::ledger::Ledger;
use self::part::Target;
use self::plan::{Every, Plan};
use self::target::{To, form, may_have_format, target};
use super::Error;
use super::blocks::{FoundBlock, Keys, Others};
use super::compacted::{Day, INPUTS_MAX};
use super::settings::{Connection, Source};
use super::terminal::output::{Paint, count, counted, json, size};
use super::terminal::{Complaints, when};
use super::verify::verifiers;
use crate::block::{Codec, Digest};
use crate::seal::{Recipients, Sealing, Signer, Verifier, check};
use crate::units;

/// Largest object, bytes: gateways take 5 GiB in one request.
const LARGEST: u64 = 4 << 30;

/// Which blocks, and what is made of them.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Objects and manifests are written to {fixed folders of path}compact/STREAM/dt=DAY/. \
                  A block that does not pass the checks stays as it is and is named; a block that is \
                  uploaded late is compacted by a later run. ls, cat, tail and verify read compacted \
                  objects. Ending the command at any time loses nothing; give it again to go on.

Exit codes: 0 done, 1 some blocks could not be compacted or deleted, 2 invalid arguments or settings."
)]
pub(super) struct CompactArgs {
    /// Stream names as in VCL. Default: all streams in the settings file.
    streams: Vec<String>,
    /// Lines as they are, compressed: gzip, gzip:0 to gzip:9, zstd, zstd:1 to zstd:15. Or columns: parquet,
    /// parquet:1 to parquet:15 (zstd inside).
    #[arg(long, value_name = "FORM", default_value = "zstd", value_parser = form)]
    to: To,
    /// With --to parquet and one stream: the stream's format as in VCL, which gives its columns. Default: that
    /// in the settings.
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Stretch of time that goes into objects of its own: 1h, 2h, 3h, 4h, 6h, 8h, 12h or 24h, from
    /// midnight UTC.
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = Every::parse)]
    every: Every,
    /// Only stretches that start at or after this time.
    #[arg(long, value_name = "TIME", value_parser = when::parse)]
    since: Option<u64>,
    /// Only stretches that end at or before this time. Default: one hour ago, so that blocks that are
    /// under way have arrived.
    #[arg(long, value_name = "TIME", value_parser = when::parse)]
    until: Option<u64>,
    /// Only blocks of this host; can be repeated.
    #[arg(long, value_name = "NAME")]
    host: Vec<String>,
    /// Start another object when this size is reached, at most 4GB.
    #[arg(long, value_name = "SIZE", default_value = "256MB", value_parser = object_size)]
    max_bytes: u64,
    /// Directory for temporary files. Default: $TMPDIR or /tmp.
    #[arg(long, value_name = "DIR")]
    temp_dir: Option<PathBuf>,
    /// Blocks to fetch in parallel, 1 to 8.
    #[arg(long, short, default_value_t = 4, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=8))]
    jobs: u8,
    /// Encrypt the objects to these age recipients, as encrypt_to does in VCL.
    #[arg(long, value_name = "KEYS|FILE", conflicts_with = "unencrypted")]
    encrypt_to: Option<String>,
    /// Write the lines of encrypted blocks to unencrypted objects.
    #[arg(long)]
    unencrypted: bool,
    /// Sign the manifests with this secret key of minisign.
    #[arg(long, value_name = "FILE")]
    sign_key: Option<PathBuf>,
    /// Require that every block and every manifest is signed with this key, as verify does; can be repeated.
    /// Needs --sign-key.
    #[arg(long, env = "S3LOG_VERIFY_KEY", value_name = "FILE|KEY")]
    public_key: Vec<String>,
    /// Delete blocks that manifests name, after the objects with their lines were read back. Blocks of a manifest
    /// that neither this run has written nor the key of --sign-key has signed are read as well, and compared.
    #[arg(long)]
    delete: bool,
    /// Only say what would be compacted.
    #[arg(long, conflicts_with = "delete")]
    dry_run: bool,
    #[command(flatten)]
    keys: Keys,
    /// Print one JSON object per manifest and a sum.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

fn object_size(text: &str) -> Result<u64, String> {
    units::bytes(text)
        .filter(|bytes| (1..=LARGEST).contains(bytes))
        .ok_or_else(|| "expected a size such as 64MB or 1GB, at most 4GB".to_owned())
}

/// What all streams came to.
#[derive(Debug, Default, serde::Serialize)]
struct Sum {
    blocks: u64,
    records: u64,
    raw_bytes: u64,
    unparsed: u64,
    stored_bytes: u64,
    objects: u64,
    object_bytes: u64,
    deleted: u64,
}

impl Sum {
    fn add(&mut self, done: &Compacted) {
        self.blocks += done.blocks;
        self.records = self.records.saturating_add(done.records);
        self.raw_bytes = self.raw_bytes.saturating_add(done.raw_bytes);
        self.unparsed = self.unparsed.saturating_add(done.unparsed);
        self.stored_bytes = self.stored_bytes.saturating_add(done.stored_bytes);
        self.objects += done.objects;
        self.object_bytes = self.object_bytes.saturating_add(done.object_bytes);
    }
}

/// Compacts what is due, stream by stream.
///
/// # Errors
/// A setting, an answer of the gateway, a temporary file, or the output.
pub(super) fn run(arguments: &CompactArgs, out: &mut dyn Write) -> Result<ExitCode, Error> {
    let sealing = arguments.encrypt_to.as_deref().map(Recipients::read).transpose();
    let sealing = sealing.map_err(|error| Error::Usage(format!("--encrypt-to: {error}")))?;
    let signer = arguments.sign_key.as_deref().map(Signer::read).transpose();
    let signer = signer.map_err(|error| Error::Usage(format!("--sign-key: {error}")))?;
    let (now, every) = (when::now(), arguments.every);
    if arguments.until.is_some_and(|until| until > now) {
        return Err(Error::Usage("--until: the time is in the future".to_owned()));
    }
    let until = arguments.until.unwrap_or_else(|| now.saturating_sub(Every::HOUR));
    let sources = Source::all(&arguments.connection, &arguments.streams)?;
    if let Some(format) = &arguments.format {
        let streams: Vec<&str> = sources.iter().map(|it| it.settings.stream.as_str()).collect();
        may_have_format(arguments.to, format, &streams)?;
    }
    let of = |source: &Source| {
        let mut settings = arguments.connection.arguments(&source.settings.stream)?;
        settings.set("format", arguments.format.clone());
        target(arguments.to, &settings, arguments.encrypt_to.is_some())
    };
    let targets = sources.iter().map(of).collect::<Result<Vec<_>, Error>>()?;
    let keys = verifiers(&arguments.public_key)?;
    if !arguments.dry_run {
        may_sign(signer.as_ref(), &keys)?;
    }
    let mut batcher = Batcher {
        opener: arguments.keys.read()?,
        keys,
        signer,
        sealing: sealing.map(Sealing::Age),
        unencrypted: arguments.unencrypted,
        target: Target::Lines(Codec::None),
        max_bytes: arguments.max_bytes,
        temp_dir: arguments.temp_dir.clone().unwrap_or_else(std::env::temp_dir),
        jobs: usize::from(arguments.jobs),
    };
    let plan = Plan::new(arguments.since, until, every, &arguments.host);
    let mut complaints = Complaints::default();
    let mut sum = Sum::default();
    for (source, target) in sources.iter().zip(targets) {
        batcher.target = target;
        let mut report = Report { arguments, out, sum: &mut sum, complaints: &mut complaints };
        let written = compact(source, &batcher, &plan, &mut report)?;
        if arguments.delete {
            let deleter = Deleter { source, plan: &plan, batcher: &batcher, written };
            sum.deleted += deleter.delete(&mut complaints)?;
        }
    }
    conclude(arguments, &sum, out)?;
    Ok(complaints.code())
}

/// Whether the manifests will have what is asked of those that are there.
///
/// # Errors
/// What to give.
fn may_sign(signer: Option<&Signer>, keys: &[Verifier]) -> Result<(), Error> {
    if keys.is_empty() {
        return Ok(());
    }
    let Some(signer) = signer else {
        return Err(Error::Usage(
            "--public-key, or S3LOG_VERIFY_KEY: it requires a signature of manifests as well, and those that are \
             written would have none: give --sign-key FILE, or no public key"
                .to_owned(),
        ));
    };
    check(keys, &signer.sign("", ""), "", "").map(drop).map_err(|_| {
        Error::Usage(
            "--sign-key: no key of --public-key verifies what it signs, and the next run would refuse the \
             manifests: give the --public-key of the key that signs as well"
                .to_owned(),
        )
    })
}

/// What was done so far, and where it is told.
struct Report<'a> {
    arguments: &'a CompactArgs,
    out: &'a mut dyn Write,
    sum: &'a mut Sum,
    complaints: &'a mut Complaints,
}

/// Compacts what is due of a stream. Gives the SHA-256 of the manifests that it wrote.
fn compact(
    source: &Source,
    batcher: &Batcher,
    plan: &Plan,
    report: &mut Report<'_>,
) -> Result<HashSet<Digest>, Error> {
    let mut ledger: Option<Ledger> = None;
    let mut written = HashSet::new();
    let mut others = Others::default();
    let mut backlog = Backlog::new(source, plan);
    while let Some(stretches) = backlog.next(report.complaints)? {
        for (start, blocks) in stretches {
            let day = Day::of(start);
            let known = match ledger.take().filter(|ledger| ledger.day() == day) {
                Some(known) => known,
                None => Ledger::read(source, day, &batcher.keys)?,
            };
            let known = ledger.insert(known);
            if let Some(why) = known.unusable() {
                report.complaints.say(why);
                continue;
            }
            let mut left: Vec<FoundBlock<'_>> =
                blocks.into_iter().filter(|found| !known.names(&found.key)).collect();
            if report.arguments.dry_run {
                others.leave_out(&mut left)?;
            }
            for blocks in left.chunks(INPUTS_MAX) {
                let stretch = plan.stretch(start);
                if report.arguments.dry_run {
                    report.due(source, start, blocks)?;
                    continue;
                }
                let done = batcher.run(source, known, stretch, blocks, report.complaints)?;
                if let Some(done) = done {
                    written.insert(done.sha256);
                    report.done(source, start, &done)?;
                }
                if known.unusable().is_some() {
                    break;
                }
            }
        }
    }
    Ok(written)
}

impl Report<'_> {
    fn due(&mut self, source: &Source, start: u64, found: &[FoundBlock<'_>]) -> Result<(), Error> {
        let stream = &source.settings.stream;
        let bytes = found.iter().fold(0u64, |sum, block| sum.saturating_add(block.size));
        self.sum.blocks += found.len() as u64;
        self.sum.stored_bytes = self.sum.stored_bytes.saturating_add(bytes);
        let (time, blocks) = (when::show(start), counted(found.len() as u64, "block"));
        if self.arguments.json {
            let line = serde_json::json!({
                "stream": stream, "time": time, "blocks": found.len(), "stored_bytes": bytes,
            });
            return Ok(json(self.out, &line)?);
        }
        writeln!(self.out, "{stream} {time}: {blocks}, {}, would be compacted", size(bytes))?;
        Ok(())
    }

    fn done(&mut self, source: &Source, start: u64, done: &Compacted) -> Result<(), Error> {
        self.sum.add(done);
        let (stream, time) = (&source.settings.stream, when::show(start));
        if self.arguments.json {
            let line = serde_json::json!({ "stream": stream, "time": time, "compacted": done });
            return Ok(json(self.out, &line)?);
        }
        let unparsed = match done.unparsed {
            0 => String::new(),
            lines => format!("; {} not of the format, in s3log_raw", counted(lines, "line")),
        };
        writeln!(
            self.out,
            "{stream} {time}: {} of {}, {}, {} in {}, {}{unparsed}",
            counted(done.blocks, "block"),
            counted(done.hosts, "host"),
            counted(done.records, "record"),
            size(done.stored_bytes),
            counted(done.objects, "object"),
            size(done.object_bytes),
        )?;
        Ok(())
    }
}

fn conclude(arguments: &CompactArgs, sum: &Sum, out: &mut dyn Write) -> Result<(), Error> {
    if arguments.json {
        json(out, &serde_json::json!({ "sum": sum }))?;
    } else if arguments.dry_run {
        let text = format!(
            "{}, {}, would be compacted",
            counted(sum.blocks, "block"),
            size(sum.stored_bytes)
        );
        writeln!(out, "{}", Paint::stdout().faint(&text))?;
    } else {
        let mut text = format!(
            "{} with {}, {}, compacted to {}, {}",
            counted(sum.blocks, "block"),
            counted(sum.records, "record"),
            size(sum.stored_bytes),
            counted(sum.objects, "object"),
            size(sum.object_bytes),
        );
        if arguments.delete {
            text.push_str(&format!("; {} deleted", count(sum.deleted)));
        }
        writeln!(out, "{}", Paint::stdout().faint(&text))?;
    }
    out.flush()?;
    Ok(())
}
