//! The hosts that write into a bucket: the newest block of each, how late it is, and numbers that are
//! missing.
//!
//! A listing of the last day is all that is asked for; a host that has written nothing in it is not known
//! here. A block that is still being uploaded looks like a gap until it is there.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal as _, Write};
use std::process::ExitCode;
use std::time::Duration;

use serde::Serialize;

use crate::block::BootId;
use crate::cli::Error;
use crate::cli::blocks::{self, FoundBlock};
use crate::cli::settings::{Connection, Source};
use crate::cli::terminal::output::{Paint, count, json, size};
use crate::cli::terminal::{Complaints, Progress, when};
use crate::printable::printable;

const HOUR: u64 = 3_600_000_000_000;
/// A host is silent when its newest block is older than its usual distance between blocks, so many
/// times, and than `LEAST`.
const TIMES: u64 = 5;
const LEAST: u64 = 120_000_000_000;

/// One host of a stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Host {
    stream: String,
    host: String,
    blocks: u64,
    stored_bytes: u64,
    /// Of the newest block.
    number: u64,
    /// Time of its first record, ns since 1970.
    newest: u64,
    /// ns since then.
    age: u64,
    /// Numbers that are missing between the first and the newest of a boot.
    missing: u64,
    silent: bool,
}

/// Lists the bucket again and again.
///
/// # Errors
/// A setting, the first listing, or the output.
pub(super) fn run(
    connection: &Connection,
    streams: &[String],
    every: Duration,
    moments: u64,
    as_json: bool,
    out: &mut dyn Write,
) -> Result<ExitCode, Error> {
    let sources = Source::all(connection, streams)?;
    let clear = !as_json && io::stdout().is_terminal();
    for moment in 0..moments {
        if moment > 0 {
            std::thread::sleep(every);
        }
        let now = when::now();
        let times = (Some(now.saturating_sub(24 * HOUR)), now.saturating_add(HOUR));
        let mut found = Vec::new();
        for source in &sources {
            // With those that are there in compacted form only, which are no gap.
            let mut complaints = Complaints::default();
            let hidden = Progress::hidden();
            found.append(&mut blocks::current(source, times, &hidden, &mut complaints)?);
        }
        let hosts = hosts(&found, now);
        if clear {
            // Home, and what is below is gone.
            write!(out, "\x1b[H\x1b[J")?;
        }
        show(out, Paint::stdout(), &hosts, now, as_json)?;
        out.flush()?;
    }
    Ok(ExitCode::SUCCESS)
}

fn hosts(found: &[FoundBlock<'_>], now: u64) -> Vec<Host> {
    let mut all: BTreeMap<(&str, &str), Vec<&FoundBlock<'_>>> = BTreeMap::new();
    for block in found {
        let host = block.host.as_deref().unwrap_or("?");
        all.entry((block.stream(), host)).or_default().push(block);
    }
    let mut hosts: Vec<Host> =
        all.into_iter().map(|((stream, host), blocks)| of(stream, host, &blocks, now)).collect();
    // Who needs a look comes first.
    hosts.sort_by_key(|host| (!host.silent, host.missing == 0, std::cmp::Reverse(host.age)));
    hosts
}

fn of(stream: &str, host: &str, blocks: &[&FoundBlock<'_>], now: u64) -> Host {
    let time =
        |block: &FoundBlock<'_>| block.time.unwrap_or_default().saturating_mul(1_000_000_000);
    let newest = blocks.iter().max_by_key(|block| (time(block), block.number));
    let mut times: Vec<u64> = blocks.iter().map(|block| time(block)).collect();
    times.sort_unstable();
    let mut steps: Vec<u64> =
        times.windows(2).map(|two| if let [a, b] = two { b - a } else { 0 }).collect();
    steps.sort_unstable();
    let usual = steps.get(steps.len() / 2).copied().unwrap_or_default();
    let at = newest.map_or(0, |block| time(block));
    let age = now.saturating_sub(at);
    Host {
        stream: stream.to_owned(),
        host: host.to_owned(),
        blocks: blocks.len() as u64,
        stored_bytes: blocks.iter().map(|block| block.size).sum(),
        number: newest.map_or(0, |block| block.number),
        newest: at,
        age,
        missing: missing(blocks),
        silent: age > LEAST.max(usual.saturating_mul(TIMES)),
    }
}

/// How many numbers of a boot are not there although one before and one behind are.
fn missing(blocks: &[&FoundBlock<'_>]) -> u64 {
    let mut boots: BTreeMap<BootId, Vec<u64>> = BTreeMap::new();
    for block in blocks {
        boots.entry(block.boot).or_default().push(block.number);
    }
    let of_boot = |numbers: &mut Vec<u64>| {
        numbers.sort_unstable();
        numbers.dedup();
        let (first, last) = (numbers.first().copied(), numbers.last().copied());
        let all = last.unwrap_or_default() - first.unwrap_or_default() + 1;
        all.saturating_sub(numbers.len() as u64)
    };
    boots.values_mut().map(of_boot).sum()
}

fn show(
    out: &mut dyn Write,
    paint: Paint,
    hosts: &[Host],
    now: u64,
    as_json: bool,
) -> Result<(), Error> {
    if as_json {
        for host in hosts {
            json(out, host)?;
        }
        return Ok(());
    }
    writeln!(out, "{}  the last day of the bucket", when::show(now))?;
    let head = format!(
        "{:24}  {:16}  {:>8}  {:>11}  {:>10}  newest",
        "host", "stream", "blocks", "stored", "number"
    );
    writeln!(out, "{}", paint.faint(&head))?;
    for host in hosts {
        let ago = format!("{} ago", when::show_age(host.age));
        let ago = if host.silent { paint.bad(&format!("{ago}, SILENT")) } else { ago };
        let missing = match host.missing {
            0 => String::new(),
            missing => paint.bad(&format!("  {} missing", count(missing))),
        };
        writeln!(
            out,
            "{:24}  {:16}  {:>8}  {:>11}  {:>10}  {ago}{missing}",
            printable(&host.host),
            printable(&host.stream),
            count(host.blocks),
            size(host.stored_bytes),
            host.number,
        )?;
    }
    if hosts.is_empty() {
        writeln!(out, "{}", paint.odd("no block in the last day"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn block<'a>(
        source: &'a Source,
        host: &str,
        boot: u64,
        number: u64,
        time: u64,
    ) -> FoundBlock<'a> {
        FoundBlock {
            key: format!("{host}-{boot}-{number}").into(),
            size: 100,
            boot: BootId::new(boot, 1),
            number,
            time: Some(time),
            host: Some(host.into()),
            source,
            within: None,
        }
    }

    #[test]
    fn hosts_that_are_silent_or_have_gaps_come_first() {
        let source = Source::example("access");
        let mut found = Vec::new();
        for n in 0..10 {
            found.push(block(&source, "works", 1, n + 1, 100_000 + 60 * n));
            // One that is late by more than its usual distance.
            found.push(block(&source, "silent", 1, n + 1, 99_000 + 10 * n));
            // Two boots: a gap is one inside of a boot only.
            if n != 4 {
                found.push(block(&source, "gap", 1 + n / 8, n + 1, 100_000 + 60 * n));
            }
            // An hour between its blocks: an hour is no silence.
            found.push(block(&source, "slow", 1, n + 1, 100_540 - 3_600 * n));
        }
        let hosts = hosts(&found, (100_000 + 600) * SECOND);
        let seen: Vec<_> =
            hosts.iter().map(|host| (&*host.host, host.silent, host.missing)).collect();
        assert_eq!(
            seen,
            [("silent", true, 0), ("gap", false, 1), ("slow", false, 0), ("works", false, 0)]
        );
        assert_eq!((hosts[3].blocks, hosts[3].number, hosts[3].age), (10, 10, 60 * SECOND));
        let mut out = Vec::new();
        show(&mut out, Paint::stdout(), &hosts, 0, false).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains("ago, SILENT") && text.contains("1 missing"), "{text}");
    }
}
