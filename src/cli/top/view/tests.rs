use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::*;
use crate::cli::top::sample::Sample;
use crate::cli::varnishd::StreamCounters;

const SECOND: u64 = 1_000_000_000;

/// 2026-11-26T10:00:00Z.
const START: u64 = 1_795_687_200;

fn sample(second: u64, streams: Vec<StreamCounters>) -> Sample {
    Sample { at: (START + second) * SECOND, streams, uptime: Some(100 + second), problem: None }
}

fn drawn(state: &State, width: u16, height: u16) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, state)).unwrap();
    terminal.backend().buffer().clone()
}

fn text(buffer: &Buffer) -> Vec<String> {
    let row = |y| {
        let cells = (0..buffer.area.width).map(|x| buffer[(x, y)].symbol());
        cells.collect::<String>().trim_end().to_owned()
    };
    (0..buffer.area.height).map(row).collect()
}

/// The colour of the first cell of `what`.
fn colour(buffer: &Buffer, what: &str) -> Color {
    let lines = text(buffer);
    let (y, line) = lines.iter().enumerate().find(|(_, line)| line.contains(what)).unwrap();
    let at = line.find(what).unwrap();
    let x = line[..at].chars().count();
    buffer[(u16::try_from(x).unwrap(), u16::try_from(y).unwrap())].fg
}

/// The gateway has been down for five minutes, and the ring was full once.
fn outage() -> State {
    let mut state = State::new();
    for second in 0..5u64 {
        let values = [
            ("records", 1_000 * second),
            ("raw_bytes", 200_000 * second),
            ("stored_bytes", 20_000 * second),
            ("uploaded_records", 0),
            ("upload_retries", 12),
            ("last_status", 503),
            ("ring_used", 8 << 20),
            ("ring_high_water", 14 << 20),
            ("ring_size", 16 << 20),
            ("spooled_blocks", 31),
            ("spooled_bytes", 5 << 20),
            ("spool_used", 6 << 20),
            ("spool_high_water", 9 << 20),
            ("spool_max", 10 << 20),
            ("uploading_blocks", 2),
            ("uploading_bytes", 4 << 20),
            ("uploading_sent", 1 << 20),
            ("answers_2xx", 40),
            ("answers_5xx", 8 + second),
            ("answers_none", 4 + second / 2),
            ("oldest_unsent", 300 + second),
            ("shed_normal", 1_234),
            ("dropped_ring", 1_234),
        ];
        let idle = [("ring_size", 1 << 20), ("last_status", 200), ("blocks_uploaded", 4)];
        state.push(sample(
            second,
            vec![
                StreamCounters::example("access", &values),
                StreamCounters::example("errors", &idle),
            ],
        ));
    }
    state
}

#[test]
fn an_outage_fits_80_by_24_and_shows_lag_bars_and_drops_by_cause_in_red() {
    let buffer = drawn(&outage(), 80, 24);
    let lines = text(&buffer);
    let all = lines.join("\n");
    assert!(
        lines[0].starts_with(" s3log top   2026-11-26T10:00:04Z   cache process up 1m 44s"),
        "{all}"
    );
    let access = lines.iter().find(|line| line.starts_with("access")).unwrap();
    let words: Vec<&str> = access.split_whitespace().collect();
    assert_eq!(
        words,
        ["access", "1,000", "0.0", "50", "%", "5.0", "MiB", "in", "31", "5m", "4s", "503", "1,234"]
    );
    assert!(all.contains("compressed 10.0 : 1"), "{all}");
    assert!(all.contains(" dropped  1,234 ring full, normal"), "{all}");
    assert!(all.contains("8.0 MiB of 16.0 MiB, had 14.0 MiB"), "{all}");
    assert!(all.contains("6.0 MiB of 10.0 MiB, had 9.0 MiB"), "{all}");
    assert!(all.contains("1.0 MiB of 4.0 MiB, 2 blocks"), "{all}");
    let answers = "last 503   in 4 s: 5xx 4  none 2   12 failed and repeated";
    assert!(all.contains(answers), "{all}");
    assert!(all.contains(" lag, seconds, at most 304 in 5 moments"), "{all}");
    assert!(lines[23].contains("q quit"), "{all}");
    for what in ["1,234 ring full", "last 503", "5xx 4"] {
        assert_eq!(colour(&buffer, what), Color::Red, "{what}");
    }
    assert_eq!(colour(&buffer, "5m 4s"), Color::Yellow);
    // Of the ring half is used, and the mark stands at seven eighths; of the spool, six tenths and nine.
    for (name, used, high, all) in [(" ring ", 4, 7, 8), (" spool ", 6, 9, 10)] {
        let line = lines.iter().find(|line| line.starts_with(name)).unwrap();
        let cells = line.matches('█').count();
        let bar = cells + line.matches('·').count() + 1;
        assert_eq!(cells, (bar * used).div_ceil(all), "{line}");
        let place = line.chars().position(|c| c == '|').unwrap() + 1 - " ring     ".len();
        assert_eq!(place, (bar * high).div_ceil(all), "{line}");
    }
    // Of what is being sent, a quarter is.
    let sending = lines.iter().find(|line| line.starts_with(" sending ")).unwrap();
    let (sent, left) = (sending.matches('█').count(), sending.matches('·').count());
    assert_eq!(sent, (sent + left).div_ceil(4), "{sending}");
}

#[test]
fn the_longest_sizes_fit_80_columns() {
    let mut state = State::new();
    let size = (1023 << 10) + 1000;
    let names = [
        "ring_used",
        "ring_high_water",
        "ring_size",
        "spool_used",
        "spool_high_water",
        "spool_max",
    ];
    let uploads = [("uploading_blocks", 16), ("uploading_bytes", size), ("uploading_sent", size)];
    let values: Vec<_> = names.map(|name| (name, size)).into_iter().chain(uploads).collect();
    state.push(sample(0, vec![StreamCounters::example("access", &values)]));
    let lines = text(&drawn(&state, 80, 24));
    for (name, ends) in [
        (" ring ", " had 1023.9 KiB"),
        (" spool ", " had 1023.9 KiB"),
        (" sending ", ", 16 blocks"),
    ] {
        let line = lines.iter().find(|line| line.starts_with(name)).unwrap();
        assert!(line.ends_with(ends), "{line}");
    }
}

/// What a node that has run for long, and does badly, counts: more than its rows have room for.
fn large_numbers(causes: &[&str], answers: &[&str], aside: &[&str]) -> State {
    let mut state = State::new();
    for second in 0..3 {
        let grown = 1_000_000 + 234_567 * second;
        let mut values: Vec<_> =
            [causes, answers, aside].concat().into_iter().map(|name| (name, grown)).collect();
        values.extend([
            ("upload_retries", grown),
            ("last_status", 503),
            ("spooled_blocks", 1_234_567),
            ("spooled_bytes", (1023 << 10) + 1000),
            ("dropped_ring", 2 * grown),
        ]);
        state.push(sample(second, vec![StreamCounters::example("access", &values)]));
    }
    state
}

#[test]
fn the_largest_numbers_fit_80_columns_and_where_there_is_room_they_are_exact() {
    let answers = ["answers_2xx", "answers_3xx", "answers_4xx", "answers_5xx", "answers_none"];
    let aside = ["quarantined_blocks", "held_blocks", "truncated", "incomplete"];
    let every =
        ["shed_high", "shed_normal", "shed_low", "dropped_spool", "dropped_end", "dropped_panic"];
    let state = large_numbers(&every, &answers, &aside);
    let lines = text(&drawn(&state, 80, 24));
    let find = |lines: &[String], name: &str| {
        lines.iter().find(|line| line.starts_with(name)).unwrap().clone()
    };
    assert_eq!(
        find(&lines, " answers "),
        " answers  in 2 s: 2xx 469k  3xx 469k  4xx 469k  5xx 469k  none 469k  1.4M failed"
    );
    assert_eq!(
        find(&lines, " dropped "),
        " dropped  1.4M ring full, high, 1.4M ring full, normal, others   1.1M/s now"
    );
    assert_eq!(
        find(&lines, " aside "),
        " aside    1.4M in quarantine  1.4M without key  1.4M cut lines  1.4M incomplete"
    );
    assert_eq!(find(&lines, " spool ").chars().last(), Some('B'), "{lines:#?}");
    let row = find(&lines, "access");
    assert!(row.contains("1023.9 KiB in 1.2M ") && row.ends_with(" 8,814,804"), "{row}");
    let wide = text(&drawn(&state, 200, 50));
    let all = wide.join("\n");
    for exact in [
        " 2xx 469,134  3xx 469,134  4xx 469,134  5xx 469,134  none 469,134   1,469,134 failed and repeated",
        "1,469,134 ring full, low, 1,469,134 spool full, 1,469,134 end unseen, 1,469,134 panic   1,172,835/s now",
        "1,469,134 in quarantine   1,469,134 without a key   1,469,134 cut lines   1,469,134 incomplete lines",
    ] {
        assert!(all.contains(exact), "{exact}: {all}");
    }
}

#[test]
fn other_causes_are_told_only_where_there_are_some() {
    for (causes, told) in [
        (
            &["shed_high", "dropped_spool", "dropped_panic"][..],
            " dropped  1.4M ring full, high, 1.4M spool full, 1.4M panic   938k/s now",
        ),
        (
            &["shed_high", "shed_normal", "dropped_panic"],
            " dropped  1.4M ring full, high, 1.4M ring full, normal, 1.4M panic   703k/s now",
        ),
        (
            &["shed_high", "shed_normal", "dropped_spool"],
            " dropped  1.4M ring full, high, 1.4M ring full, normal, others   703k/s now",
        ),
    ] {
        let lines = text(&drawn(&large_numbers(causes, &[], &[]), 80, 24));
        assert!(lines.iter().any(|line| line == told), "{told}: {lines:#?}");
    }
}

#[test]
fn the_numbers_of_a_stream_that_has_lost_everything_fit_its_row() {
    let values = [
        ("shed_normal", 1_234_567_890),
        ("records", 0),
        ("oldest_unsent", 86_400 * 123 + 3_600 * 23),
        ("ring_used", 1),
        ("ring_size", 1),
    ];
    let mut state = State::new();
    state.push(sample(0, vec![StreamCounters::example("access", &values)]));
    let more = [values.as_slice(), &[("records", 123_456_789)]].concat();
    state.push(sample(1, vec![StreamCounters::example("access", &more)]));
    state.frozen = true;
    let mut lines = text(&drawn(&state, 80, 24));
    let row = lines.iter().find(|line| line.starts_with("access")).unwrap();
    let words: Vec<&str> = row.split_whitespace().collect();
    assert_eq!(
        words,
        ["access", "123M", "0.0", "100", "%", "0", "B", "in", "0", "123d", "23h", "none", "1.2G"]
    );
    state.push(Sample { uptime: Some(86_400 * 123 + 3_600 * 23), ..sample(2, Vec::new()) });
    for _ in 0..3 {
        lines = text(&drawn(&state, 80, 24));
        assert!(lines[0].ends_with("FROZEN"), "{lines:#?}");
        state.key(KeyEvent::new(KeyCode::Char('s'), KeyModifiers::NONE));
    }
}

#[test]
fn a_module_that_counts_less_is_shown_without_a_limit_and_without_answers() {
    let mut state = State::new();
    for second in 0..3 {
        let values = [
            ("spooled_bytes", 5 << 20),
            ("spooled_blocks", 31),
            ("last_status", 200),
            ("blocks_uploaded", 4),
        ];
        state.push(sample(second, vec![StreamCounters::example("access", &values)]));
    }
    let lines = text(&drawn(&state, 80, 24));
    let find = |name: &str| lines.iter().find(|line| line.starts_with(name)).unwrap();
    assert!(find(" spool ").ends_with(" 5.0 MiB in 31 blocks, had 5.0 MiB"), "{lines:#?}");
    assert_eq!(find(" sending "), " sending  not told by this module");
    assert_eq!(find(" answers "), " answers  last 200  0 failed and repeated");
}

#[test]
fn the_same_on_a_wide_terminal_has_longer_bars_and_every_stream() {
    let buffer = drawn(&outage(), 200, 50);
    let lines = text(&buffer);
    let bar = |lines: &[String]| {
        let ring = lines.iter().find(|line| line.starts_with(" ring ")).unwrap();
        ring.chars().filter(|c| "█·|".contains(*c)).count()
    };
    assert!(bar(&lines) > bar(&text(&drawn(&outage(), 80, 24))));
    assert!(lines.iter().any(|line| line.starts_with("errors")), "{lines:#?}");
}

#[test]
fn a_node_that_works_is_green_and_says_that_nothing_was_dropped() {
    let mut state = outage();
    state.key(KeyEvent::new(KeyCode::Down, KeyModifiers::NONE));
    let buffer = drawn(&state, 80, 24);
    let all = text(&buffer).join("\n");
    assert!(all.contains(" errors ") && all.contains(" dropped  nothing"), "{all}");
    assert_eq!(colour(&buffer, "last 200"), Color::Green);
}

#[test]
fn a_node_without_counters_says_why_and_what_to_do() {
    let mut state = State::new();
    let problem = Some("varnishstat: ended with exit status: 1\u{1b}[2J".to_owned());
    state.push(Sample { problem, ..Sample::default() });
    let all = text(&drawn(&state, 80, 24)).join("\n");
    assert!(all.contains("no counters: varnishstat: ended with exit status: 1\\u{1b}[2J"), "{all}");
    assert!(all.contains("-> Start Varnish"), "{all}");
}

#[test]
fn lines_are_shown_newest_last_and_cannot_write_to_the_terminal() {
    let mut state = outage();
    state.lines = Some((0..100).map(|n| format!("line {n}\u{1b}[1m")).collect());
    let lines = text(&drawn(&state, 80, 24));
    assert_eq!(lines[22], "line 99\\u{1b}[1m");
    assert!(lines.iter().any(|line| line.contains("newest lines of access")));
}

#[test]
fn no_size_of_a_terminal_is_too_small_to_draw() {
    for (width, height) in [(1, 1), (10, 3), (20, 8), (80, 10), (40, 24)] {
        drawn(&outage(), width, height);
        drawn(&State::new(), width, height);
    }
}
