//! What a person at a terminal sees: colours and progress bars, and `NO_COLOR`. The terminal is
//! that of util-linux's `script`.

use std::process::Command;

use crate::common::logs::{Logs, Ran, run};

/// Runs `s3log ARGUMENTS`, a shell's, on a terminal.
pub(crate) fn on_a_terminal(logs: &Logs, arguments: &str, variables: &[(&str, &str)]) -> Ran {
    let line = format!("{} {arguments}", env!("CARGO_BIN_EXE_s3log"));
    let mut script = Command::new("script");
    script.args(["--quiet", "--return", "--command", &line, "/dev/null"]);
    script.env_clear().env("PATH", "/usr/bin:/bin").env("SHELL", "/bin/sh");
    script.env("S3LOG_CONFIG", logs.path("s3log.toml")).env("TERM", "xterm");
    run(script.envs(variables.iter().copied()))
}

/// A colour or another rendition, as ECMA-48 writes it: `ESC [ ... m`.
fn coloured(text: &str) -> bool {
    text.split("\x1b[").skip(1).any(|rest| {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != ';');
        end.and_then(|at| rest.get(at..)).is_some_and(|rest| rest.starts_with('m'))
    })
}

#[test]
fn colours_go_to_a_terminal_unless_no_color_is_set() {
    let logs = Logs::usual();
    // Also where something is wrong: a block is gone.
    for (arguments, code) in [("ls access", 0), ("verify access", 0), ("verify access", 1)] {
        if code == 1 {
            logs.delete(&logs.blocks[4].key);
        }
        let ran = on_a_terminal(&logs, arguments, &[]);
        assert_eq!(ran.code, code, "{ran:?}");
        assert!(coloured(&ran.out), "{ran:?}");
        for plain in [("NO_COLOR", "1"), ("TERM", "dumb")] {
            let ran = on_a_terminal(&logs, arguments, &[plain]);
            assert_eq!(ran.code, code, "{ran:?}");
            assert!(!coloured(&ran.out), "{plain:?}: {ran:?}");
        }
        // <https://no-color.org>: when not empty.
        assert!(coloured(&on_a_terminal(&logs, arguments, &[("NO_COLOR", "")]).out));
        let piped = on_a_terminal(&logs, &format!("{arguments} | cat"), &[]);
        assert!(!coloured(&piped.out), "{piped:?}");
    }
}

#[test]
fn help_and_errors_are_without_colours_when_no_color_is_set() {
    let logs = Logs::start();
    for arguments in ["--help", "cat --help", "cat --no-such-flag", "cat acces"] {
        let ran = on_a_terminal(&logs, arguments, &[("NO_COLOR", "1")]);
        assert!(!ran.out.is_empty(), "{ran:?}");
        assert!(!coloured(&ran.out), "{ran:?}");
    }
    assert!(coloured(&on_a_terminal(&logs, "--help", &[]).out));
}

#[test]
fn help_says_how_a_command_goes_about_it_in_lines_no_wider_than_the_terminal() {
    let logs = Logs::start();
    for (command, words) in [
        ("cat", "Blocks are printed as a whole"),
        ("tail", "-f runs until"),
        ("ls", "requests the metadata of each block"),
        ("stats", "takes no lock"),
        ("drain", "Exit codes: 0 everything is in the bucket"),
    ] {
        let line =
            format!("stty rows 24 cols 80 && {} {command} --help", env!("CARGO_BIN_EXE_s3log"));
        let ran = on_a_terminal(&logs, &format!("--version && {line}"), &[("NO_COLOR", "1")]);
        assert_eq!(ran.code, 0, "{ran:?}");
        let text = ran.out.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(text.contains(words), "no {words:?} in {}", ran.out);
        for line in ran.out.lines() {
            assert!(line.trim_end().chars().count() <= 80, "{line}");
        }
    }
}

#[test]
fn progress_is_shown_on_a_terminal_and_nowhere_else() {
    let logs = Logs::usual();
    let watched = on_a_terminal(&logs, "verify --download access", &[]);
    assert!(watched.out.contains("keys listed"), "{watched:?}");
    // Bars are on standard error; what is printed is the same without them.
    let apart = on_a_terminal(&logs, "verify --download access 2>/dev/null", &[("NO_COLOR", "1")]);
    assert!(!apart.out.contains("keys listed"), "{apart:?}");
    let ran = logs.s3log(&["verify", "--download", "access"]);
    assert_eq!(ran.err, "");
    assert_eq!(apart.out.replace("\r\n", "\n"), ran.out);
}
