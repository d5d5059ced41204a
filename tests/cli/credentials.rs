//! `s3log credentials`: what a program hands out becomes a file that the stream can read.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use vmod_s3log::s3::credentials::{ProcessEnvironment, Sources, chain};
use vmod_s3log::s3::{Endpoint, Options};

const SECRET: &str = "SECRET-wJalrXUtnFEMI";
const GOOD: &str = "{\"Version\": 1, \"AccessKeyId\": \"ASIAPROGRAM\", \
     \"SecretAccessKey\": \"SECRET-wJalrXUtnFEMI\", \"SessionToken\": \"TOKEN\", \
     \"Expiration\": \"2090-01-01T00:00:00Z\"}";

/// Runs it with a program that is this shell script.
fn run(output: &Path, more: &[&str], script: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_s3log"))
        .args(["credentials", "--output", output.to_str().unwrap()])
        .args(more)
        .args(["--exec", "/bin/sh", "-c", script])
        .output()
        .unwrap()
}

#[test]
fn the_file_is_one_that_the_stream_reads_with_the_key_s_expiry() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("credentials");
    let done = run(&path, &[], &format!("printf '%s' '{GOOD}'"));
    assert!(done.status.success(), "{done:?}");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let sources = Sources { file: Some(path.clone()), ..Sources::default() };
    let variables = Arc::new(ProcessEnvironment) as Arc<_>;
    let gateway = Endpoint::parse("https://gateway.example", false).unwrap();
    let cache = chain(&sources, &variables, &gateway, &Options::default()).unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let found = cache.get(now).unwrap();
    assert_eq!(found.access_key(), "ASIAPROGRAM");
    assert!(found.is_temporary());
    assert_eq!(found.expires(), Some(Duration::from_secs(3_786_912_000)));
    // A mode that somebody chose stays, and nothing else is left in the folder.
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    let done = run(&path, &["--profile", "edge"], &format!("printf '%s' '{GOOD}'"));
    assert!(done.status.success(), "{done:?}");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
    assert!(std::fs::read_to_string(&path).unwrap().contains("\n[edge]\n"));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn a_program_that_fails_leaves_the_file_as_it_was_and_no_secret_in_the_message() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("credentials");
    std::fs::write(&path, "as it was").unwrap();
    let half = format!("printf '{{\"Version\": 1, \"SecretAccessKey\": \"{SECRET}\"'");
    let other = format!("printf '%s' '{}'", GOOD.replace("\"Version\": 1", "\"Version\": 2"));
    let spaces = format!("printf '%s' '{}'", GOOD.replace("TOKEN", "TO KEN"));
    let date = format!("printf '%s' '{}'", GOOD.replace("2090-01-01T00:00:00Z", "soon"));
    for (script, more, said) in [
        ("exit 3", &[][..], "ended with exit status: 3"),
        (half.as_str(), &[], "printed no JSON object"),
        (&other, &[], "printed Version 2: 1 is known"),
        (&spaces, &[], "has spaces or line breaks"),
        (&date, &[], "printed an Expiration that is not a date"),
        ("yes | head -c 70000", &[], "printed more than 65536 bytes"),
        ("exec sleep 600", &["--timeout", "300ms"], "did not end within 0.3 s"),
    ] {
        let done = run(&path, more, script);
        let text = String::from_utf8(done.stderr).unwrap();
        assert_eq!(done.status.code(), Some(1), "{script}: {text}");
        assert!(text.contains(said), "{script}: {text}");
        assert!(text.starts_with("s3log: /bin/sh: ") && !text.contains(SECRET), "{text}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "as it was");
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn a_program_or_a_folder_that_is_not_there_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let missing = Command::new(env!("CARGO_BIN_EXE_s3log"))
        .args(["credentials", "--output", "/nonexistent/file", "--exec", "/nonexistent/program"])
        .output()
        .unwrap();
    let text = String::from_utf8(missing.stderr).unwrap();
    assert!(text.starts_with("s3log: /nonexistent/program: cannot be run: "), "{text}");
    let done = run(&dir.path().join("a/b"), &[], &format!("printf '%s' '{GOOD}'"));
    let text = String::from_utf8(done.stderr).unwrap();
    assert!(text.contains("a/b: No such file or directory"), "{text}");
    assert!(!text.contains(SECRET), "{text}");
}

#[test]
fn following_a_key_that_does_not_expire_ends_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("credentials");
    let script = "printf '{\"Version\": 1, \"AccessKeyId\": \"A\", \"SecretAccessKey\": \"S\"}'";
    let done = run(&path, &["--follow"], script);
    assert!(done.status.success(), "{done:?}");
    assert!(String::from_utf8(done.stdout).unwrap().contains("nothing to follow"));
    assert!(std::fs::read_to_string(&path).unwrap().ends_with("aws_secret_access_key = S\n"));
}
