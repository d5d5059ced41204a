//! `s3log top`: what it prints and when it ends. `src/cli/top/view` has what it draws, `tests/vtc` a real
//! varnishd.

use std::time::SystemTime;

use serde_json::Value;

use crate::common::logs::Logs;
use crate::terminal::on_a_terminal;

#[test]
fn top_needs_a_terminal_or_json_and_says_why_there_are_no_counters() {
    let logs = Logs::start();
    let nobody = logs.path("no-varnishd").display().to_string();
    let ran = logs.s3log(&["top", "-n", &nobody]);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.err.contains("standard output is no terminal; --json"), "{ran:?}");
    let ran =
        logs.s3log(&["top", "-n", &nobody, "--json", "--moments", "2", "--interval", "100ms"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let lines: Vec<Value> =
        ran.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2, "{ran:?}");
    assert!(lines.iter().all(|line| line["problem"].as_str().unwrap().contains("varnishstat")));
    assert_eq!(logs.s3log(&["top", "--interval", "1ms"]).code, 2);
}

#[test]
fn top_draws_on_a_terminal_and_gives_it_back() {
    let logs = Logs::start();
    let nobody = logs.path("no-varnishd").display().to_string();
    let program = env!("CARGO_BIN_EXE_s3log");
    let line = format!("{program} top -n {nobody} --moments 2 --interval 100ms && stty -a");
    let ran = on_a_terminal(&logs, &format!("-V && stty rows 24 cols 80 && {line}"), &[]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let [screen, after] = ran.out.split("\x1b[?1049l").collect::<Vec<_>>()[..] else {
        panic!("the other screen is not left once: {ran:?}")
    };
    assert!(screen.contains("\x1b[?1049h") && screen.contains("s3log top"), "{ran:?}");
    assert!(after.contains(" icanon") && after.contains(" echo "), "{ran:?}");
}

#[test]
fn the_fleet_is_the_hosts_of_the_last_day_with_gaps_and_silence() {
    let mut logs = Logs::start();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    logs.now = now - 3_600;
    for _ in 0..3 {
        logs.block("access", "edge-old", 1, 5);
    }
    logs.now = now - 60;
    for _ in 0..3 {
        logs.block("access", "edge-new", 1, 5);
    }
    logs.delete(&logs.blocks[4].key);
    let ran = logs.s3log(&["top", "--fleet", "--json", "--moments", "1", "access"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let hosts: Vec<Value> =
        ran.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let seen: Vec<_> = hosts
        .iter()
        .map(|host| {
            (host["host"].as_str().unwrap(), host["silent"].as_bool().unwrap(), &host["missing"])
        })
        .collect();
    assert_eq!(seen, [("edge-old", true, &0.into()), ("edge-new", false, &1.into())]);
    let ran = logs.s3log(&["top", "--fleet", "--moments", "1", "access"]);
    assert!(ran.out.contains("ago, SILENT") && ran.out.contains("1 missing"), "{ran:?}");
}
