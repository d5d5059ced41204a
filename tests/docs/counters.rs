//! The counters' table against what is written of them: documentation, Prometheus rules, tests.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use vmod_s3log::stats::{STATS, Stat};

fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// The files of a folder with one of these endings.
fn folder(folder: &str, endings: &[&str]) -> Vec<(String, String)> {
    let at = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let paths = fs::read_dir(at).unwrap().map(|entry| entry.unwrap().path());
    let text = |path: &Path| endings.iter().any(|end| path.extension().is_some_and(|e| e == *end));
    let paths = paths.filter(|path| text(path));
    paths.map(|path| (path.display().to_string(), read(&path))).collect()
}

fn stat(name: &str) -> Option<&'static Stat> {
    STATS.iter().find(|stat| stat.name == name)
}

fn level(stat: &Stat) -> &'static str {
    stat.more.iter().find(|(key, _)| *key == "level").map_or("info", |(_, level)| level)
}

fn is_name(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_'
}

/// The name of a counter at the beginning of a text.
fn name(text: &str) -> &str {
    let end = text.bytes().position(|byte| !is_name(byte)).unwrap_or(text.len());
    &text[..end]
}

#[test]
fn the_page_for_operators_has_each_counter_once_with_its_level() {
    let page = read("docs/operations.md");
    let rows = page.lines().skip_while(|line| !line.starts_with("| counter |")).skip(2);
    let mut found = Vec::new();
    for row in rows.take_while(|line| line.starts_with('|')) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let names = cells[1].split('`').skip(1).step_by(2);
        let mut levels = cells[2].split(", ");
        let mut current = "";
        for name in names.map(|name| name.trim_start_matches("S3LOG.access.")) {
            current = levels.next().unwrap_or(current);
            let known = stat(name).unwrap_or_else(|| panic!("{name} is no counter"));
            assert_eq!(current, level(known), "{name}");
            found.push(name.to_owned());
        }
    }
    let all: BTreeSet<&str> = STATS.iter().map(|stat| stat.name).collect();
    assert_eq!(found.len(), all.len(), "{found:?}");
    assert_eq!(found.iter().map(String::as_str).collect::<BTreeSet<_>>(), all);
}

#[test]
fn the_output_of_varnishstat_in_the_documentation_has_the_counters_texts() {
    let mut seen = 0;
    for (page, text) in folder("docs", &["md"]) {
        for line in text.lines().filter_map(|line| line.trim().strip_prefix("S3LOG.access.")) {
            let shown = stat(name(line)).unwrap_or_else(|| panic!("{page}: {line}"));
            assert!(line.ends_with(shown.text), "{page}: {line:?} should end in {:?}", shown.text);
            seen += 1;
        }
    }
    assert!(seen > 20, "only {seen} lines of varnishstat");
}

#[test]
fn each_counter_that_a_test_a_proof_or_a_page_asks_for_is_one() {
    let mut seen = BTreeSet::new();
    let mut files = folder("docs", &["md"]);
    files.extend(folder("tests/vtc", &["vtc"]));
    files.extend(folder("e2e", &["py"]));
    files.extend(folder("e2e/rig", &["py"]));
    files.push(("README.md".to_owned(), read("README.md")));
    for (file, text) in files {
        for rest in text.split("S3LOG.access.").skip(1) {
            let name = name(rest);
            // A pattern, or the name of a stream that goes on.
            if name.is_empty() {
                continue;
            }
            assert!(stat(name).is_some(), "{file}: S3LOG.access.{name}");
            seen.insert(name.to_owned());
        }
    }
    assert!(seen.len() > 15, "{seen:?}");
}

#[test]
fn each_series_of_the_prometheus_rules_is_a_counter_and_each_loss_has_an_alert() {
    let rules = read("examples/prometheus-rules.yml");
    let series = rules.split("varnish_main_s3log_.+_").skip(1).map(name);
    let named: BTreeSet<&str> = series.collect();
    for name in &named {
        assert!(stat(name).is_some(), "{name} is no counter");
    }
    let losses = STATS.iter().map(|stat| stat.name).filter(|name| name.starts_with("dropped_"));
    for loss in losses {
        assert!(named.contains(loss), "nothing alerts on {loss}");
    }
}

#[test]
fn no_alert_asks_what_a_counter_has_come_to_since_the_start_and_a_stream_that_waits_has_one() {
    let rules = read("examples/prometheus-rules.yml");
    let start = "{__name__=~\"varnish_main_s3log_.+_";
    let mut seen = 0;
    for (before, rest) in rules.match_indices(start).map(|(at, _)| rules.split_at(at)) {
        let known = stat(name(&rest[start.len()..])).unwrap();
        let grows = before.ends_with("increase(");
        assert_eq!(grows, known.kind == "counter", "{}", known.name);
        seen += 1;
    }
    assert!(seen > 8, "only {seen} series");
    assert!(
        rules.contains("_records_unspooled"),
        "nothing alerts on a stream that has not started"
    );
}

#[test]
fn each_series_of_the_dashboard_is_one_counters_and_each_loss_has_a_line() {
    let dashboard = read("examples/grafana-dashboard.json");
    let pattern = "=~\\\"varnish_main_s3log_.+_";
    let mut named = BTreeSet::new();
    for rest in dashboard.split(pattern).skip(1) {
        let name = name(rest);
        assert!(stat(name).is_some(), "{name} is no counter");
        named.insert(name);
        // The pattern is also the end of longer names: those are excluded beside it.
        let query = rest.split('}').next().unwrap();
        let ending = format!("_{name}");
        for longer in STATS.iter().filter_map(|stat| stat.name.strip_suffix(&ending)) {
            let without = query.split_once("!~").map_or("", |(_, without)| without);
            assert!(
                without.contains(longer),
                "{name}: {longer}{ending} is not excluded in {query}"
            );
        }
    }
    assert!(named.len() > 20, "{named:?}");
    for loss in STATS.iter().map(|stat| stat.name).filter(|name| {
        ["dropped_", "shed_", "truncated", "incomplete"].iter().any(|start| name.starts_with(start))
    }) {
        assert!(named.contains(loss), "the dashboard does not show {loss}");
    }
}

#[test]
fn a_text_fits_beside_its_counter_and_is_no_sentence() {
    for Stat { name, kind, text, .. } in STATS {
        assert!(text.len() <= 60 && !text.ends_with('.'), "{name}: {text}");
        assert!(["counter", "gauge"].contains(kind), "{name}: {kind}");
    }
}
