//! The table of `docs/gateways.md` is the one that the load goes by, and the exceptions of `make gateways`
//! are those of the table.

use std::fs;
use std::path::Path;

use vmod_s3log::s3::object::{COLUMNS, Does, GATEWAYS, Region, Words};

/// A row of a table in Markdown.
fn row(cells: &[String]) -> String {
    format!("| {} |", cells.join(" | "))
}

#[test]
fn each_gateway_s_row_is_the_one_in_the_documentation() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/gateways.md");
    let text = fs::read_to_string(page).unwrap();
    let names: Vec<_> = COLUMNS.iter().map(|name| (*name).to_owned()).collect();
    let mut expected = vec![row(&names), format!("|{}", "---|".repeat(COLUMNS.len()))];
    expected.extend(GATEWAYS.iter().map(|traits| row(&traits.cells())));
    let found: Vec<_> = text
        .lines()
        .skip_while(|line| *line != expected[0])
        .take_while(|line| line.starts_with('|'))
        .collect();
    assert_eq!(found, expected, "should be:\n{}\n", expected.join("\n"));
}

#[test]
fn each_gateway_has_a_source_and_each_of_its_hosts_is_named() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/gateways.md");
    let text = fs::read_to_string(page).unwrap();
    let (_, sources) = text.split_once("| gateway | fact | source |").unwrap();
    for traits in GATEWAYS.iter().filter(|traits| traits.name != "generic") {
        assert!(sources.contains(&format!("\n| {} | ", traits.name)), "{}", traits.name);
        if let Some(domain) = traits.domains.first() {
            assert!(text.contains(&format!("`{domain}`")), "{domain}");
        }
    }
}

#[test]
fn what_make_gateways_lets_a_gateway_lack_is_what_its_row_says() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("e2e/gateways.py");
    let text = fs::read_to_string(script).unwrap();
    let (_, table) = text.split_once("\nEXCEPTIONS = {\n").unwrap();
    let (table, _) = table.split_once("\n}\n").unwrap();
    for traits in GATEWAYS.iter().filter(|traits| traits.name != "generic") {
        let begins = format!("    \"{}\": ", traits.name);
        let row = table.lines().find_map(|line| line.strip_prefix(&begins)).unwrap();
        for (check, lacks) in [
            ("CONDITIONAL", traits.if_none_match == Does::No),
            ("\"object lock\"", traits.object_lock == Does::No),
            ("\"checksums\"", traits.checksum == Words::Nothing),
        ] {
            assert_eq!(row.contains(check), lacks, "{}: {check}: {row}", traits.name);
        }
        // A gateway that takes any region cannot refuse a wrong one.
        if traits.region == Region::Any {
            assert!(row.contains("\"bad region\""), "{}: {row}", traits.name);
        }
    }
}
