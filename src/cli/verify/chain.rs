//! The chains of a stream: on each host, numbers that follow one another, each block with the
//! SHA-256 of the one before, across boots.
//!
//! A route of a host has one chain as long as its spool lives. A new spool begins a new one with number
//! 1 and no predecessor; with `spool = "none"` every start does. So blocks are put to chains by their
//! links, and where a link is broken by their boot and their route. Blocks of older releases name no
//! route, and may be of any.

use std::collections::{BTreeMap, HashSet};

use serde::Serialize;

use super::finding::{Finding, FindingKind};
use super::story::Member;
use crate::block::{BootId, Digest, Drops, RouteId};

/// A chain as far as it was found.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Chain {
    pub(super) host: String,
    /// Of the last block that names one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) route: Option<RouteId>,
    pub(super) first_number: u64,
    pub(super) last_number: u64,
    /// Of the last block.
    pub(super) last_sha256: Digest,
    pub(super) last_boot: BootId,
    /// Of the first block.
    pub(super) first_boot: BootId,
    pub(super) blocks: u64,
    pub(super) boots: u64,
    pub(super) records: u64,
    pub(super) raw_bytes: u64,
    pub(super) stored_bytes: u64,
    /// ns since 1970.
    pub(super) first: u64,
    pub(super) last: u64,
    /// What the blocks tell of records that are in none.
    pub(super) dropped: Drops,
    /// What the first block names as its predecessor.
    #[serde(skip)]
    pub(super) previous: Option<Digest>,
    /// The end of its oldest block.
    #[serde(skip)]
    pub(super) oldest: u64,
    /// Its blocks, by number.
    #[serde(skip)]
    links: Vec<Link>,
    #[serde(skip)]
    boot_ids: HashSet<BootId>,
}

/// A block's place in a chain.
#[derive(Debug, Clone, Copy)]
struct Link {
    number: u64,
    boot: BootId,
    sha256: Digest,
}

impl Chain {
    /// The hash of the chain's block with this boot and number.
    pub(super) fn sha256_of(&self, boot: BootId, number: u64) -> Option<Digest> {
        self.with(number).find(|link| link.boot == boot).map(|link| link.sha256)
    }

    /// Whether it has a block with this number.
    pub(super) fn has(&self, number: u64) -> bool {
        self.with(number).next().is_some()
    }

    /// Whether it has a block of this boot.
    pub(super) fn is_of(&self, boot: BootId) -> bool {
        self.boot_ids.contains(&boot)
    }

    /// Its blocks with this number: one, if nobody tampered with it.
    fn with(&self, number: u64) -> impl Iterator<Item = &Link> {
        let first = self.links.partition_point(|link| link.number < number);
        let links = self.links.get(first..).unwrap_or_default();
        links.iter().take_while(move |link| link.number == number)
    }
}

/// A chain that is being walked.
struct Walk<'a> {
    chain: Chain,
    head: Member<'a>,
    tail: Member<'a>,
    /// When the block before the tail was complete, or the tail where it is alone, in ns since 1970. The boot of
    /// a block is the one in which it was begun, and the next boot goes on with it: only the block before the
    /// tail was surely complete when a boot that follows began.
    complete: u64,
}

impl<'a> Walk<'a> {
    fn begin(member: Member<'a>) -> Self {
        let meta = member.meta;
        let chain = Chain {
            host: meta.host.clone(),
            route: meta.route,
            first_number: meta.number,
            last_number: meta.number,
            last_sha256: meta.sha256,
            last_boot: meta.boot,
            first_boot: meta.boot,
            blocks: 0,
            boots: 0,
            records: 0,
            raw_bytes: 0,
            stored_bytes: 0,
            first: meta.first,
            last: meta.last,
            dropped: Drops::default(),
            previous: meta.previous,
            oldest: meta.last,
            links: Vec::new(),
            boot_ids: HashSet::new(),
        };
        let mut walk = Self { chain, head: member, tail: member, complete: meta.last };
        walk.take(member);
        walk
    }

    fn take(&mut self, member: Member<'a>) {
        let meta = member.meta;
        let chain = &mut self.chain;
        chain.route = meta.route.or(chain.route);
        chain.last_number = meta.number;
        chain.last_sha256 = meta.sha256;
        chain.last_boot = meta.boot;
        chain.blocks += 1;
        chain.boot_ids.insert(meta.boot);
        chain.boots = chain.boot_ids.len() as u64;
        // What metadata says may be anything.
        chain.records = chain.records.saturating_add(meta.records);
        chain.raw_bytes = chain.raw_bytes.saturating_add(meta.raw_bytes);
        chain.stored_bytes = chain.stored_bytes.saturating_add(meta.bytes);
        chain.first = chain.first.min(meta.first);
        chain.last = chain.last.max(meta.last);
        chain.oldest = chain.oldest.min(meta.last);
        chain.dropped.add(&meta.dropped);
        chain.links.push(Link { number: meta.number, boot: meta.boot, sha256: meta.sha256 });
        self.complete = self.tail.meta.last;
        self.tail = member;
    }

    /// Whether `member` may be of this chain's route.
    fn may_have(&self, member: &Member<'_>) -> bool {
        may_be_one(self.chain.route, member.meta.route)
    }

    /// Whether `member`, of another boot, may follow this chain's tail: a spool is one process's at a time.
    fn may_precede(&self, member: &Member<'_>) -> bool {
        let (tail, meta) = (self.tail.meta, member.meta);
        tail.boot <= meta.boot && tail.first <= meta.first && has_ended(self.complete, meta.boot)
    }

    /// Whether this chain had ended before `after` began, on the same route, and no other process was at work on
    /// `after` meanwhile.
    fn is_before(&self, after: &Self) -> bool {
        self.chain.route == after.chain.route
            && self.chain.last <= after.head.meta.first
            && has_ended(self.chain.last, after.chain.first_boot)
    }

    /// Whether `member` says that it follows this chain's tail.
    fn links(&self, member: &Member<'_>) -> bool {
        self.tail.meta.number.checked_add(1) == Some(member.meta.number)
            && member.meta.previous == Some(self.tail.meta.sha256)
    }
}

/// Whether a block whose last record is of this time, in ns since 1970, was complete when a boot began.
fn has_ended(last: u64, boot: BootId) -> bool {
    last / 1_000_000_000 <= boot.seconds()
}

/// Walks the chains of all hosts. With `open_start`, the first blocks may be gone.
pub(super) fn chains(members: &[Member<'_>], open_start: bool) -> (Vec<Chain>, Vec<Finding>) {
    let mut hosts: BTreeMap<&str, Vec<Member<'_>>> = BTreeMap::new();
    for member in members {
        hosts.entry(&member.meta.host).or_default().push(*member);
    }
    let (mut chains, mut findings) = (Vec::new(), Vec::new());
    for blocks in hosts.values_mut() {
        blocks.sort_by_key(|member| (member.meta.number, member.meta.boot));
        let followed: HashSet<(u64, Digest)> = blocks
            .iter()
            .filter_map(|member| Some((member.meta.number.checked_sub(1)?, member.meta.previous?)))
            .collect();
        let mut walks: Vec<Walk<'_>> = Vec::new();
        for member in blocks.iter() {
            step(&mut walks, *member, &followed, open_start, &mut findings);
        }
        if open_start {
            findings.extend(walks.iter().filter_map(|walk| no_expiry(walk, &walks)));
        }
        walks.sort_by_key(|walk| (walk.chain.first, walk.chain.first_boot));
        for (at, after) in walks.iter().enumerate() {
            let earlier = walks.get(..at).unwrap_or_default();
            let same = earlier.iter().rfind(|one| may_be_one(one.chain.route, after.chain.route));
            match (same, earlier.last()) {
                (Some(before), _) => findings.push(restart(&before.chain, &after.chain)),
                (None, Some(before)) => findings.push(other_route(&before.chain, &after.chain)),
                (None, None) => {}
            }
        }
        chains.extend(walks.into_iter().map(|walk| walk.chain));
    }
    (chains, findings)
}

/// Whether two blocks may be of one route, as far as they say.
pub(super) fn may_be_one(one: Option<RouteId>, other: Option<RouteId>) -> bool {
    one.zip(other).is_none_or(|(one, other)| one == other)
}

/// Puts a block to the chain it belongs to, and says what is wrong there. `followed` are number and hash of the
/// blocks that another one names as its predecessor.
fn step<'a>(
    walks: &mut Vec<Walk<'a>>,
    member: Member<'a>,
    followed: &HashSet<(u64, Digest)>,
    open_start: bool,
    findings: &mut Vec<Finding>,
) {
    let meta = member.meta;
    if let Some(walk) = walks.iter_mut().find(|walk| walk.links(&member)) {
        if walk.tail.meta.boot > meta.boot && walk.chain.is_of(meta.boot) {
            let text =
                format!("boot {} appears again after boot {}", meta.boot, walk.tail.meta.boot);
            let finding = Finding::new(FindingKind::Altered, text);
            findings.push(finding.at(&meta.host, meta.number, meta.number).key(member.key));
        }
        if let (Some(before), Some(now)) = (walk.chain.route, meta.route)
            && before != now
        {
            let text = format!("the chain goes on with route {now} instead of {before}");
            let finding = Finding::new(FindingKind::Note, text);
            findings.push(finding.at(&meta.host, meta.number, meta.number).key(member.key));
        }
        walk.take(member);
        return;
    }
    if meta.number == 1 && meta.previous.is_none() {
        walks.push(Walk::begin(member));
        return;
    }
    // The link is broken: the chain of the same boot, else the latest one of the route that had ended.
    let goes_on =
        |walk: &Walk<'_>| followed.contains(&(walk.tail.meta.number, walk.tail.meta.sha256));
    let before = |walk: &Walk<'_>| walk.tail.meta.number < meta.number;
    let same = walks.iter().position(|walk| before(walk) && walk.tail.meta.boot == meta.boot);
    let other = || {
        let fits = walks.iter().enumerate();
        let fits = fits.filter(|(_, walk)| before(walk) && walk.may_have(&member));
        let fits = fits.filter(|(_, walk)| walk.may_precede(&member) && !goes_on(walk));
        fits.max_by_key(|(_, walk)| (walk.tail.meta.first, walk.tail.meta.number))
            .map(|(place, _)| place)
    };
    match same.or_else(other).and_then(|place| walks.get_mut(place)) {
        Some(walk) => {
            findings.push(broken(walk.tail, member));
            walk.take(member);
        }
        None => {
            if meta.number == 1 {
                let text = "the first block names a predecessor: its metadata was altered";
                let finding = Finding::new(FindingKind::Altered, text).at(&meta.host, 1, 1);
                findings.push(finding.key(member.key));
            } else if !open_start {
                findings.push(no_start(member, ""));
            }
            walks.push(Walk::begin(member));
        }
    }
}

/// A chain whose first blocks are not there, and what tells that they did not expire.
fn no_start(head: Member<'_>, why: &str) -> Finding {
    let meta = head.meta;
    let of = meta.route.map_or_else(String::new, |route| format!(" of route {route}"));
    let text = format!("the chain{of} does not start with block 1{why}");
    let last = meta.number.saturating_sub(1).max(1);
    Finding::new(FindingKind::Missing, text).at(&meta.host, 1, last).key(head.key)
}

/// First blocks that are missing and are younger than a chain that is there: they have neither expired, nor are
/// they older than the range of time that was asked for.
fn no_expiry(walk: &Walk<'_>, walks: &[Walk<'_>]) -> Option<Finding> {
    if walk.head.meta.number <= 1 {
        return None;
    }
    let older = walks.iter().find(|other| !std::ptr::eq(*other, walk) && other.is_before(walk))?;
    let text =
        format!(", and an older chain, which ends with boot {}, is there", older.chain.last_boot);
    Some(no_start(walk.head, &text))
}

/// What is wrong between two blocks that should follow one another and do not.
fn broken(before: Member<'_>, after: Member<'_>) -> Finding {
    let (one, two) = (before.meta, after.meta);
    if one.number.checked_add(1) == Some(two.number) {
        let text = match two.previous {
            None => "the block names no predecessor: its metadata was altered".to_owned(),
            Some(_) => format!(
                "the preceding block is not the one it was chained to: block {} was replaced, or the \
                 metadata of one of the two was altered",
                one.number
            ),
        };
        let finding =
            Finding::new(FindingKind::Altered, text).at(&two.host, two.number, two.number);
        return finding.key(after.key).key(before.key);
    }
    let (first, last) = (one.number.saturating_add(1), two.number.saturating_sub(1));
    let told = two.dropped;
    let why = if told.spool > 0 || told.lost > 0 {
        format!(
            "; block {} reports {} records dropped because the spool was full and {} lost to damage",
            two.number, told.spool, told.lost
        )
    } else {
        String::new()
    };
    let (kind, text) = if one.boot == two.boot {
        (FindingKind::Missing, format!("not in the bucket, in boot {}{why}", one.boot))
    } else {
        (
            FindingKind::Gap,
            format!("not in the bucket, between boot {} and boot {}{why}", one.boot, two.boot),
        )
    };
    Finding::new(kind, text).at(&two.host, first, last).key(before.key).key(after.key)
}

/// The first block of a route, after those of another.
fn other_route(before: &Chain, after: &Chain) -> Finding {
    let [before, now] = [before, after].map(|chain| chain.route);
    let show = |route: Option<RouteId>| route.map_or_else(String::new, |route| route.to_string());
    let text = format!(
        "the chain of another route starts, {} beside {}: destination, keys or object options were \
         changed, or another VCL has this stream; this is not a gap",
        show(now),
        show(before)
    );
    Finding::new(FindingKind::Note, text).at(&after.host, after.first_number, after.first_number)
}

fn restart(before: &Chain, after: &Chain) -> Finding {
    let text = format!(
        "a new chain starts with boot {} (a new spool, or spool = \"none\"); whether block {} was the \
         last of the previous chain cannot be proved",
        after.first_boot, before.last_number
    );
    Finding::new(FindingKind::Note, text).at(&after.host, after.first_number, after.first_number)
}
