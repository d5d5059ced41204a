//! What the documents and the presets promise.

use super::support::{Known, apache, client, compile, csa, full, line, task};
use crate::record::task::Connection;
use crate::record::{Escape, Side, Task};

fn known() -> Known {
    Known {
        connection: Some(Connection::KeptAlive),
        values: vec![
            (b"tenant".to_vec(), b"green".to_vec()),
            (b"server".to_vec(), b"edge1".to_vec()),
            (b"reason".to_vec(), b"OK".to_vec()),
        ],
        ..Known::default()
    }
}

/// The texts between backticks in a table's cell.
fn code(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

#[test]
fn the_examples_in_the_table_of_variables_are_what_is_printed() {
    let text = include_str!("../../../docs/formats.md");
    let (log, known) = (client(), known());
    let task = Task { structs: &known, ..task(&log, Side::Client) };
    let mut checked = 0;
    for row in text.lines().filter(|row| row.starts_with("| `%")) {
        let cells: Vec<&str> = row.trim_matches('|').split('|').collect();
        let [names, .., of_apache, of_csa] = cells.as_slice() else { panic!("{row}") };
        if cells.len() < 5 {
            continue;
        }
        for name in code(names) {
            assert_eq!(line(name, &apache(), &task), code(of_apache)[0], "{name} in apache");
            assert_eq!(line(name, &csa(), &task), code(of_csa)[0], "{name} in varnishncsa");
            checked += 1;
        }
    }
    assert!(checked >= 55, "{checked} variables are documented");
}

/// The `format` argument of a preset.
fn format_of(vcl: &str) -> String {
    let text = vcl.split("format = ").nth(1).expect("a format");
    let (open, close) =
        if text.starts_with("\"\"\"") { ("\"\"\"", "\"\"\"") } else { ("{\"", "\"}") };
    let text = text.strip_prefix(open).expect("a long string");
    text.split(close).next().expect("its end").to_owned()
}

#[test]
fn the_combined_preset_prints_the_combined_line() {
    let format = format_of(&include_str!("../../../vcl/combined.vcl").replace("%{", "%<"));
    let format = format.replace("%<", "%{");
    let log = client();
    assert_eq!(
        line(&format, &apache(), &task(&log, Side::Client)),
        concat!(
            r#"192.0.2.7 - aladdin [14/Nov/2023:22:13:20 +0000] "GET /path/x?a=1&b=2 HTTP/1.1" "#,
            r#"304 4000 "http://ref.example/" "curl/8.0 \"quoted\"""#
        )
    );
}

#[test]
fn the_json_presets_print_json_with_numbers_as_numbers() {
    let (log, known) = (client(), known());
    let task = Task { structs: &known, ..task(&log, Side::Client) };
    let read = |vcl: &str| -> serde_json::Value {
        let format = format_of(vcl);
        assert_eq!(compile(&format, &apache()).escape(), Escape::Json);
        serde_json::from_slice(&full(&format, &apache(), &task).0).expect("JSON")
    };
    let row = read(include_str!("../../../vcl/json.vcl"));
    assert_eq!(row["time"], "2023-11-14T22:13:20.123456Z");
    assert_eq!(row["status"], 304);
    assert_eq!(row["us"], 250_000);
    assert_eq!(row["first_byte_s"], 0.000_544);
    assert_eq!(row["user_agent"], "curl/8.0 \"quoted\"");
    assert_eq!(row.as_object().map(serde_json::Map::len), Some(18));
    let row = read(include_str!("../../../vcl/fastly-json.vcl"));
    assert_eq!(row["timestamp"], "2023-11-14T22:13:20+0000");
    assert_eq!(row["url"], "/path/x?a=1&b=2");
    assert_eq!(row["response_reason"], "Not Modified");
    assert_eq!(row["server"], "edge1");
}
