//! Whether blocks are in the folders that the time of their first record gives them, and have the suffix that the
//! others of their route have.
//!
//! `cat`, `tail` and `ls` with a range list the folders of its days, and never look into another. Settings change,
//! though: blocks that were written with another `path`, `path_timezone` or `timestamp_format` have other names, and are
//! right where they are. A route has one of each, so that a block whose neighbours on both sides are in the folder that
//! it should be in was moved, unless folders come again, as with a path that has no year. Of the first and the last in a
//! folder, those were moved that are in the folder of a day which no clock on Earth showed, if most blocks of their route
//! are where the settings put them. Otherwise the settings are not the route's, and day and month may change places.

use std::collections::{BTreeMap, HashMap};

use super::finding::{Finding, FindingKind};
use crate::block::{KeyParts, Meta, Naming, RouteId};
use crate::cli::terminal::output::counted;

/// First records of the first and the last block in a folder, of those that it is the folder of.
type Times = (u64, u64);

/// How many blocks of a route are where the settings put them, and how many are not.
#[derive(Default)]
struct Counts {
    there: u64,
    elsewhere: u64,
}

/// What is wrong with the places of blocks, whose keys end as their metadata says.
pub(super) fn tell(naming: &Naming, blocks: &[(&str, &Meta)]) -> Vec<Finding> {
    let mut used: HashMap<(&str, Option<RouteId>, &str), Times> = HashMap::new();
    let mut routes: HashMap<(&str, RouteId), Counts> = HashMap::new();
    let mut elsewhere = Vec::new();
    let mut unknown = Unknown::default();
    for &(key, meta) in blocks {
        let Some(parts) = KeyParts::parse(key) else { continue };
        let Some(folder) = naming.folder(&parts, meta) else {
            let told = naming.time(&parts);
            // Another time is a finding of its own.
            if told.is_none_or(|told| told == meta.first / 1_000_000_000) {
                unknown.add(key);
            }
            continue;
        };
        let own = naming.path_at(meta.first);
        let is_there = folder == own;
        if let Some(route) = meta.route {
            let counts = routes.entry((&meta.host, route)).or_default();
            *(if is_there { &mut counts.there } else { &mut counts.elsewhere }) += 1;
        }
        if is_there {
            let times =
                used.entry((&meta.host, meta.route, folder)).or_insert((meta.first, meta.first));
            *times = (times.0.min(meta.first), times.1.max(meta.first));
        } else {
            elsewhere.push((key, meta, folder, own));
        }
    }
    let mut findings = renamed(blocks);
    let comes_again = !elsewhere.is_empty() && naming.comes_again();
    for (key, meta, folder, own) in elsewhere {
        let around = !comes_again
            && used
                .get(&(meta.host.as_str(), meta.route, own.as_str()))
                .is_some_and(|(first, last)| *first < meta.first && meta.first < *last);
        let of_settings = || {
            let counts = meta.route.and_then(|route| routes.get(&(meta.host.as_str(), route)));
            counts.is_some_and(|counts| counts.there > counts.elsewhere)
        };
        let no_clock = || naming.is_path(folder) && !naming.is_path_of(folder, meta.first);
        if around || (of_settings() && no_clock()) {
            let text = format!(
                "the object is in {folder}, and its first record is of {own}: it was moved"
            );
            let finding = Finding::new(FindingKind::Altered, text);
            findings.push(finding.at(&meta.host, meta.number, meta.number).key(key));
        } else {
            unknown.add(key);
        }
    }
    findings.extend(unknown.finding());
    findings
}

/// Blocks whose keys say that they are encrypted, or that they are not, unlike most of their route: who can read a
/// route's blocks is part of it.
fn renamed(blocks: &[(&str, &Meta)]) -> Vec<Finding> {
    let named = || {
        blocks.iter().filter_map(|&(key, meta)| {
            Some(((&*meta.host, meta.route?), KeyParts::parse(key)?.seal, key, meta))
        })
    };
    let mut seals: HashMap<(&str, RouteId), BTreeMap<&str, u64>> = HashMap::new();
    for (of, seal, ..) in named() {
        *seals.entry(of).or_default().entry(seal).or_default() += 1;
    }
    let mut findings = Vec::new();
    for (of, seal, key, meta) in named() {
        // Of as many the encrypted ones.
        let usual = seals.get(&of).and_then(|seals| seals.iter().max_by_key(|(_, count)| **count));
        let Some((usual, _)) = usual.filter(|(usual, _)| **usual != seal) else { continue };
        let say = |seal: &str| {
            if seal.is_empty() { "no suffix of encryption".to_owned() } else { seal.to_owned() }
        };
        let text = format!(
            "the key has {}, and those of other blocks of route {} have {}: it was renamed",
            say(seal),
            of.1,
            say(usual)
        );
        let finding = Finding::new(FindingKind::Altered, text);
        findings.push(finding.at(&meta.host, meta.number, meta.number).key(key));
    }
    findings
}

/// Blocks that are not where the settings put them.
#[derive(Default)]
struct Unknown<'a> {
    count: u64,
    first: Option<&'a str>,
}

impl<'a> Unknown<'a> {
    fn add(&mut self, key: &'a str) {
        self.count += 1;
        self.first = Some(self.first.map_or(key, |first| first.min(key)));
    }

    fn finding(self) -> Option<Finding> {
        let text = format!(
            "{} not where the settings put {}: path, path_timezone or timestamp_format was another, or somebody moved \
             {}; a command with --since may not look there",
            counted(self.count, "block") + if self.count == 1 { " is" } else { " are" },
            if self.count == 1 { "it" } else { "them" },
            if self.count == 1 { "it" } else { "them" },
        );
        self.first.map(|key| Finding::new(FindingKind::Note, text).key(key))
    }
}
