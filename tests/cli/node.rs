//! `s3log drain`, `requeue`, `stats` and `check`: what an operator runs on a node; and the generators.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, lchown, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::common::answering::{Answering, Reply, http};
use crate::common::fake::{Fake, Play, error, reply};
use crate::common::logs::{Logs, PATH, Ran, START, run};
use crate::common::moods::tag;
use crate::common::s3_server::{ACCESS_KEY, SECRET_KEY};
use crate::common::stream::Process;
use vmod_s3log::block::{BootId, ChunkEncoder, Codec, Drops, Naming};
use vmod_s3log::ring::{Backing, Capacity, Opened, Ring};
use vmod_s3log::settings::{Arguments, Settings};
use vmod_s3log::spool::{ChunkStats, Disk, Options, Payload, Spool};

/// Appends a chunk of two lines, dated `part` seconds after [`START`].
fn append(spool: &mut Spool, encoder: &mut ChunkEncoder, lines: &str, part: u64) -> Payload {
    let time = (START + part) * 1_000_000_000;
    let stats =
        ChunkStats { records: 2, raw_bytes: lines.len() as u64, first: time, last: time, cut: 0 };
    let mut chunk = Vec::new();
    encoder.encode(lines.as_bytes(), &mut chunk).unwrap();
    spool.append(&chunk, stats).unwrap()
}

/// A spool as a killed varnishd leaves it: two sealed blocks, an open one, and records in the ring.
/// All lines, in order.
pub(crate) fn left_behind(logs: &Logs) -> String {
    let root = logs.path("spool/access");
    let disk = Disk::open(&root).unwrap();
    let path = root.join("ring");
    let Opened { ring, mut reader, .. } = Ring::open(Backing::File(&path), Capacity::MIN).unwrap();
    let mut options = Options::new("access", "edge-1", BootId::new(START, 7));
    options.naming = Naming::new(PATH, Naming::DEFAULT_TIMESTAMP).unwrap();
    let (mut spool, _) = Spool::open(Arc::new(disk), options, None).unwrap();
    let mut encoder = ChunkEncoder::new(Codec::default()).unwrap();
    let mut all = String::new();
    for part in 0..3u64 {
        let lines = format!("sealed or open {part} a\nsealed or open {part} b\n");
        let payload = append(&mut spool, &mut encoder, &lines, part);
        reader.commit(payload.as_bytes()).unwrap();
        if part < 2 {
            let (_, payload) = spool.seal(&Drops::default()).unwrap().unwrap();
            reader.commit(payload.as_bytes()).unwrap();
        }
        all.push_str(&lines);
    }
    for n in 0..5 {
        let line = format!("still in the ring {n}\n");
        ring.push(line.as_bytes()).unwrap();
        all.push_str(&line);
    }
    all
}

#[test]
fn drain_uploads_sealed_blocks_the_open_one_and_what_is_in_the_ring() {
    let logs = Logs::start();
    let lines = left_behind(&logs);
    let ran = logs.s3log(&["drain", "access", "--set", "ring=1MB"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.out.starts_with("access: 3 blocks with 11 records uploaded, "), "{}", ran.out);
    assert_eq!(logs.s3log(&["cat", "access"]).out, lines);
    assert_eq!(logs.s3log(&["verify", "access", "--deep"]).code, 0);
    let again = logs.s3log(&["drain", "access", "--json", "--set", "ring=1MB"]);
    assert_eq!(again.code, 0);
    let json: serde_json::Value = serde_json::from_str(&again.out).unwrap();
    assert_eq!(json["drained"], true);
    assert_eq!(json["counters"]["blocks_uploaded"], 0);
}

#[test]
fn drain_with_another_ring_size_loses_nothing() {
    let logs = Logs::start();
    let lines = left_behind(&logs);
    assert_eq!(logs.s3log(&["drain", "access"]).code, 0);
    assert_eq!(logs.s3log(&["cat", "access"]).out, lines);
}

#[test]
fn drain_that_gives_up_says_what_is_left_and_leaves_it() {
    let logs = Logs::start();
    let lines = left_behind(&logs);
    logs.credentials("wrong-secret");
    let ran = logs.s3log(&["drain", "access", "--timeout", "2s"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.out.contains("access: NOT DRAINED: 3 blocks with 11 records and "), "{ran:?}");
    assert!(ran.err.contains("the gateway refuses the credentials"), "{ran:?}");
    assert!(!ran.err.contains("wrong-secret"), "{ran:?}");
    logs.credentials(SECRET_KEY);
    assert_eq!(logs.s3log(&["drain", "access"]).code, 0);
    assert_eq!(logs.s3log(&["cat", "access"]).out, lines);
}

#[test]
fn drain_of_a_spool_that_cannot_be_read_in_time_does_not_call_it_drained() {
    let logs = Logs::start();
    let lines = left_behind(&logs);
    // The folder is not root's, for which no mode counts.
    give(&logs.path(""), 54321);
    // What the ring holds goes into blocks, so that nothing tells of them but the folder.
    logs.credentials("wrong-secret");
    assert_eq!(logs.s3log(&["drain", "access", "--timeout", "2s"]).code, 1);
    logs.credentials(SECRET_KEY);
    let root = logs.path("spool/access");
    let quarantine = root.join("quarantine");
    let allow = |mode| fs::set_permissions(&quarantine, fs::Permissions::from_mode(mode)).unwrap();
    allow(0o000);
    let ran = logs.s3log(&["drain", "access", "--timeout", "1s"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    let left = format!("access: NOT DRAINED: {} was not read: ", root.display());
    assert!(ran.out.contains(&left), "{ran:?}");
    assert!(!ran.out.contains("uploaded"), "nobody knows how much is left: {ran:?}");
    assert!(ran.err.contains("list quarantine"), "{ran:?}");
    let ran = logs.s3log(&["drain", "access", "--timeout", "1s", "--json"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    let json: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((&json["drained"], &json["spool_read"]), (&false.into(), &false.into()), "{ran:?}");
    allow(0o700);
    let ran = logs.s3log(&["drain", "access", "--json"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let json: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((&json["drained"], &json["spool_read"]), (&true.into(), &true.into()), "{ran:?}");
    assert_eq!(logs.s3log(&["cat", "access"]).out, lines);
}

#[test]
fn drain_refuses_a_spool_in_use_and_one_that_is_not_there() {
    let logs = Logs::start();
    let ran = logs.s3log(&["drain", "access"]);
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("no spool at "), "{}", ran.err);
    assert!(!logs.path("spool").exists(), "and makes none");
    left_behind(&logs);
    let held = Disk::open(&logs.path("spool/access")).unwrap();
    let ran = logs.s3log(&["drain", "access"]);
    assert_eq!(ran.code, 1);
    let who = format!("access: process {} uses the spool", std::process::id());
    assert!(ran.err.contains(&who) && ran.err.contains("stop varnishd"), "{}", ran.err);
    drop(held);
}

/// Gives what is there, and all below it, to a user; only root may.
fn give(path: &Path, user: u32) -> bool {
    let given = lchown(path, Some(user), Some(user)).is_ok();
    let entries = if path.is_dir() { path.read_dir().ok() } else { None };
    given && entries.into_iter().flatten().all(|entry| give(&entry.unwrap().path(), user))
}

#[test]
fn drain_as_root_leaves_nothing_that_the_spools_user_cannot_read() {
    let logs = Logs::start();
    let lines = left_behind(&logs);
    let top = logs.path("");
    if !give(&top, 54321) {
        return;
    }
    // It packs and seals, and all of that stays.
    logs.credentials("wrong-secret");
    let ran = logs.s3log(&["drain", "access", "--timeout", "2s"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    let owners = |path: &Path| {
        let entries = path.read_dir().unwrap().map(|entry| entry.unwrap().metadata().unwrap());
        entries.map(|found| (found.uid(), found.gid())).collect::<BTreeSet<_>>()
    };
    assert_eq!(owners(&logs.path("spool/access")), BTreeSet::from([(54321, 54321)]));
    logs.credentials(SECRET_KEY);
    let ran = logs.s3log(&["drain", "access"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(logs.s3log(&["cat", "access"]).out, lines);
}

#[test]
fn drain_refuses_the_spool_of_another_user_and_leaves_it_as_it_is() {
    let logs = Logs::start();
    left_behind(&logs);
    let (top, root) = (logs.path(""), logs.path("spool/access"));
    if !give(&top, 54322) || !give(&root, 54321) {
        return;
    }
    let names = || {
        root.read_dir().unwrap().map(|entry| entry.unwrap().file_name()).collect::<BTreeSet<_>>()
    };
    let before = names();
    // The program may lie where that user does not come.
    let program = logs.path("program");
    fs::copy(env!("CARGO_BIN_EXE_s3log"), &program).unwrap();
    fs::set_permissions(&root, fs::Permissions::from_mode(0o755)).unwrap();
    let drain = logs.command(&["drain", "access", "--set", "ring=1MB"]);
    let mut command = Command::new(&program);
    command.args(drain.get_args()).env_clear().env("S3LOG_CONFIG", logs.path("s3log.toml"));
    let ran = run(command.uid(54322).gid(54322));
    assert_eq!((ran.code, &*ran.out), (2, ""), "{ran:?}");
    let who =
        format!("{}: it belongs to the user with id 54321: run the command as", root.display());
    assert!(ran.err.contains(&who) && ran.err.contains("sudo -u '#54321'"), "{}", ran.err);
    assert_eq!(names(), before);
}

/// A directory of root's that calls itself a spool, as anybody can do in /tmp; with what is in it.
fn of_root(path: &Path) -> BTreeSet<std::ffi::OsString> {
    fs::create_dir(path).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    for name in ["format", "of root"] {
        fs::write(path.join(name), "s3log spool 1\n").unwrap();
    }
    names(path)
}

fn names(path: &Path) -> BTreeSet<std::ffi::OsString> {
    path.read_dir().unwrap().map(|entry| entry.unwrap().file_name()).collect()
}

#[test]
fn root_is_not_led_into_a_directory_of_its_own_by_who_owns_the_spool() {
    let logs = Logs::start();
    left_behind(&logs);
    let (top, root, target) = (logs.path(""), logs.path("spool/access"), logs.path("elsewhere"));
    if !give(&top, 54321) {
        return;
    }
    let before = of_root(&target);
    let refuses = |arguments: &[&str], why: &str| {
        let ran = logs.s3log(arguments);
        assert_eq!((ran.code, &*ran.out), (2, ""), "{arguments:?}: {ran:?}");
        let why = format!("{}: {why}", root.display());
        assert!(ran.err.contains(&why), "{arguments:?}: {ran:?}");
        assert_eq!(target.metadata().map_or(0o755, |found| found.mode() & 0o7777), 0o755);
    };
    let all = [&["drain", "access"][..], &["requeue", "access", "--all"]];
    fs::rename(&root, logs.path("away")).unwrap();
    // By a link of the spool's user.
    symlink(&target, &root).unwrap();
    lchown(&root, Some(54321), Some(54321)).unwrap();
    let link = format!("it is a link to {}, which belongs to the user with id 0", target.display());
    all.iter().for_each(|arguments| refuses(arguments, &link));
    assert_eq!(names(&target), before);
    // By a link of root's that the spool's user has found elsewhere, and by the directory itself.
    lchown(&root, Some(0), Some(0)).unwrap();
    let other = format!("it belongs to root, and {} to the user", logs.path("spool").display());
    all.iter().for_each(|arguments| refuses(arguments, &other));
    assert_eq!(names(&target), before);
    fs::remove_file(&root).unwrap();
    fs::rename(&target, &root).unwrap();
    all.iter().for_each(|arguments| refuses(arguments, &other));
    assert_eq!(names(&root), before);
}

#[test]
fn a_spool_that_root_has_put_elsewhere_by_a_link_is_drained_as_its_user() {
    let logs = Logs::start();
    let lines = left_behind(&logs);
    let (root, elsewhere) = (logs.path("spool/access"), logs.path("elsewhere"));
    let given = give(&logs.path(""), 54321);
    fs::rename(&root, &elsewhere).unwrap();
    symlink(&elsewhere, &root).unwrap();
    let ran = logs.s3log(&["drain", "access"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(logs.s3log(&["cat", "access"]).out, lines);
    let mut entries = elsewhere.read_dir().unwrap().map(|entry| entry.unwrap());
    assert!(!given || entries.all(|entry| entry.metadata().unwrap().uid() == 54321));
}

#[test]
fn requeue_as_root_asks_as_the_spools_user() {
    let logs = Logs::start();
    left_behind(&logs);
    let quarantine = logs.path("spool/access/quarantine");
    for end in ["json", "data"] {
        let name = format!("0000000001.{end}");
        fs::rename(logs.path("spool/access").join(&name), quarantine.join(&name)).unwrap();
    }
    if !give(&logs.path(""), 54321) {
        return;
    }
    let ran = logs.s3log(&["requeue", "access", "--all"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let asked = quarantine.join("0000000001.requeue").metadata().unwrap();
    assert_eq!((asked.uid(), asked.gid()), (54321, 54321));
}

#[test]
fn stats_shows_ring_and_spool_and_touches_nothing() {
    let logs = Logs::start();
    left_behind(&logs);
    let root = logs.path("spool/access");
    let held = Disk::open(&root).unwrap();
    let names = || {
        let entries = std::fs::read_dir(&root).unwrap().map(|e| e.unwrap());
        let mut names: Vec<_> =
            entries.map(|e| (e.file_name(), e.metadata().unwrap().modified().unwrap())).collect();
        names.sort();
        names
    };
    let before = names();
    let ran = logs.s3log(&["stats", "access"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.out.contains(&format!("in use by process {}", std::process::id())), "{}", ran.out);
    assert!(ran.out.contains("of 1.0 MiB"), "{}", ran.out);
    assert!(ran.out.contains("open block   number 3, 2 records"), "{}", ran.out);
    assert!(ran.out.contains("waiting      2 blocks, 4 records"), "{}", ran.out);
    assert_eq!(names(), before);
    drop(held);
    let spool = logs.path("spool");
    let mut command = logs.command(&["stats", "--json", "--spool", spool.to_str().unwrap()]);
    let ran = run(command.env_remove("S3LOG_CONFIG"));
    let json: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(json["stream"], "access");
    assert_eq!(json["holder"], serde_json::Value::Null);
    assert_eq!(json["waiting"]["records"], 4);
    assert_eq!(json["oldest"]["number"], 1);
    assert_eq!(json["open"]["records"], 2);
    assert!(json["ring"]["used"].as_u64().unwrap() >= 5 * 24);
    assert_eq!(json["damaged"], serde_json::json!({ "blocks": 0, "bytes": 0 }));
}

/// The same in a minute at most.
fn in_time(command: &Command) -> Ran {
    let mut limited = Command::new("timeout");
    limited.arg("60").arg(command.get_program()).args(command.get_args());
    let set = command.get_envs().filter_map(|(name, value)| Some((name, value?)));
    run(limited.envs(set))
}

#[test]
fn stats_waits_for_nobody_at_the_other_end_of_a_fifo_and_tells_what_it_could_not_read() {
    let logs = Logs::start();
    left_behind(&logs);
    let root = logs.path("spool/access");
    fs::remove_file(root.join("ring")).unwrap();
    for name in ["ring", "0000000009.json", "0000000009.hold"] {
        let made = Command::new("mkfifo").arg(root.join(name)).status().unwrap();
        assert!(made.success());
    }
    for name in ["quarantine", "foreign"] {
        fs::remove_dir(root.join(name)).unwrap();
        fs::write(root.join(name), "no folder").unwrap();
    }
    let ran = in_time(&logs.command(&["stats", "access"]));
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.out.contains("waiting      2 blocks, 4 records"), "{ran:?}");
    assert!(ran.out.contains("  unreadable   4 files\n"), "{ran:?}");
}

#[test]
fn stats_tells_of_a_damaged_block_that_no_start_has_mended() {
    let logs = Logs::start();
    left_behind(&logs);
    let root = logs.path("spool/access");
    std::fs::remove_file(root.join("0000000002.json")).unwrap();
    let bytes = std::fs::metadata(root.join("0000000002.data")).unwrap().len();
    let spool = logs.path("spool");
    let ran = logs.s3log(&["stats", "access", "--json", "--spool", spool.to_str().unwrap()]);
    let json: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    // The open block has no description either.
    assert_eq!(json["damaged"], serde_json::json!({ "blocks": 1, "bytes": bytes }), "{ran:?}");
    assert_eq!(json["waiting"]["blocks"], 1);
    let ran = logs.s3log(&["stats", "access"]);
    assert!(ran.out.contains(&format!("  damaged      1 block, {bytes} B; ")), "{}", ran.out);
}

#[test]
fn stats_tells_of_a_block_that_waits_for_a_key_without_a_description() {
    let logs = Logs::start();
    left_behind(&logs);
    std::fs::write(logs.path("spool/access/0000000003.held"), "a line\n").unwrap();
    let ran = logs.s3log(&["stats", "access", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    let held = serde_json::json!({ "blocks": 1, "records": 0, "bytes": 7 });
    assert_eq!(json["held"], held, "{ran:?}");
}

#[test]
fn check_of_settings_that_are_fine_writes_an_object_that_the_others_pass_over() {
    let logs = Logs::usual();
    let ran = logs.s3log(&["check", "access"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    for step in ["settings", "name", "connection", "credentials", "clock", "write", "read"] {
        let ok = format!("ok      {step:11}  ");
        assert!(ran.out.contains(&ok), "{step}: {}", ran.out);
    }
    assert!(ran.out.contains(ACCESS_KEY) && !ran.out.contains(SECRET_KEY));
    assert!(ran.out.contains("/s3log-check-edge-1-"), "{}", ran.out);
    assert_eq!(logs.s3log(&["verify", "access"]).code, 0);
    assert_eq!(logs.s3log(&["cat", "access"]).out, logs.lines());
}

#[test]
fn check_says_which_kind_of_gateway_it_takes_and_why() {
    let logs = Logs::start();
    let ran = logs.s3log(&["check", "access"]);
    assert!(ran.out.contains(", gateway generic (by the endpoint's name)\n"), "{}", ran.out);
    let ran = logs.s3log(&["check", "access", "--set", "gateway=minio"]);
    assert!(ran.out.contains(", gateway minio (as set)\n"), "{}", ran.out);
}

#[test]
fn check_tests_each_route_for_which_records_wait_with_the_settings_of_its_folder() {
    let logs = Logs::start();
    let process = Process::new();
    let (spool, good) = (process.spool(), logs.server.endpoint());
    let given = [
        "check",
        "access",
        "--set",
        &format!("spool={}", spool.display()),
        "--set",
        "hostname=edge-1",
    ];
    let credentials = logs.path("credentials").display().to_string();
    let more = [("path", "old/%Y/"), ("credentials", &*credentials), ("period", "1h")];
    // One that works, one whose gateway is gone, and one for which nothing waits.
    let (works, gone) = (process.attach(&good, &more), process.attach("http://127.0.0.1:1", &more));
    let idle = process.attach(&good, &[("path", "idle/"), ("period", "1h")]);
    works.push("line", 0..1);
    gone.push("line", 0..1);
    let ran = logs.s3log(&given);
    assert_eq!(ran.code, 3, "{ran:?}");
    let settings: Vec<_> = ran.out.lines().filter(|line| line.contains(" settings ")).collect();
    assert_eq!(settings.len(), 3, "{ran:?}");
    assert!(!settings[0].contains("records that wait"), "{settings:?}");
    assert!(settings[1..].iter().all(|line| line.contains("for the records that wait in")));
    assert_eq!(ran.out.matches("ok      write ").count(), 2, "{ran:?}");
    assert!(ran.out.contains("/logs/old/"), "the probe has the route's path: {ran:?}");
    assert!(ran.out.contains("127.0.0.1:1 does not answer"), "{ran:?}");
    drop((works, gone, idle));
}

#[test]
fn check_of_a_route_whose_file_is_damaged_or_whose_settings_are_refused_says_so() {
    let logs = Logs::start();
    left_behind(&logs);
    let folder = logs.path("spool/access");
    std::fs::write(folder.join("route"), "damaged").unwrap();
    let ran = logs.s3log(&["check", "access"]);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.out.contains("its file route cannot be read: their route is unknown"), "{ran:?}");
    let saved = serde_json::json!({
        "route": "0123456789abcdef", "stream": "access", "readers": [],
        "arguments": {
            "endpoint": logs.server.endpoint(), "bucket": "logs", "gateway": "r2", "tags": "a=b",
        },
    });
    std::fs::write(folder.join("route"), saved.to_string()).unwrap();
    let ran = logs.s3log(&["check", "access"]);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.out.contains("with gateway = \"r2\""), "{ran:?}");
}

#[test]
fn check_and_who_uploads_tell_that_the_token_of_aws_sso_login_ends_soon() {
    let logs = Logs::start();
    let lines = left_behind(&logs);
    let unix = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let end = jiff::Timestamp::from_second(unix.as_secs() as i64 + 1500).unwrap();
    let credentials = logs.path("credentials");
    let start = "https://corp.awsapps.com/start";
    let text = format!(
        "[default]\nsso_start_url = {start}\nsso_region = eu-west-1\nsso_account_id = 1\n\
         sso_role_name = w\n"
    );
    std::fs::write(&credentials, text).unwrap();
    let cache = logs.path("sso/cache");
    std::fs::create_dir_all(&cache).unwrap();
    // `printf https://corp.awsapps.com/start | sha1sum`
    let file = cache.join("a51746d4aa793ae07b25e90c3a5db96fc7832bd7.json");
    std::fs::write(&file, format!("{{\"accessToken\":\"T\",\"expiresAt\":\"{end}\"}}")).unwrap();
    let body = format!(
        "{{\"roleCredentials\":{{\"accessKeyId\":\"{ACCESS_KEY}\",\"secretAccessKey\":\
         \"{SECRET_KEY}\",\"sessionToken\":\"S\",\"expiration\":{}}}}}",
        (unix.as_secs() + 3600) * 1000
    );
    let portal = Answering::start(move |_| Reply::Now(http("200 OK", &[], body.as_bytes())));
    let say =
        |words: &[&str]| run(logs.command(words).env("AWS_ENDPOINT_URL_SSO", portal.endpoint()));
    let login =
        "run aws sso login --profile default as the user that varnishd's child runs as before";
    let ran = say(&["check", "access"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(
        ran.out.lines().any(|line| line.starts_with("note    credentials") && line.contains(login))
    );
    let ran = say(&["drain", "access"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(ran.err.matches(login).count(), 1, "once for each end: {ran:?}");
    logs.credentials(SECRET_KEY);
    assert_eq!(logs.s3log(&["cat", "access"]).out, lines);
}

#[test]
fn check_fails_where_the_gateway_does_not_say_that_it_has_encrypted_what_it_was_asked_to() {
    let logs = Logs::start();
    let said = Arc::new(std::sync::Mutex::new(""));
    let (answers, stored) = (Arc::clone(&said), std::sync::Mutex::new(Vec::new()));
    let gateway = Answering::start(move |asked| {
        let mut stored = stored.lock().unwrap();
        if asked.method == "PUT" {
            *stored = asked.body.clone();
        }
        let etag = tag(&stored);
        let mut headers = vec![("ETag", etag.as_str())];
        let said = *answers.lock().unwrap();
        if !said.is_empty() {
            headers.push(("x-amz-server-side-encryption", said));
        }
        let body = if asked.method == "PUT" { &[][..] } else { &stored };
        Reply::Now(http("200 OK", &headers, body))
    });
    let endpoint = gateway.endpoint();
    for (wanted, answered, code, line) in [
        (
            "AES256",
            "",
            7,
            "FAILED  encryption   the gateway stores and does not say that it encrypts",
        ),
        ("AES256", "AES256", 0, "ok      encryption   the gateway says AES256"),
        ("aws:kms", "AES256", 7, "says AES256, and server_side_encryption is aws:kms"),
        ("aws:kms", "aws:kms", 0, "ok      encryption   the gateway says aws:kms"),
        ("", "", 0, "ok      read"),
    ] {
        *said.lock().unwrap() = answered;
        let option = format!("server_side_encryption={wanted}");
        let mut words = vec!["check", "access", "--endpoint", &endpoint];
        if !wanted.is_empty() {
            words.extend(["--set", &option]);
        }
        let ran = logs.s3log(&words);
        assert_eq!(ran.code, code, "{wanted} {answered}: {ran:?}");
        assert!(ran.out.contains(line), "{wanted} {answered}: {ran:?}");
        assert_eq!(ran.out.contains("  encryption  "), !wanted.is_empty(), "{ran:?}");
    }
}

#[test]
fn check_tells_each_failure_by_its_exit_code() {
    let logs = Logs::start();
    logs.credentials("wrong-secret");
    let ran = logs.s3log(&["check", "access"]);
    assert_eq!(ran.code, 5, "{ran:?}");
    assert!(
        ran.out.contains("FAILED  write        the gateway refuses the credentials"),
        "{ran:?}"
    );
    assert!(!ran.out.contains("wrong-secret"));

    logs.credentials(SECRET_KEY);
    let ran = logs.s3log(&["check", "access", "--endpoint", "http://127.0.0.1:1"]);
    assert_eq!(ran.code, 3, "{ran:?}");
    assert!(ran.out.contains("127.0.0.1:1 does not answer"), "{ran:?}");
    let ran = logs.s3log(&["check", "access", "--endpoint", "https://no-such-host.invalid"]);
    assert_eq!(ran.code, 3, "{ran:?}");
    assert!(ran.out.contains("no-such-host.invalid does not resolve"), "{ran:?}");
    let tls = logs.server.endpoint().replace("http://", "https://");
    let ran = logs.s3log(&["check", "access", "--endpoint", &tls]);
    assert_eq!(ran.code, 4, "{ran:?}");
    let missing = logs.path("no-file").display().to_string();
    let ran = logs.s3log(&["check", "access", "--credentials", &missing]);
    assert_eq!(ran.code, 5, "{ran:?}");
    let ran = logs.s3log(&["check", "access", "--endpoint", "ftp://x"]);
    assert_eq!(ran.code, 2, "{ran:?}");

    let cases = [
        ("404 Not Found", "NoSuchBucket", 6),
        ("301 Moved Permanently", "PermanentRedirect", 6),
        ("501 Not Implemented", "NotImplemented", 7),
        ("400 Bad Request", "InvalidArgument", 7),
        ("401 Unauthorized", "AccessDenied", 5),
    ];
    for (status, code, expected) in cases {
        // The first connection is the step of that name, which sends nothing. A 501 is asked twice.
        let say = || Play::Say(reply(status, &[], &error(code, "m")));
        let fake = Fake::start(vec![Play::Say(String::new()), say(), say()]);
        let ran = logs.s3log(&["check", "access", "--json", "--endpoint", &fake.endpoint()]);
        assert_eq!(ran.code, expected, "{status}: {ran:?}");
        assert!(ran.out.contains(code), "{ran:?}");
    }
}

#[test]
fn completions_and_manual_pages_are_made() {
    let logs = Logs::start();
    for shell in ["bash", "zsh", "fish"] {
        let ran = logs.s3log(&["completions", shell]);
        assert_eq!(ran.code, 0);
        assert!(ran.out.contains("s3log") && ran.out.contains("verify"), "{shell}");
    }
    let directory = logs.path("man");
    let ran = logs.s3log(&["man", directory.to_str().unwrap()]);
    assert_eq!(ran.code, 0, "{ran:?}");
    for page in ["s3log.1", "s3log-ls.1", "s3log-verify.1", "s3log-check.1", "s3log-drain.1"] {
        let text = std::fs::read_to_string(directory.join(page)).unwrap();
        assert!(text.contains(".SH SYNOPSIS") && text.contains(".SH OPTIONS"), "{page}");
    }
    let page = std::fs::read_to_string(directory.join("s3log-check.1")).unwrap();
    assert!(page.contains("no such bucket here"), "exit codes are in it");
    for command in ["verify", "check", "drain"] {
        let ran = logs.s3log(&[command, "--help"]);
        assert!(ran.out.contains("Exit codes"), "{command}");
    }
}

/// A spool with three quarantined blocks of two lines each: two refused with one code, one with
/// another. All lines, in order.
fn refused_behind(logs: &Logs) -> String {
    let disk = Disk::open(&logs.path("spool/access")).unwrap();
    let mut options = Options::new("access", "edge-1", BootId::new(START, 7));
    options.naming = Naming::new(PATH, Naming::DEFAULT_TIMESTAMP).unwrap();
    let (mut spool, _) = Spool::open(Arc::new(disk), options, None).unwrap();
    let mut encoder = ChunkEncoder::new(Codec::default()).unwrap();
    let mut all = String::new();
    for (part, code) in
        ["400 InvalidTag", "400 InvalidTag", "413 EntityTooLarge"].iter().enumerate()
    {
        let lines = format!("refused {part} a\nrefused {part} b\n");
        append(&mut spool, &mut encoder, &lines, part as u64);
        spool.seal(&Drops::default()).unwrap();
        let store = spool.store();
        let number = store.claim(Duration::ZERO).unwrap();
        store.quarantine(number, &format!("PUT k: status {code}: a\u{1b}[2Jb")).unwrap();
        all.push_str(&lines);
    }
    all
}

#[test]
fn requeue_lists_what_was_refused_and_sends_it_again_by_number_by_code_or_all() {
    let logs = Logs::start();
    let lines = refused_behind(&logs);
    let ran = logs.s3log(&["requeue", "access"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.out.contains("access  block 2  2026-11-22T10:00:01Z  2 records, "), "{}", ran.out);
    assert!(ran.out.contains("status 400 InvalidTag: a\\u{1b}[2Jb"), "{}", ran.out);
    assert!(ran.out.contains("access: 3 blocks with 6 records quarantined in "), "{}", ran.out);
    // Listing changes nothing: a drain leaves them where they are.
    let ran = logs.s3log(&["drain", "access"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert_eq!(logs.s3log(&["requeue", "access", "--json"]).out.lines().count(), 3);

    for (choice, expected) in [
        (["--block", "9"], "block 9 is not quarantined"),
        (["--code", "NoSuchTag"], "no quarantined block was refused with NoSuchTag"),
    ] {
        let ran = logs.s3log(&[&["requeue", "access"], &choice[..]].concat());
        assert_eq!(ran.code, 1, "{ran:?}");
        assert!(ran.out.contains(expected), "{ran:?}");
    }
    assert_eq!(logs.s3log(&["requeue", "access", "--all", "--block", "1"]).code, 2);

    let ran = logs.s3log(&["requeue", "access", "--code", "InvalidTag"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let said =
        "access: 2 blocks with 4 records requeued; no process uses this spool: start varnishd";
    assert!(ran.out.contains(said), "{}", ran.out);
    let ran = logs.s3log(&["drain", "access"]);
    assert!(ran.out.starts_with("access: 2 blocks with 4 records uploaded"), "{ran:?}");
    let ran = logs.s3log(&["requeue", "access", "--code", "413"]);
    assert!(ran.out.contains("access: 1 block with 2 records requeued"), "{ran:?}");
    assert_eq!(logs.s3log(&["drain", "access"]).code, 0);
    assert_eq!(logs.s3log(&["cat", "access"]).out, lines);
    assert_eq!(logs.s3log(&["verify", "access", "--deep"]).code, 0);
    let ran = logs.s3log(&["requeue", "access", "--all"]);
    assert_eq!((ran.code, &*ran.out), (0, "access: no quarantined blocks\n"));
}

#[test]
fn requeue_needs_no_stop_of_the_process_that_has_the_spool() {
    // The real server refuses nothing for good: this one does, until it is fixed.
    let process = Process::new();
    let broken = Arc::new(AtomicBool::new(true));
    let state = Arc::clone(&broken);
    let gateway = Answering::start(move |asked| {
        Reply::Now(match (&*asked.method, state.load(Ordering::SeqCst)) {
            ("PUT", true) => http(
                "413 Content Too Large",
                &[],
                b"<Error><Code>EntityTooLarge</Code><Message>m</Message></Error>",
            ),
            // S3's entity tag of a plain object is the MD5 of its body.
            _ => http("200 OK", &[("ETag", &tag(&asked.body))], b""),
        })
    });
    let holder = process.attach(&gateway.endpoint(), &[("period", "1s")]);
    holder.push("line", 0..3);
    holder.wait_stat("blocks_quarantined", 1);
    broken.store(false, Ordering::SeqCst);
    let logs = Logs::start();
    let spool = process.spool();
    let spool = spool.to_str().unwrap();
    let ran = logs.s3log(&["requeue", "access", "--all", "--spool", spool]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let said = format!("process {} sends them within seconds", std::process::id());
    assert!(ran.out.contains(&said), "{ran:?}");
    holder.wait_stat("uploaded_records", 3);
    let ran = logs.s3log(&["requeue", "access", "--spool", spool]);
    assert_eq!(ran.out, "access: no quarantined blocks\n");
}

#[test]
fn stats_shows_each_route_of_a_stream_and_where_it_goes() {
    let process = Process::new();
    let dead = "http://127.0.0.1:1";
    let one = process.attach(dead, &[("period", "1h")]);
    let two = process.attach(dead, &[("period", "1h"), ("path", "two/%Y/")]);
    one.push("one", 0..1);
    two.push("two", 0..2);
    let logs = Logs::start();
    let spool = process.spool();
    let spool = ["--spool", spool.to_str().unwrap()];
    let ran = logs.s3log(&[&["stats", "access"], &spool[..]].concat());
    assert_eq!(ran.code, 0, "{ran:?}");
    let first = "uploads to   bucket logs at http://127.0.0.1:1, unencrypted";
    let second = "uploads to   bucket logs at http://127.0.0.1:1, path two/%Y/, unencrypted";
    assert!(ran.out.contains(first) && ran.out.contains(second), "{}", ran.out);
    let json = logs.s3log(&[&["stats", "access", "--json"], &spool[..]].concat());
    let routes: Vec<serde_json::Value> =
        json.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(routes.len(), 2);
    for route in &routes {
        assert_eq!(route["stream"], "access");
        assert_eq!(route["route"].as_str().unwrap().len(), 16, "{route}");
    }
    let ran = logs.s3log(&[&["requeue", "access"], &spool[..]].concat());
    assert_eq!(ran.out.matches("no quarantined blocks").count(), 2, "{ran:?}");
}

/// Copies a spool, which nobody uses.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let copy = to.join(path.file_name().unwrap());
        if path.is_dir() {
            std::fs::create_dir(copy).unwrap();
        } else {
            std::fs::copy(path, copy).unwrap();
        }
    }
}

#[test]
fn drain_sends_no_route_elsewhere_and_one_that_it_cannot_send_keeps_back_none_of_the_others() {
    let logs = Logs::start();
    let lines = left_behind(&logs);
    let mut arguments = Arguments::new("access");
    arguments.fill_from_file(&logs.path("s3log.toml")).unwrap();
    let own = format!("access@{}", Settings::read(&arguments).unwrap().route());
    let spool = logs.path("spool");
    copy(&spool.join("access"), &spool.join(&own));
    copy(&spool.join("access"), &spool.join("access@0123456789abcdef"));
    std::fs::write(spool.join("access/route"), "damaged").unwrap();
    let ran = logs.s3log(&["drain", "access"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.out.contains(&format!("{own}: 3 blocks with 11 records uploaded")), "{ran:?}");
    for (folder, why) in [
        ("access", "its file route is damaged; if its records are for bucket"),
        ("access@0123456789abcdef", "and the settings given are those of route"),
    ] {
        let named = format!("{}: ", spool.join(folder).display());
        let line = ran.err.lines().find(|line| line.contains(&named));
        assert!(line.is_some_and(|line| line.contains(why)), "{folder}: {}", ran.err);
        assert!(spool.join(folder).join("0000000001.json").exists(), "{folder}");
    }
    assert_eq!(logs.s3log(&["cat", "access"]).out, lines, "only one of them");
    // As the message says.
    std::fs::remove_file(spool.join("access/route")).unwrap();
    std::fs::remove_dir_all(spool.join("access@0123456789abcdef")).unwrap();
    assert_eq!(logs.s3log(&["drain", "access"]).code, 0);
}

#[test]
fn drain_of_several_streams_goes_on_after_one_that_cannot_be_drained() {
    let logs = Logs::start();
    logs.settings(&["other", "access"]);
    let lines = left_behind(&logs);
    let ran = logs.s3log(&["drain"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.err.contains("stream other: no spool at "), "{ran:?}");
    assert_eq!(logs.s3log(&["cat", "access"]).out, lines);
}

/// The exit code where nobody reads what is printed.
fn unread(logs: &Logs, arguments: &[&str]) -> i32 {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = logs.command(arguments);
    let status = command.stdin(Stdio::null()).stdout(writer).stderr(Stdio::null()).status();
    status.unwrap().code().unwrap()
}

#[test]
fn a_closed_output_ends_no_work_and_hides_no_finding() {
    let logs = Logs::start();
    logs.settings(&["other", "access"]);
    let lines = left_behind(&logs);
    drop(Disk::open(&logs.path("spool/other")).unwrap());
    assert_eq!(unread(&logs, &["doctor", "-n", "none", "--offline"]), 1);
    // What is said of the first one nobody hears.
    assert_eq!(unread(&logs, &["drain", "other", "access"]), 0);
    assert_eq!(logs.s3log(&["cat", "access"]).out, lines);
    assert_eq!(unread(&logs, &["verify", "access"]), 0);
    let blocks = logs.s3log(&["ls", "access", "--json"]).out;
    let second: serde_json::Value = serde_json::from_str(blocks.lines().nth(1).unwrap()).unwrap();
    logs.delete(second["key"].as_str().unwrap());
    assert_eq!(unread(&logs, &["verify", "access"]), 1);
    // Who only wants the lines wants no more of them.
    assert_eq!(unread(&logs, &["cat", "access"]), 0);
    assert_eq!(unread(&logs, &["ls", "access"]), 0);
    logs.credentials("wrong-secret");
    assert_eq!(unread(&logs, &["check", "access"]), 5);
}

#[test]
fn stats_with_a_settings_file_that_cannot_be_read_says_so() {
    let logs = Logs::start();
    left_behind(&logs);
    std::fs::write(logs.path("s3log.toml"), "[access\n").unwrap();
    let spool = logs.path("spool");
    let ran = logs.s3log(&["stats", "--spool", spool.to_str().unwrap()]);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.err.contains("not valid TOML"), "{ran:?}");
}
