//! `s3log init`: the files of a node, as often as it is run. `tests/vtc` loads its VCL.

use std::path::Path;
use std::process::Command;

use crate::common::logs::{Logs, Ran, run};
use crate::common::s3_server::{ACCESS_KEY, BUCKET, SECRET_KEY};

/// Who runs the tests, who may give a file to no other user.
fn me() -> String {
    let output = Command::new("id").arg("-un").output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// `s3log init` into folders of `logs`, in its bucket.
fn init(logs: &Logs, more: &[&str]) -> Ran {
    let at = |name: &str| logs.path(name).display().to_string();
    let (directory, spool, systemd) = (at("etc"), at("lib/spool"), at("systemd"));
    let (me, endpoint) = (me(), logs.server.endpoint());
    let given = [
        "init",
        "--endpoint",
        &endpoint,
        "--bucket",
        BUCKET,
        "--directory",
        &directory,
        "--spool",
        &spool,
        "--systemd",
        &systemd,
        "--user",
        &me,
    ];
    run(logs.command(&[&given, more].concat()).env_remove("S3LOG_CONFIG"))
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap());
    let mut names: Vec<String> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn init_makes_what_a_node_needs_and_a_second_run_changes_nothing() {
    let logs = Logs::start();
    let dry = init(&logs, &["--dry-run"]);
    assert_eq!(dry.code, 0, "{dry:?}");
    assert!(dry.out.contains("would be made"), "{dry:?}");
    assert!(!logs.path("etc").exists() && !logs.path("lib").exists(), "{dry:?}");

    let first = init(&logs, &[]);
    assert_eq!(first.code, 0, "{first:?}");
    assert_eq!(names(&logs.path("etc")), ["s3log.credentials", "s3log.toml", "s3log.vcl"]);
    assert!(names(&logs.path("systemd")).contains(&"s3log.conf".to_owned()));
    assert!(logs.path("lib/spool").is_dir());
    let (next, read) = first.out.split_once("\nNext:\n").unwrap().1.split_once("\n\n").unwrap();
    let next: Vec<&str> = next.lines().collect();
    assert_eq!(next.len(), 3, "three commands follow: {next:?}");
    assert!(next[0].contains("${EDITOR:-vi} "), "{next:?}");
    // What is said of reading is a command that works.
    let settings = logs.path("etc/s3log.toml").display().to_string();
    let written = std::fs::read_to_string(&settings).unwrap();
    let period = written.lines().find_map(|line| line.strip_prefix("period = ")).unwrap();
    let wait = period.trim_matches(['"', '\'', 's']);
    assert!(
        read.contains(&format!("at most {wait} seconds (`period`) after a request: ")),
        "{read}"
    );
    let command = format!("s3log cat --config {settings} access\n");
    assert!(read.ends_with(&command), "{read:?} {command:?}");

    let again = init(&logs, &[]);
    assert_eq!(again.code, 0, "{again:?}");
    let before = again.out.split("\nNext:\n").next().unwrap();
    assert!(before.lines().all(|line| line.starts_with("unchanged  ")), "{again:?}");
}

#[test]
fn init_says_which_programs_the_mask_blinds_when_it_makes_it_and_not_otherwise() {
    const BLIND: &str =
        "varnishncsa, varnishtop, varnishhist and varnishlog without -g raw show no request";
    let logs = Logs::start();
    assert!(init(&logs, &["--dry-run"]).out.contains(BLIND));
    assert!(!init(&logs, &["--dry-run", "--keep-mask"]).out.contains(BLIND));
    assert!(init(&logs, &[]).out.contains(BLIND));
    assert!(!init(&logs, &[]).out.contains(BLIND), "it is told once");
}

#[test]
fn init_with_a_key_in_the_file_tries_the_gateway_and_keeps_the_key() {
    let logs = Logs::start();
    init(&logs, &[]);
    let text =
        format!("[default]\naws_access_key_id={ACCESS_KEY}\naws_secret_access_key={SECRET_KEY}\n");
    std::fs::write(logs.path("etc/s3log.credentials"), &text).unwrap();
    let ran = init(&logs, &["--force"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.out.contains("ok      write        stored "), "{ran:?}");
    assert!(ran.out.contains("kept"), "{ran:?}");
    assert_eq!(std::fs::read_to_string(logs.path("etc/s3log.credentials")).unwrap(), text);
    std::fs::write(logs.path("etc/s3log.credentials"), text.replace(SECRET_KEY, "wrong")).unwrap();
    assert_eq!(init(&logs, &[]).code, 1, "a gateway that refuses is a failure");
    assert_eq!(init(&logs, &["--no-check"]).code, 0);
}

#[test]
fn init_shows_what_differs_and_leaves_it_unless_forced() {
    let logs = Logs::start();
    init(&logs, &[]);
    let settings = logs.path("etc/s3log.toml");
    let own = std::fs::read_to_string(&settings).unwrap().replace("10s", "1m");
    std::fs::write(&settings, &own).unwrap();
    let ran = init(&logs, &[]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.out.contains("DIFFERS"), "{ran:?}");
    assert!(ran.out.contains("    -period = '1m'\n    +period = '10s'\n"), "{ran:?}");
    assert_eq!(std::fs::read_to_string(&settings).unwrap(), own);
    assert_eq!(init(&logs, &["--force"]).code, 0);
    assert_ne!(std::fs::read_to_string(&settings).unwrap(), own);
}

#[test]
fn init_refuses_what_a_load_would_refuse_and_writes_nothing() {
    let logs = Logs::start();
    for (more, why) in [
        (&["--format", "%Q"][..], "--format: "),
        (&["--path", "/slash/"], "path is \"/slash/\"; expected"),
        (&["--encrypt-to", "age1nonsense"], "encrypt_to"),
        (&["9lives"], "is no name of a VCL object"),
    ] {
        let ran = init(&logs, more);
        assert_eq!(ran.code, 2, "{ran:?}");
        assert!(ran.err.contains(why), "{ran:?}");
    }
    let given = ["init", "--bucket", BUCKET, "--user", "no-such-user"];
    let ran = run(logs.command(&given).env_remove("S3LOG_CONFIG"));
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.err.contains("--user no-such-user: no such user"), "{ran:?}");
    let mut command = logs.command(&["init", "--user", &me()]);
    let ran = run(command.env_remove("S3LOG_CONFIG"));
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.err.contains("--bucket is missing"), "{ran:?}");
    assert!(!logs.path("etc").exists());
}
