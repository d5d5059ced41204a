//! The names of manifests and compacted objects.
//!
//! `{fixed}compact/{stream}/dt=2026-11-22/manifest-0001.json`
//! `{fixed}compact/{stream}/dt=2026-11-22/hour=10/part-0001-0123456789abcdef.log.zst[.age]`
//!
//! | part | what |
//! |---|---|
//! | fixed | the folders of `path` that no time changes |
//! | dt, hour | day and hour of the stretch of time, UTC: partitions as Hive names them |
//! | manifest's number | from 1, one more for each manifest of the stream and day: two runs cannot both write one |
//! | part's ending | `.log.zst`, `.log.gz` or `.parquet`, and what encryption adds |
//! | part's number | from 1 in its manifest |
//! | part's hash | the first 16 digits of its SHA-256: two contents never have one name |

use crate::block::{Digest, Kind, sanitise};
use crate::cli::blocks::fixed;
use crate::seal;
use crate::settings::Settings;
use crate::zone::NamedZone;

/// The folder below the fixed part of `path`.
const FOLDER: &str = "compact/";

const DAY: u64 = 86_400_000_000_000;

/// A day of UTC, by its number since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::cli) struct Day(u64);

impl Day {
    /// The day of a time in ns since 1970.
    pub(in crate::cli) const fn of(ns: u64) -> Self {
        Self(ns / DAY)
    }

    /// Its first nanosecond.
    pub(in crate::cli) const fn start(self) -> u64 {
        self.0.saturating_mul(DAY)
    }

    /// The day after.
    pub(in crate::cli) const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// `2026-11-22`.
    pub(in crate::cli) fn text(self) -> String {
        // Every time that fits has a date.
        NamedZone::utc().strftime("%Y-%m-%d", self.start()).unwrap_or_default()
    }

    /// Where the manifests and objects of a stream's day are.
    pub(in crate::cli) fn folder(self, settings: &Settings) -> String {
        format!("{}dt={}/", root(settings), self.text())
    }

    /// The key of its manifest with this number.
    pub(in crate::cli) fn manifest(self, settings: &Settings, number: u32) -> String {
        format!("{}manifest-{number:04}.json", self.folder(settings))
    }
}

/// What all that compaction leaves of a stream begins with.
pub(in crate::cli) fn root(settings: &Settings) -> String {
    let stream = sanitise(&settings.stream);
    format!("{}{FOLDER}{stream}/", fixed(settings.naming.path()))
}

/// The key of an object of the stretch that starts at `start`, in ns since 1970.
pub(in crate::cli) fn part(
    settings: &Settings,
    start: u64,
    number: usize,
    sha256: &Digest,
    form: Form,
    seal: &str,
) -> String {
    let folder = Day::of(start).folder(settings);
    let hour = start % DAY / 3_600_000_000_000;
    let hex = sha256.to_string();
    let hash = hex.get(..HASH).unwrap_or_default();
    format!("{folder}hour={hour:02}/part-{number:04}-{hash}{}{seal}", form.suffix())
}

/// Digits of an object's hash in its name.
pub(super) const HASH: usize = 16;

/// How an object has its lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum Form {
    /// As they are, compressed.
    Lines(Kind),
    /// As the rows of a Parquet file.
    Columns,
}

const FORMS: [Form; 3] = [Form::Lines(Kind::Gzip), Form::Lines(Kind::Zstd), Form::Columns];

impl Form {
    /// What a key ends in, but for what encryption adds.
    const fn suffix(self) -> &'static str {
        match self {
            Self::Lines(kind) => kind.suffix(),
            Self::Columns => ".parquet",
        }
    }
}

/// What encryption adds to a key.
const SEALS: [&str; 2] = [seal::SUFFIX, seal::openpgp::SUFFIX];

/// What a key of compaction names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum Object {
    /// A day's manifest with this number.
    Manifest(u32),
    /// An object with lines.
    Part,
}

/// A key taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) struct CompactKey<'k> {
    /// Everything up to and with the day's `/`.
    pub(in crate::cli) folder: &'k str,
    /// As it is in the key.
    pub(in crate::cli) stream: &'k str,
    /// What it is.
    pub(in crate::cli) object: Object,
}

impl<'k> CompactKey<'k> {
    /// Takes a key apart; `None` for one that compaction does not make.
    pub(in crate::cli) fn parse(key: &'k str) -> Option<Self> {
        let (head, name) = key.rsplit_once('/')?;
        let (day, object) = match name.strip_prefix("manifest-") {
            Some(rest) => {
                let digits = rest.strip_suffix(".json").filter(|digits| digits.len() == 4)?;
                (head, Object::Manifest(decimal(digits)?))
            }
            None => {
                let (day, hour) = head.rsplit_once('/')?;
                decimal(hour.strip_prefix("hour=").filter(|hour| hour.len() == 2)?)?;
                is_part(name).then_some((day, Object::Part))?
            }
        };
        let (streams, date) = day.rsplit_once("/dt=")?;
        let dashes = date.bytes().enumerate().all(|(at, byte)| match at {
            4 | 7 => byte == b'-',
            _ => byte.is_ascii_digit(),
        });
        let (above, stream) = streams.rsplit_once('/').unwrap_or(("", streams));
        let folder = FOLDER.trim_end_matches('/');
        let ours = above == folder || above.strip_suffix(folder).is_some_and(|a| a.ends_with('/'));
        if !ours || date.len() != 10 || !dashes {
            return None;
        }
        Some(Self { folder: key.get(..=day.len())?, stream, object })
    }
}

/// Whether a file's name is that of an object with lines.
fn is_part(name: &str) -> bool {
    let rest = || {
        let (number, rest) = name.strip_prefix("part-")?.split_once('-')?;
        decimal(number).filter(|_| number.len() >= 4)?;
        let (hash, rest) = rest.split_at_checked(HASH)?;
        let hex = hash.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let rest = SEALS.iter().find_map(|seal| rest.strip_suffix(seal)).unwrap_or(rest);
        (hex && FORMS.iter().any(|form| form.suffix() == rest)).then_some(())
    };
    rest().is_some()
}

fn decimal(digits: &str) -> Option<u32> {
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
}

/// What form an object's content has and how it is encrypted, as its key says.
pub(in crate::cli) fn forms(key: &str) -> Option<(Form, &'static str)> {
    let found = SEALS.into_iter().find_map(|seal| Some((key.strip_suffix(seal)?, seal)));
    let (rest, seal) = found.unwrap_or((key, ""));
    let form = FORMS.into_iter().find(|form| rest.ends_with(form.suffix()))?;
    Some((form, seal))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::KeyParts;

    const HASHED: Digest = Digest([0xab; 32]);

    fn settings(path: &str) -> Settings {
        let mut arguments = crate::settings::Arguments::new("access");
        for (name, value) in
            [("endpoint", "http://127.0.0.1:9"), ("bucket", "logs"), ("path", path)]
        {
            arguments.set(name, Some(value.to_owned()));
        }
        Settings::read(&arguments).unwrap()
    }

    #[test]
    fn what_is_named_is_taken_apart_again() {
        let start = 1_795_341_600_000_000_000; // 2026-11-22T10:00:00Z
        for (path, fixed) in [("varnish/%Y/%m/%d/", "varnish/"), ("", ""), ("%Y/a/", "")] {
            let settings = settings(path);
            let folder = format!("{fixed}compact/access/dt=2026-11-22/");
            let manifest = Day::of(start).manifest(&settings, 12);
            assert_eq!(manifest, format!("{folder}manifest-0012.json"));
            let parsed = CompactKey::parse(&manifest).unwrap();
            assert_eq!((parsed.folder, parsed.stream), (&*folder, "access"));
            assert_eq!(parsed.object, Object::Manifest(12));
            for (form, seal, ending) in [
                (Form::Lines(Kind::Zstd), "", "log.zst"),
                (Form::Lines(Kind::Gzip), ".age", "log.gz.age"),
                (Form::Columns, "", "parquet"),
            ] {
                let part = part(&settings, start, 3, &HASHED, form, seal);
                let name = format!("{folder}hour=10/part-0003-abababababababab.{ending}");
                assert_eq!(part, name);
                let parsed = CompactKey::parse(&part).unwrap();
                assert_eq!((parsed.folder, parsed.object), (&*folder, Object::Part));
                assert_eq!(forms(&part), Some((form, seal)));
                assert!(KeyParts::parse(&part).is_none(), "no block has such a name");
            }
        }
    }

    #[test]
    fn other_names_are_not_those_of_compaction() {
        for key in [
            "compact/access/dt=2026-11-22/manifest-1.json",
            "compact/access/dt=2026-11-22/manifest-0001.txt",
            "compact/access/dt=2026/manifest-0001.json",
            "other/access/dt=2026-11-22/manifest-0001.json",
            "uncompact/access/dt=2026-11-22/manifest-0001.json",
            "compact/access/dt=2026-11-22/hour=10/notes.txt",
            "compact/access/dt=2026-11-22/hour=10/part-0001-xbababababababab.log.gz",
            "compact/access/dt=2026-11-22/part-0001-abababababababab.log.gz",
            "manifest-0001.json",
        ] {
            assert_eq!(CompactKey::parse(key), None, "{key}");
        }
    }
}
