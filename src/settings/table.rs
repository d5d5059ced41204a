//! Every argument of `s3log.stream()`, once: its name, what it accepts, its default, and whether it
//! belongs to the route.
//!
//! The readers in this room take ranges, words and defaults from here; the keys of the settings
//! file, the variables and `--set` of the command are these names. `tests/docs/names.rs` compares
//! the table with the constructor and with the prose of `API.md`.
//!
//! A new argument needs an entry here, a documented parameter in `src/vmod/mod.rs`, and the code
//! that reads it.

use crate::zone::NamedZone;
use Accepts::{Duration, Flag, Number, Size, Text, Words};

/// What an argument accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accepts {
    /// A text that its reader checks.
    Text,
    /// `true` or `false`.
    Flag,
    /// One of these words.
    Words(&'static [&'static str]),
    /// A duration between two others, both included.
    Duration(&'static str, &'static str),
    /// A size between two others, both included.
    Size(&'static str, &'static str),
    /// A whole number between two others, both included.
    Number(u64, u64),
}

/// One argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Argument {
    /// Its name in VCL and in the settings file.
    pub name: &'static str,
    /// What it accepts.
    pub accepts: Accepts,
    /// What holds when it is left out, as an operator would write it; `None` when there is no such
    /// text: it is required, optional, or follows from another argument.
    pub default: Option<&'static str>,
    /// Whether it decides where a record goes or who can read it there.
    pub route: bool,
}

const fn general(name: &'static str, accepts: Accepts, default: Option<&'static str>) -> Argument {
    Argument { name, accepts, default, route: false }
}

const fn route(name: &'static str, accepts: Accepts, default: Option<&'static str>) -> Argument {
    Argument { name, accepts, default, route: true }
}

/// The directory that the package makes.
pub(crate) const DEFAULT_SPOOL: &str = "/var/lib/vmod-s3log";

/// All arguments by name.
pub const ARGUMENTS: &[Argument] = &[
    route("acl", Text, None),
    general("addressing", Text, Some("path")),
    general("align", Flag, Some("false")),
    general("allow_http", Flag, Some("false")),
    route("bucket", Text, None),
    general("ca_file", Text, None),
    general("checksum", Text, Some("none")),
    general("client_certificate", Text, None),
    general("client_key", Text, None),
    general("compression", Text, Some("gzip")),
    general("connect_timeout", Duration("100ms", "5m"), Some("5s")),
    general("content_md5", Words(&["auto", "true", "false"]), Some("auto")),
    route("content_type", Text, Some("application/octet-stream")),
    general("credentials", Text, None),
    general("dialect", Words(&["apache", "varnishncsa"]), Some("apache")),
    route("encrypt_to", Text, None),
    route("endpoint", Text, None),
    general("escape", Words(&["clf", "json", "tsv", "none"]), None),
    general("esi", Flag, Some("false")),
    general("exit_timeout", Duration("0s", "10m"), Some("5s")),
    route("expected_bucket_owner", Text, None),
    general("external_id", Text, None),
    general("format", Text, None),
    route("gateway", Text, None),
    route("hostname", Text, None),
    general("if_none_match", Flag, Some("true")),
    route("kms_key_id", Text, None),
    general("max_bytes", Size("1KB", "5GB"), Some("64MB")),
    general("max_line", Size("256B", "65000B"), Some("16KB")),
    general("max_wait", Duration("1ms", "10s"), Some("100ms")),
    general("members", Words(&["many", "one"]), Some("many")),
    general("message_type", Words(&["blank", "classic", "loggly", "logplex"]), Some("blank")),
    route("metadata", Text, None),
    route("object_lock", Text, None),
    route("object_ttl", Text, None),
    general("on_full", Words(&["drop", "wait"]), Some("drop")),
    general("on_spool_full", Words(&["drop_oldest", "drop_newest"]), Some("drop_oldest")),
    general("on_start_failure", Words(&["fail", "serve"]), None),
    route("path", Text, None),
    route("path_timezone", Text, Some(NamedZone::UTC)),
    general("period", Duration("100ms", "1d"), Some("60s")),
    general("profile", Text, Some("default")),
    general("proxy", Text, None),
    route("public_key", Text, None),
    route("redundancy", Text, None),
    general("region", Text, None),
    general("ring", Size("1MB", "1GB"), Some("16MB")),
    general("role_arn", Text, None),
    general("role_session_name", Text, None),
    general("sample", Text, None),
    route("server_side_encryption", Text, None),
    route("sign_key", Text, None),
    general("spool", Text, Some(DEFAULT_SPOOL)),
    general("spool_max", Size("1MB", "100TB"), Some("10GB")),
    general("sync", Text, Some("block")),
    general("tag", Text, None),
    route("tags", Text, None),
    general("timeout", Duration("1s", "1h"), Some("30s")),
    route("timestamp_format", Text, Some("%Y-%m-%dT%H-%M-%SZ")),
    general("timezone", Words(&["utc", "local"]), None),
    general("upload", Words(&["internal", "external"]), Some("internal")),
    general("upload_threads", Number(1, 16), Some("2")),
];

/// The argument of this name.
#[must_use]
pub fn argument(name: &str) -> Option<&'static Argument> {
    ARGUMENTS.iter().find(|argument| argument.name == name)
}

/// All names, for a message that lists them.
#[must_use]
pub fn names() -> String {
    let names: Vec<_> = ARGUMENTS.iter().map(|argument| argument.name).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::Naming;
    use crate::record::{MAX_LINE_DEFAULT, MAX_LINE_MAX, MAX_LINE_MIN};
    use crate::units;

    #[test]
    fn names_are_sorted_and_given_once() {
        assert!(ARGUMENTS.is_sorted_by(|one, two| one.name < two.name));
    }

    #[test]
    fn each_default_is_within_its_range() {
        for Argument { name, accepts, default, .. } in ARGUMENTS {
            let Some(default) = *default else { continue };
            let within = match *accepts {
                Text => !default.is_empty(),
                Flag => ["true", "false"].contains(&default),
                Words(words) => words.contains(&default),
                Number(least, most) => (least..=most).contains(&default.parse().unwrap()),
                Duration(least, most) => {
                    let read = |text| units::duration(text).unwrap();
                    (read(least)..=read(most)).contains(&read(default))
                }
                Size(least, most) => {
                    let read = |text| units::bytes(text).unwrap();
                    (read(least)..=read(most)).contains(&read(default))
                }
            };
            assert!(within, "{name}: {default} is not {accepts:?}");
        }
    }

    #[test]
    fn what_other_rooms_have_as_constants_is_the_same_here() {
        let default = |name: &str| argument(name).unwrap().default.unwrap();
        assert_eq!(units::bytes(default("max_line")), Some(MAX_LINE_DEFAULT as u64));
        let Some(Accepts::Size(least, most)) = argument("max_line").map(|known| known.accepts)
        else {
            panic!("max_line is a size");
        };
        assert_eq!(units::bytes(least), Some(MAX_LINE_MIN as u64));
        assert_eq!(units::bytes(most), Some(MAX_LINE_MAX as u64));
        assert_eq!(default("timestamp_format"), Naming::DEFAULT_TIMESTAMP);
    }
}
