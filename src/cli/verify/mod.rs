//! `s3log verify`: proof that no block and no line is missing or altered.
//!
//! | mode | reads | finds |
//! |---|---|---|
//! | heads (default) | listing and metadata | missing, doubled, moved, cut, foreign blocks; broken links of the chain; keys and folders that contradict the metadata |
//! | `--download` | every byte | also contents that are not what was sealed: flipped, swapped, replaced |
//! | `--deep` | and decompresses | also records and raw bytes that are not what the metadata says |
//!
//! Blocks that `s3log compact` has written into compacted objects are checked by what the manifests say of
//! them, and the objects by the manifests.
//!
//! No mode can see that the newest blocks of a host were deleted, because nothing follows them.
//! `--checkpoint` closes that gap from the second run on. Anyone who can write to the bucket and knows
//! the format can forge a whole chain, unless the node signs its blocks and `--public-key` is given.
//!
//! Memory: about 1.5 KB a block (148 MiB were measured for 100,504); contents are streamed.

mod chain;
mod checkpoint;
mod compacted;
mod finding;
mod fit;
mod inspect;
mod parts;
mod place;
mod scope;
mod signatures;
mod signed;
mod story;
mod stream;

use std::collections::HashSet;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use serde::Serialize;

pub(super) use self::fit::{Fit, fit};
pub(super) use self::parts::wrong_blocks;

use self::chain::Chain;
use self::checkpoint::Checkpoint;
use self::finding::{Finding, FindingKind};
use self::inspect::{Lens, Mode};
use self::scope::Scope;
use self::signed::Signed;
use super::Error;
use super::blocks::{HEADS, Keys, Range};
use super::settings::{Connection, Source};
use super::terminal::output::{Paint, count, counted, json, size};
use super::terminal::{Complaints, when};
use crate::block::Drops;
use crate::printable::printable;
use crate::seal::Verifier;

/// Follows the chain of each host across boots: block numbers are consecutive, the metadata of each
/// block names the SHA-256 of the block before, and each object has the recorded length.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 complete, 1 findings, 2 not checked: no blocks, unreadable blocks, or an error.

The bucket alone cannot show that its newest blocks were deleted. Pass the same --checkpoint FILE on \
every run to detect that."
)]
pub(super) struct VerifyArgs {
    /// Stream names as in VCL. Default: all streams in the settings file.
    streams: Vec<String>,
    /// Also read every byte and compare it with the SHA-256 in the metadata.
    #[arg(long)]
    download: bool,
    /// Also decompress, and count lines and bytes.
    #[arg(long)]
    deep: bool,
    /// Require that every block is signed with this key (sign_key in VCL): a file made by minisign,
    /// or the key itself, RW...; can be repeated.
    #[arg(long, env = "S3LOG_VERIFY_KEY", value_name = "FILE|KEY")]
    public_key: Vec<String>,
    /// Remember the end of each chain in this file, and require that what it remembers still exists.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["since", "until", "host"])]
    checkpoint: Option<PathBuf>,
    /// Accept that the oldest blocks are missing: a retention rule deletes them. A whole chain that --checkpoint
    /// remembers may be gone if all that is there is newer.
    #[arg(long)]
    allow_expired: bool,
    #[command(flatten)]
    range: Range,
    /// Blocks to check in parallel, 1 to 64.
    #[arg(long, short, default_value_t = HEADS as u8, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=64))]
    jobs: u8,
    #[command(flatten)]
    keys: Keys,
    /// Print one JSON object per line: findings, chains, and a summary at the end.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

impl VerifyArgs {
    fn mode(&self) -> Mode {
        match (self.deep, self.download) {
            (true, _) => Mode::Deep,
            (false, true) => Mode::Download,
            (false, false) => Mode::Heads,
        }
    }
}

/// What all streams came to.
#[derive(Debug, Default, Serialize)]
struct Sum {
    complete: bool,
    findings: u64,
    unchecked: u64,
    /// Streams without a block.
    empty: u64,
    /// Encrypted blocks, whose lines only the holder of the key can count.
    uncounted: u64,
    /// Blocks whose signatures hold.
    signed: u64,
    blocks: u64,
    /// Compacted objects.
    objects: u64,
    /// Blocks that are there in compacted form only.
    within: u64,
    records: u64,
    raw_bytes: u64,
    stored_bytes: u64,
    hosts: u64,
    dropped: Drops,
}

/// Checks the streams and tells what was found.
///
/// # Errors
/// With exit code 2: a setting, or an answer of the gateway that leaves nothing to check.
pub(super) fn run(arguments: &VerifyArgs, out: &mut dyn Write) -> Result<ExitCode, Error> {
    verify(arguments, out).map_err(|error| error.with_code(2))
}

fn verify(arguments: &VerifyArgs, out: &mut dyn Write) -> Result<ExitCode, Error> {
    let sources = Source::all(&arguments.connection, &arguments.streams)?;
    let opener = arguments.keys.read()?;
    let keys = verifiers(&arguments.public_key)?;
    let lens = Lens { mode: arguments.mode(), opener: &opener, keys: &keys };
    let mut checkpoint = arguments.checkpoint.as_deref().map(Checkpoint::read).transpose()?;
    let mut sum = Sum::default();
    let mut complaints = Complaints::default();
    let scope = Scope {
        range: &arguments.range,
        jobs: arguments.jobs,
        open_start: arguments.range.since.is_some() || arguments.allow_expired,
    };
    let paint = Paint::stdout();
    for source in &sources {
        let result = stream::check(scope, source, lens, &mut complaints)?;
        let name = &source.settings.stream;
        let mut findings = result.findings;
        findings.extend(signatures::judge(&source.settings, &result.blocks, &keys));
        let holds = result.blocks.iter().filter(|block| block.signed == Signed::Holds);
        sum.signed += holds.count() as u64;
        if let Some(checkpoint) = &mut checkpoint {
            let expired = arguments.allow_expired;
            let lost = checkpoint.compare(name, &result.chains, &findings, expired);
            findings.extend(lost);
        }
        findings.sort_by(|a, b| a.place().cmp(&b.place()));
        tell(arguments.json, out, paint, name, &result.chains, &findings, result.others)?;
        for chain in &result.chains {
            sum.blocks += chain.blocks;
            sum.records = sum.records.saturating_add(chain.records);
            sum.raw_bytes = sum.raw_bytes.saturating_add(chain.raw_bytes);
            sum.stored_bytes = sum.stored_bytes.saturating_add(chain.stored_bytes);
            sum.dropped.add(&chain.dropped);
        }
        let hosts: HashSet<_> = result.chains.iter().map(|chain| &chain.host).collect();
        sum.hosts += hosts.len() as u64;
        if arguments.deep {
            let readable = result.blocks.iter().filter(|block| block.content.is_some());
            sum.uncounted += readable.filter(|block| block.lines.is_none()).count() as u64;
            sum.uncounted += result.uncounted;
        }
        sum.objects += result.objects;
        sum.within += result.within;
        sum.empty += u64::from(result.blocks.is_empty());
        sum.unchecked +=
            findings.iter().filter(|f| f.kind == FindingKind::Unchecked).count() as u64;
        sum.findings += findings.iter().filter(|f| f.kind.counts()).count() as u64;
    }
    sum.complete = sum.findings == 0 && sum.unchecked == 0 && sum.empty == 0;
    if let Some(checkpoint) = checkpoint.filter(|_| sum.complete) {
        checkpoint.write()?;
    }
    if arguments.json {
        json(out, &serde_json::json!({ "sum": sum }))?;
    } else {
        conclude(out, paint, lens, &sum)?;
    }
    out.flush()?;
    Ok(ExitCode::from(match (sum.findings > 0, sum.complete) {
        (true, _) => 1,
        (false, true) => 0,
        (false, false) => 2,
    }))
}

/// The public keys that were given.
pub(super) fn verifiers(given: &[String]) -> Result<Vec<Verifier>, Error> {
    let read = |text: &String| {
        Verifier::read(text).map_err(|error| Error::Usage(format!("--public-key: {error}")))
    };
    given.iter().map(read).collect()
}

fn tell(
    as_json: bool,
    out: &mut dyn Write,
    paint: Paint,
    stream: &str,
    chains: &[Chain],
    findings: &[Finding],
    others: u64,
) -> Result<(), Error> {
    if as_json {
        for finding in findings {
            json(out, &serde_json::json!({ "stream": stream, "finding": finding }))?;
        }
        for chain in chains {
            json(out, &serde_json::json!({ "stream": stream, "chain": chain }))?;
        }
        return Ok(());
    }
    for finding in findings {
        let word = format!("{:9}", finding.kind.word());
        let word = if finding.kind.counts() { paint.bad(&word) } else { paint.odd(&word) };
        writeln!(out, "{word} {stream} {finding}")?;
    }
    let routes: HashSet<_> = chains.iter().filter_map(|chain| chain.route).collect();
    for chain in chains {
        let route = chain.route.filter(|_| routes.len() > 1);
        let route = route.map_or_else(String::new, |route| format!(", route {route}"));
        writeln!(
            out,
            "{} {stream} {}{route}: blocks {} to {} ({}), {}, {}, {} raw, {} to {}",
            paint.faint("chain    "),
            printable(&chain.host),
            chain.first_number,
            chain.last_number,
            count(chain.blocks),
            counted(chain.boots, "boot"),
            counted(chain.records, "record"),
            size(chain.raw_bytes),
            when::show(chain.first),
            when::show(chain.last),
        )?;
        if chain.dropped.total() > 0 {
            let Drops { ring, spool, panic, lost } = chain.dropped;
            writeln!(
                out,
                "{} {stream} {}: the blocks report {} that were dropped: {ring} ring full, {spool} \
                 spool full, {panic} rendering failed, {lost} lost to damage",
                paint.odd("dropped  "),
                printable(&chain.host),
                counted(chain.dropped.total(), "record"),
            )?;
        }
    }
    if others > 0 {
        let text = format!("{} of other streams under the same prefix", counted(others, "block"));
        writeln!(out, "{} {stream} {text}", paint.faint("other    "))?;
    }
    Ok(())
}

fn conclude(out: &mut dyn Write, paint: Paint, lens: Lens<'_>, sum: &Sum) -> Result<(), Error> {
    let mut what = format!(
        "{}, {}, {}",
        counted(sum.blocks, "block"),
        counted(sum.records, "record"),
        counted(sum.hosts, "host")
    );
    if sum.objects > 0 {
        let objects = counted(sum.objects, "compacted object");
        what.push_str(&format!(", {objects} ({} in these only)", counted(sum.within, "block")));
    }
    let text = if sum.findings > 0 {
        paint.bad(&format!("NOT COMPLETE: {} in {what}", counted(sum.findings, "finding")))
    } else if sum.empty > 0 {
        paint.bad(&format!("NOT CHECKED: no blocks in {}", counted(sum.empty, "stream")))
    } else if sum.unchecked > 0 {
        paint.bad(&format!("NOT CHECKED: {} could not be read", counted(sum.unchecked, "block")))
    } else {
        let how = match lens.mode {
            Mode::Heads => {
                "the chain is intact; contents were not read (see --download and --deep)"
            }
            Mode::Download => "the chain is intact and every byte is as sealed",
            Mode::Deep if sum.uncounted > 0 => {
                "the chain is intact and every byte is as sealed; lines of encrypted blocks without a \
                 key were not counted"
            }
            Mode::Deep => "the chain is intact, every byte is as sealed, every line is counted",
        };
        let signed = if lens.keys.is_empty() { "" } else { "; every block is signed" };
        paint.good(&format!("complete: {what}; {how}{signed}"))
    };
    writeln!(out, "{text}")?;
    Ok(())
}
