//! Which prefixes have to be listed for a range of time.
//!
//! `path` is a strftime of the first record's time. Its folders up to the last one that no
//! directive finer than the hour names are walked hour by hour, so that a bucket of years is not
//! listed for the blocks of a day. Gateways that list whole folders only take no other prefix.

use std::collections::BTreeSet;

use crate::zone::NamedZone;

/// Directives that do not change within an hour and so can be walked.
const COARSE: &[char] = &[
    'Y', 'm', 'd', 'e', 'j', 'y', 'b', 'B', 'h', 'a', 'A', 'F', 'G', 'V', 'C', 'D', 'H', 'k', '%',
];

/// More prefixes than this are not worth it: one listing of everything takes fewer requests.
const MOST: usize = 1000;

const HOUR: u64 = 3_600;

/// The part of `path` that does not change with time, up to its last `/`.
pub(in crate::cli) fn fixed(path: &str) -> &str {
    folder(path.split('%').next().unwrap_or_default())
}

fn folder(path: &str) -> &str {
    path.rfind('/').and_then(|slash| path.get(..=slash)).unwrap_or_default()
}

/// The prefixes that hold every block of `path` whose first record is between `since` and `until`,
/// in ns since 1970, on the clock of `zone`. Disjoint, and never more than 1,000.
pub(super) fn prefixes(
    path: &str,
    zone: &NamedZone,
    since: Option<u64>,
    until: u64,
) -> Vec<String> {
    let all = || vec![fixed(path).to_owned()];
    let walked = folder(coarse(path));
    let Some(since) = since else { return all() };
    let seconds = |nanoseconds: u64| nanoseconds / 1_000_000_000;
    let from = seconds(since) / HOUR * HOUR;
    let to = seconds(until);
    if walked.len() <= fixed(path).len() || to.saturating_sub(from) / HOUR > 24 * MOST as u64 {
        return all();
    }
    let mut found = BTreeSet::new();
    // The end as well: the hours of some zones do not begin with those of UTC.
    let hours = (0..).map(|n| from + n * HOUR).take_while(|at| *at < to);
    for at in hours.chain([to]) {
        let Ok(text) = zone.strftime(walked, at.saturating_mul(1_000_000_000)) else {
            return all();
        };
        found.insert(text);
        if found.len() > MOST {
            return all();
        }
    }
    found.into_iter().collect()
}

/// The start of `path` before its first directive that is finer than the hour, or that is written
/// with a flag or a width.
fn coarse(path: &str) -> &str {
    let mut rest = path.char_indices();
    while let Some((at, c)) = rest.next() {
        if c == '%' && !rest.next().is_some_and(|(_, directive)| COARSE.contains(&directive)) {
            return path.get(..at).unwrap_or_default();
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefixes(path: &str, since: Option<u64>, until: u64) -> Vec<String> {
        super::prefixes(path, &NamedZone::utc(), since, until)
    }

    const NOON: u64 = 1_795_348_800_000_000_000; // 2026-11-22T12:00:00Z

    #[test]
    fn only_whole_folders_that_no_time_changes_are_fixed() {
        for (path, expected) in
            [("", ""), ("a/b/%Y/", "a/b/"), ("logs-%Y/", ""), ("a/logs-", "a/"), ("%Y/a/", "")]
        {
            assert_eq!(fixed(path), expected, "{path}");
        }
    }

    #[test]
    fn the_folders_of_a_range_are_walked() {
        let minute = 60_000_000_000;
        let day_before = NOON - 24 * 60 * minute;
        let days = prefixes("v/%Y/%m/%d/", Some(day_before), NOON + minute);
        assert_eq!(days, ["v/2026/11/21/", "v/2026/11/22/"]);
        let hours = prefixes("v/%Y-%m-%d/%H/", Some(day_before), NOON + minute);
        assert_eq!(hours.len(), 25);
        assert_eq!(hours.last().map(String::as_str), Some("v/2026-11-22/12/"));
        let minutes = prefixes("v/%d/%M/", Some(day_before), NOON + minute);
        assert_eq!(minutes, ["v/21/", "v/22/"]);
    }

    #[test]
    fn without_folders_of_time_or_a_range_all_is_listed() {
        assert_eq!(prefixes("v/%Y/", None, NOON), ["v/"]);
        assert_eq!(prefixes("v/", Some(NOON), NOON), ["v/"]);
        assert_eq!(prefixes("v/%Y-", Some(NOON), NOON), ["v/"]);
        assert_eq!(prefixes("v/%-d/", Some(NOON), NOON), ["v/"]);
        assert_eq!(prefixes("v/%Y/%m/%d/%H/", Some(0), NOON), ["v/"], "too many folders");
    }

    #[test]
    fn the_folders_of_a_zone_are_those_of_its_own_clock() {
        let zone = NamedZone::named("Asia/Kathmandu").unwrap();
        let minute = 60_000_000_000;
        // 17:45 at noon of UTC, 18:05 twenty minutes later.
        let found = super::prefixes("v/%d/%H/", &zone, Some(NOON), NOON + 20 * minute);
        assert_eq!(found, ["v/22/17/", "v/22/18/"]);
        let found = super::prefixes("v/%d/", &zone, Some(NOON), NOON + 7 * 60 * minute);
        assert_eq!(found, ["v/22/", "v/23/"]);
    }
}
