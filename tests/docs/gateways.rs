//! The table of `docs/gateways.md` is the one that the load goes by.

use std::fs;
use std::path::Path;

use vmod_s3log::s3::object::{COLUMNS, GATEWAYS};

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
