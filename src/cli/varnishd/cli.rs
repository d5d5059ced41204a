//! What Varnish's CLI and log say, as `varnishadm` and `varnishlog` print it.

use std::collections::{BTreeMap, BTreeSet};

use memchr::memmem;
use serde_json::Value;

/// More than a product, a version or a commit has, in bytes.
const AROUND: usize = 128;

/// A varnishd's parameters, as `param.show -j` has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) struct Parameters(BTreeMap<String, String>);

impl Parameters {
    pub(super) fn read(text: &str) -> Option<Self> {
        let all: Vec<Value> = serde_json::from_str(text).ok()?;
        let pair = |one: &Value| {
            let value = match one.get("value")? {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            Some((one.get("name")?.as_str()?.to_owned(), value))
        };
        Some(Self(all.iter().filter_map(pair).collect()))
    }

    /// The value of a parameter; numbers as Varnish prints them, in bytes or seconds.
    pub(in crate::cli) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The value of one that is a whole number.
    pub(in crate::cli) fn number(&self, name: &str) -> Option<u64> {
        self.get(name)?.parse().ok()
    }
}

/// What varnishadm has printed, without the line with the status (`200`) that it prints first in Varnish 6.6.
pub(super) fn answer(text: &str) -> &str {
    text.strip_prefix("200\n").unwrap_or(text)
}

/// The names of the VCLs in use, from `vcl.list -j`: the active one and those that have a label.
pub(super) fn in_use(text: &str) -> Option<BTreeSet<String>> {
    let all: Vec<Value> = serde_json::from_str(text).ok()?;
    let name = |one: &Value| {
        let labelled = one.get("label").and_then(|label| label.get("name"));
        let active = one.get("status").and_then(Value::as_str) == Some("active");
        let name = labelled.or_else(|| one.get("name").filter(|_| active))?;
        Some(name.as_str()?.to_owned())
    };
    Some(all.iter().filter_map(name).collect())
}

/// The ABI's name from a line such as `varnish-7.7.0 revision HASH`.
pub(super) fn abi(text: &str) -> Option<String> {
    let words: Vec<&str> = text.split(|c: char| c.is_whitespace() || "()".contains(c)).collect();
    words.windows(3).find_map(|three| {
        let [name, "revision", hash] = three else { return None };
        let (name, version) = name.rsplit_once('-').filter(|_| !hash.is_empty())?;
        // As `VMOD_ABI_Version` of `vmod_abi.h` has it; Vinyl Cache's read from 9.0.1.
        let name = match name {
            "varnish" => "Varnish",
            "vinyl-cache" => "Vinyl Cache",
            other => other,
        };
        Some(format!("{name} {version} {hash}"))
    })
}

/// The same from varnishd's file, which has what `varnishd -V` prints among its texts.
pub(super) fn abi_within(program: &[u8]) -> Option<String> {
    memmem::find_iter(program, b" revision ").find_map(|at| {
        let around = program.get(at.saturating_sub(AROUND)..program.len().min(at + AROUND))?;
        let printable = |byte: &u8| if byte.is_ascii_graphic() { char::from(*byte) } else { ' ' };
        abi(&around.iter().map(printable).collect::<String>())
    })
}

/// A message of the module from a line of `varnishlog -g raw`.
pub(super) fn message(line: &str) -> Option<String> {
    let (_, text) = line.split_once("S3LOG ")?;
    Some(text.trim_end_matches(['"', '\0']).trim_end_matches("%00").trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_that_varnishadm_6_6_prints_first_is_no_part_of_its_answer() {
        assert_eq!(answer("200\n[ 2, []\n]"), "[ 2, []\n]");
        assert_eq!(answer("[ 2, []\n]"), "[ 2, []\n]");
    }

    #[test]
    fn parameters_are_read_whether_they_are_texts_or_numbers() {
        let text = r#"[ 2, ["param.show", "-j"], 1795686321.492,
            {"name": "accept_filter", "implemented": false},
            {"name": "workspace_client", "implemented": true, "value": 98304, "units": "bytes"},
            {"name": "vsl_mask", "value": "all,-Debug"}]"#;
        let read = Parameters::read(text).unwrap();
        assert_eq!(read.number("workspace_client"), Some(98_304));
        assert_eq!(read.get("vsl_mask"), Some("all,-Debug"));
        assert_eq!(read.get("accept_filter"), None);
        assert_eq!(Parameters::read("Unknown request."), None);
    }

    #[test]
    fn a_vcl_is_in_use_if_it_is_active_or_has_a_label() {
        let text = r#"[ 2, ["vcl.list", "-j"], 1795688286.885,
            {"status": "available", "state": "auto", "name": "boot", "labels": 1},
            {"status": "available", "state": "auto", "name": "old"},
            {"status": "available", "state": "label", "name": "lab", "label": {"name": "boot", "refs": 1}},
            {"status": "active", "state": "auto", "name": "two"}]"#;
        assert!(in_use(text).unwrap().iter().eq(["boot", "two"]));
        assert_eq!(in_use("Unknown request."), None);
    }

    #[test]
    fn the_abi_is_read_from_the_banner_and_from_the_version() {
        for text in [
            "Varnish Cache CLI 1.0\n-jnone,-hcritbit\nvarnish-7.7.0 revision abc123\n",
            "varnishd (varnish-7.7.0 revision abc123)\nCopyright (c) 2006\n",
        ] {
            assert_eq!(abi(text).as_deref(), Some("Varnish 7.7.0 abc123"), "{text}");
        }
        let vinyl = abi("vinyld (vinyl-cache-9.0.1 revision abc123)\n");
        assert_eq!(vinyl.as_deref(), Some("Vinyl Cache 9.0.1 abc123"));
        assert_eq!(abi("Copyright"), None);
    }

    #[test]
    fn the_abi_is_read_from_the_texts_of_a_program() {
        let program = b"\x7fELF\0a revision of it\0%s (%s revision %s)\n\0\xffvarnish-6.0.16 revision cc92\0(x";
        assert_eq!(abi_within(program).as_deref(), Some("Varnish 6.0.16 cc92"));
        let program = b"\0(vinyl-cache-9.0.1 revision 4236)\0";
        assert_eq!(abi_within(program).as_deref(), Some("Vinyl Cache 9.0.1 4236"));
        for program in [&b" revision "[..], b"varnish-7.7.0 revision", b"-a revision \0", b""] {
            assert_eq!(abi_within(program), None, "{program:?}");
        }
    }

    #[test]
    fn a_message_is_what_follows_the_modules_name() {
        let line = r#"         0 Error          - "S3LOG warning: stream access: x%00""#;
        assert_eq!(message(line).as_deref(), Some("warning: stream access: x"));
        let line = "         0 Error          - S3LOG error: stream a: 3 records dropped";
        assert_eq!(message(line).as_deref(), Some("error: stream a: 3 records dropped"));
        assert_eq!(message("0 CLI - Rd ping"), None);
    }
}
