//! Routes: lines of different destinations or readers never meet, and what waits for a route that
//! no VCL has is sent as that route says.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use vmod_s3log::clock::Clock as _;
use vmod_s3log::pipeline::{Attachment, Folder, Move};
use vmod_s3log::priority::Priority;
use vmod_s3log::settings::Settings;

use crate::common::clock::Shifted;
use crate::common::gate::Gate;
use crate::common::s3_server::{BUCKET, S3Server};
use crate::common::stream::{Process, expected, lines, objects, wait_for};
use crate::faults::promptly;
use crate::panics::{Trouble, process};

const KEY: &str = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p";
const SHORT: (&str, &str) = ("period", "100ms");

/// The folders of the spool, sorted.
pub(crate) fn folders(process: &Process) -> Vec<PathBuf> {
    let mut found: Vec<_> =
        fs::read_dir(process.spool()).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.sort();
    found
}

#[test]
fn two_destinations_of_one_stream_never_share_a_block() {
    let (one, two) = (S3Server::start(), S3Server::start());
    let process = Process::new();
    let first = process.attach(&one.endpoint(), &[SHORT]);
    let second = process.attach(&two.endpoint(), &[SHORT]);
    assert!(!Arc::ptr_eq(&first.pipeline, &second.pipeline));
    for number in 0..50 {
        first.push("first", number..number + 1);
        second.push("second", number..number + 1);
    }
    first.wait_stat("uploaded_records", 50);
    second.wait_stat("uploaded_records", 50);
    assert_eq!(lines(&one), expected(&[("first", 0..50)]));
    assert_eq!(lines(&two), expected(&[("second", 0..50)]));
    let names: Vec<String> = folders(&process)
        .iter()
        .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
        .collect();
    let [plain, other] = &names[..] else { panic!("{names:?}") };
    assert_eq!(plain, "access");
    assert_eq!(other.strip_prefix("access@").unwrap().len(), 16);
}

#[test]
fn what_is_loaded_and_never_used_changes_nothing() {
    let (one, two) = (S3Server::start(), S3Server::start());
    let process = Process::new();
    let used = process.attach(&one.endpoint(), &[SHORT, ("encrypt_to", KEY)]);
    let unused = process.attach(&two.endpoint(), &[("period", "1h")]);
    used.push("line", 0..10);
    used.wait_stat("uploaded_records", 10);
    assert!(lines(&two).is_empty());
    drop(unused);
    wait_for("the unused one's folder to go", || folders(&process).len() == 1);
    used.push("line", 10..20);
    used.wait_stat("uploaded_records", 20);
    assert!(lines(&two).is_empty());
}

#[test]
fn what_waits_for_a_route_that_is_gone_is_sent_there_in_the_same_process_and_the_folder_goes() {
    let server = S3Server::start();
    let process = Process::new();
    let gate = Gate::shut();
    let old = process.attach(&gate.endpoint(), &[("path", "old/"), ("exit_timeout", "100ms")]);
    old.push("old", 0..10);
    old.wait_stat("ring_size", 1);
    let new = process.attach(&server.endpoint(), &[("path", "new/"), SHORT]);
    drop(old);
    new.push("new", 0..10);
    new.wait_stat("uploaded_records", 10);
    let waits = || {
        let status: serde_json::Value =
            serde_json::from_str(&process.registry.status(&new.pipeline)).unwrap();
        status["waiting_routes"].as_array().unwrap().clone()
    };
    wait_for("the status to show it", || waits().first().is_some_and(|one| one["records"] == 10));
    let warned = |text: &String| {
        text.starts_with("warning: stream access: ") && text.contains("no VCL has this route")
    };
    assert_eq!(process.messages().iter().filter(|text| warned(text)).count(), 1);
    gate.open(&server);
    wait_for("the old route to close", || process.registry.len() == 1);
    assert!(waits().is_empty());
    let all = objects(&server);
    let of = |path: &str| {
        let with = all.iter().filter(|(key, _)| key.starts_with(path));
        with.flat_map(|(_, lines)| lines.clone()).collect::<Vec<_>>()
    };
    assert_eq!(of("old/"), expected(&[("old", 0..10)]));
    assert_eq!(of("new/"), expected(&[("new", 0..10)]));
    assert_eq!(folders(&process).len(), 1);
}

#[test]
fn the_next_process_sends_what_waits_for_a_route_that_it_does_not_have() {
    let server = S3Server::start();
    let gate = Gate::shut();
    let process = Process::new();
    let old = [("encrypt_to", KEY), ("path", "old/"), ("exit_timeout", "100ms")];
    let first = process.attach(&gate.endpoint(), &old);
    first.push("old", 0..10);
    drop(first);
    process.wait_closed();
    gate.open(&server);
    let second = process.attach(&server.endpoint(), &[("path", "new/"), SHORT]);
    second.push("new", 0..10);
    second.wait_stat("uploaded_records", 10);
    wait_for("the old route to be taken up and closed", || {
        folders(&process).len() == 1 && process.registry.len() == 1
    });
    let warned = |text: &String| text.contains("a route that no VCL has");
    assert_eq!(process.messages().iter().filter(|text| warned(text)).count(), 1);
    let root = server.root().join(crate::common::s3_server::BUCKET);
    let sealed: Vec<_> = fs::read_dir(root.join("old")).unwrap().collect();
    assert_eq!(sealed.len(), 1);
    let path = sealed[0].as_ref().unwrap().path();
    assert!(path.to_str().unwrap().ends_with(".age"), "{path:?}");
    assert!(fs::read(&path).unwrap().starts_with(b"age-encryption.org/v1"));
}

#[test]
fn a_route_that_cannot_be_started_is_tried_again_until_it_can() {
    let server = S3Server::start();
    let gate = Gate::shut();
    let process = Process::new();
    let own = process.directory.path().join("own");
    let keys = fs::read_to_string(process.directory.path().join("credentials")).unwrap();
    fs::write(&own, &keys).unwrap();
    let credentials = ("credentials", own.to_str().unwrap());
    let old = [("path", "old/"), ("exit_timeout", "100ms"), credentials];
    let first = process.attach(&gate.endpoint(), &old);
    first.push("old", 0..10);
    drop(first);
    process.wait_closed();
    gate.open(&server);
    // A mount that is late.
    fs::remove_file(&own).unwrap();
    let second = process.attach(&server.endpoint(), &[("path", "new/"), SHORT]);
    let waits = |text: &String| text.contains("and they wait");
    wait_for("the message", || process.messages().iter().any(waits));
    let status: serde_json::Value =
        serde_json::from_str(&process.registry.status(&second.pipeline)).unwrap();
    let stuck = &status["waiting_routes"][0];
    assert_eq!((&stuck["records"], &stuck["blocks"]), (&10.into(), &1.into()), "{status}");
    assert!(stuck["problem"].as_str().unwrap().contains("credentials"), "{status}");
    second.wait_stat("stuck_routes", 1);
    assert_eq!(second.stat("waiting_routes"), 1);
    fs::write(&own, &keys).unwrap();
    wait_for("the old route to be taken up and closed", || {
        folders(&process).len() == 1 && process.registry.len() == 1
    });
    wait_for("the gauges", || second.stat("waiting_routes") + second.stat("stuck_routes") == 0);
    assert_eq!(process.messages().iter().filter(|text| waits(text)).count(), 1);
    let root = server.root().join(crate::common::s3_server::BUCKET);
    assert_eq!(fs::read_dir(root.join("old")).unwrap().count(), 1);
    drop(second);
}

#[test]
fn a_second_folder_of_a_route_that_is_at_work_waits_and_disturbs_nobody() {
    let server = S3Server::start();
    let gate = Gate::shut();
    let process = Process::new();
    let route = |more: (&'static str, &str)| process.attach(&gate.endpoint(), &[more]);
    let old = route(("exit_timeout", "100ms"));
    old.push("old", 0..10);
    drop(old);
    process.wait_closed();
    gate.open(&server);
    // It cannot be told whose the folder is.
    let file = process.spool().join("access/route");
    let good = fs::read(&file).unwrap();
    fs::write(&file, "damaged").unwrap();
    let new = route(SHORT);
    let waits = |what: &str| {
        let said = |text: &String| text.contains("and they wait") && text.contains(what);
        wait_for(what, || process.messages().iter().any(said));
    };
    waits("the file route in it cannot be read");
    fs::write(&file, good).unwrap();
    waits("is at work in another folder");
    assert_eq!(process.registry.len(), 1);
    new.push("new", 0..10);
    new.wait_stat("uploaded_records", 10);
    drop(new);
    process.wait_closed();
    let next = route(SHORT);
    next.wait_stat("uploaded_records", 10);
    assert_eq!(lines(&server), expected(&[("new", 0..10), ("old", 0..10)]));
    wait_for("the other folder to go", || folders(&process).len() == 1);
}

#[test]
fn a_route_that_comes_back_takes_up_its_own_folder() {
    let server = S3Server::start();
    let gate = Gate::shut();
    let mut process = Process::new();
    // Both are there before anything is taken up.
    process.environment.grace = std::time::Duration::from_secs(3600);
    let a = process.attach(&gate.endpoint(), &[("path", "a/"), ("exit_timeout", "100ms")]);
    let b = process.attach(&gate.endpoint(), &[("path", "b/"), ("exit_timeout", "100ms")]);
    a.push("a", 0..5);
    b.push("b", 0..5);
    drop((a, b));
    process.wait_closed();
    let before = folders(&process);
    gate.open(&server);
    // In the other order.
    let b = process.attach(&gate.endpoint(), &[("path", "b/"), SHORT]);
    let a = process.attach(&gate.endpoint(), &[("path", "a/"), SHORT]);
    b.wait_stat("uploaded_records", 5);
    a.wait_stat("uploaded_records", 5);
    assert_eq!(folders(&process), before);
}

/// Runs that test without the right to pass by a directory's mode, which root has.
fn as_nobody_special(test: &str) {
    assert!(std::env::var_os("S3LOG_TEST_AGAIN").is_none(), "every directory can be listed");
    let without = "-dac_override,-dac_read_search";
    let output = std::process::Command::new("setpriv")
        .args(["--bounding-set", without, "--inh-caps", without])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env("S3LOG_TEST_AGAIN", "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}{text}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn a_spool_that_cannot_be_listed_gives_no_route_the_folder_of_another() {
    let server = S3Server::start();
    let gate = Gate::shut();
    let process = Process::new();
    let a = process.attach(&gate.endpoint(), &[("path", "a/"), ("exit_timeout", "100ms")]);
    a.push("a", 0..10);
    drop(a);
    process.wait_closed();
    let spool = process.spool();
    let mode = |mode| fs::set_permissions(&spool, fs::Permissions::from_mode(mode)).unwrap();
    mode(0o300);
    if fs::read_dir(&spool).is_ok() {
        return as_nobody_special(
            "routes::a_spool_that_cannot_be_listed_gives_no_route_the_folder_of_another",
        );
    }
    let route = spool.join("access/route");
    let before = fs::read(&route).unwrap();
    let refused = process.refused(&gate.endpoint(), &[("path", "b/"), SHORT]);
    assert!(refused.contains("cannot be used: Permission denied"), "{refused}");
    assert_eq!(fs::read(&route).unwrap(), before);
    // Nor is it taken for one with nothing of this folder's beside it.
    assert!(vmod_s3log::spool::take_back(&spool.join("access")).is_err());
    mode(0o700);
    let b = process.attach(&gate.endpoint(), &[("path", "b/"), SHORT]);
    b.push("b", 0..10);
    gate.open(&server);
    wait_for("all lines", || lines(&server) == expected(&[("a", 0..10), ("b", 0..10)]));
    for (key, lines) in objects(&server) {
        assert!(lines.iter().all(|line| key.starts_with(line.get(..1).unwrap())), "{key}");
    }
}

#[test]
fn a_spool_that_cannot_be_listed_for_a_while_is_looked_at_again_for_what_waits_in_it() {
    let server = S3Server::start();
    let gate = Gate::shut();
    let mut process = Process::new();
    let again =
        "routes::a_spool_that_cannot_be_listed_for_a_while_is_looked_at_again_for_what_waits_in_it";
    let spool = process.spool();
    let mode = |mode| fs::set_permissions(&spool, fs::Permissions::from_mode(mode)).unwrap();
    mode(0o300);
    if fs::read_dir(&spool).is_ok() {
        return as_nobody_special(again);
    }
    mode(0o700);
    let a = process.attach(&gate.endpoint(), &[("path", "a/"), ("exit_timeout", "100ms")]);
    a.push("a", 0..10);
    drop(a);
    process.wait_closed();
    // Its own folder is chosen by then, and nothing is looked for yet.
    let (quiet, barred) = (Arc::clone(&process.environment.observer), spool.clone());
    let once = AtomicBool::new(true);
    process.environment.observer = Arc::new(move |name| {
        if once.swap(false, Ordering::SeqCst) {
            fs::set_permissions(&barred, fs::Permissions::from_mode(0o300)).unwrap();
        }
        quiet(name)
    });
    let b = process.attach(&gate.endpoint(), &[("path", "b/"), SHORT]);
    b.push("b", 0..10);
    for what in ["cannot be read: Permission denied", "cannot list"] {
        wait_for(what, || process.messages().iter().any(|text| text.contains(what)));
    }
    mode(0o700);
    gate.open(&server);
    wait_for("all lines", || lines(&server) == expected(&[("a", 0..10), ("b", 0..10)]));
}

#[test]
fn fewer_readers_are_warned_of_unless_another_path_shows_that_it_is_meant() {
    let server = S3Server::start();
    let process = Process::new();
    let load = |more: &[(&'static str, &str)]| {
        let settings = process.settings(&server.endpoint(), more);
        let attachment = process.registry.attach(settings, &process.environment).unwrap();
        process.registry.warn_of_weaker(&attachment, &process.environment);
        attachment
    };
    let sealed = load(&[("encrypt_to", KEY)]);
    let elsewhere = load(&[("path", "open/")]);
    let warned = |text: &String| {
        text.starts_with("warning: stream access: a VCL was loaded whose records go to ")
            && text.contains("unencrypted (route ")
            && text.contains("encrypted to 1 key (route ")
    };
    let count = || process.messages().iter().filter(|text| warned(text)).count();
    assert_eq!(count(), 0);
    let weaker = load(&[]);
    assert_eq!(count(), 1, "{:?}", process.messages());
    for attachment in [sealed, elsewhere, weaker] {
        process.registry.detach(&attachment);
    }
}

/// Two buckets of one name, in two projects of one gateway, look like one: only the key tells them apart.
#[test]
fn a_vcl_of_the_same_route_with_other_credentials_is_warned_of() {
    let server = S3Server::start();
    let process = Process::new();
    let other = process.directory.path().join("other");
    fs::copy(process.directory.path().join("credentials"), &other).unwrap();
    let other = ("credentials", other.to_str().unwrap());
    let endpoint = server.endpoint();
    let load = |more: &[(&'static str, &str)]| {
        let arguments = process.arguments(&endpoint, more);
        let environment = &process.environment;
        let held = process.registry.load(&arguments, false, environment, |_| ()).unwrap();
        process.registry.warn_of_other_credentials(&held, environment);
        held
    };
    let end = |held: &Attachment| process.registry.detach(held);
    let warned = || {
        let all = process.messages();
        all.iter().filter(|text| text.contains(" the same route (")).count()
    };
    let first = load(&[]);
    // The same credentials, another route, and a gateway whose buckets' names are one's alone.
    let quiet = [load(&[]), load(&[other, ("path", "b/")])];
    let aws = [("gateway", "aws"), ("path", "aws/")];
    let of_aws = [load(&aws), load(&[&aws[..], &[other]].concat())];
    assert_eq!(warned(), 0, "{:?}", process.messages());
    let second = load(&[other]);
    assert_eq!(warned(), 1, "{:?}", process.messages());
    let said = process.messages().pop().unwrap();
    assert!(said.starts_with("warning: stream access: "), "{said}");
    for part in [other.1, &process.directory.path().join("credentials").display().to_string()] {
        assert!(said.contains(&format!("credentials = {part:?}")), "{said}");
    }
    // Once the others are gone the key is replaced, and that was all.
    for held in quiet.iter().chain(&of_aws).chain([&first]) {
        end(held);
    }
    let third = load(&[other]);
    assert_eq!(warned(), 1);
    end(&second);
    end(&third);
    process.wait_closed();
}

#[test]
fn tenants_whose_paths_differ_have_each_their_own_credentials() {
    let server = S3Server::start();
    let process = Process::new();
    let other = process.directory.path().join("other");
    let keys = fs::read_to_string(process.directory.path().join("credentials")).unwrap();
    fs::write(&other, keys.replace("secret_access_key = ", "secret_access_key = another")).unwrap();
    let theirs = [("credentials", other.to_str().unwrap()), ("path", "b/"), SHORT];
    let ours = process.attach(&server.endpoint(), &[("path", "a/"), SHORT]);
    let theirs = process.attach(&server.endpoint(), &theirs);
    for number in 0..10 {
        ours.push("ours", number..number + 1);
        theirs.push("theirs", number..number + 1);
    }
    ours.wait_stat("uploaded_records", 10);
    theirs.wait_stat("upload_retries", 1);
    assert_eq!((ours.stat("upload_retries"), theirs.stat("uploaded_records")), (0, 0));
    assert_eq!(lines(&server), expected(&[("ours", 0..10)]));
}

#[test]
fn the_secrets_of_a_route_are_not_in_its_folder() {
    let server = S3Server::start();
    let process = Process::new();
    let proxy = "http://user:unmistakable@127.0.0.1:9";
    let holder = process.attach(&server.endpoint(), &[("proxy", proxy)]);
    let kept = fs::read_to_string(process.spool().join("access/route")).unwrap();
    assert!(kept.contains("\"bucket\""), "{kept}");
    assert!(!kept.contains("unmistakable"), "{kept}");
    drop(holder);
}

/// Two VCLs with settings that differ in `name` write in turns, long enough for each to have its
/// settings in force: how many blocks that makes before any is due.
fn blocks_of_turns(name: &'static str, values: [&str; 2]) -> u64 {
    let server = S3Server::start();
    let clock = Arc::new(Shifted::default());
    let mut process = Process::new();
    process.environment.clock = clock.clone();
    let [first, second] = values.map(|value| process.attach(&server.endpoint(), &[(name, value)]));
    assert!(Arc::ptr_eq(&first.pipeline, &second.pipeline));
    for turn in 0..6 {
        clock.sleep(Duration::from_secs(2));
        let writer = if turn % 2 == 0 { &first } else { &second };
        // A quarter of the ring is a chunk, which goes into the open block.
        for _ in 0..30 {
            writer.push_line(&"x".repeat(10_000));
        }
        first.wait_stat("records", 27 * (turn + 1));
    }
    let sealed = first.stat("blocks_sealed");
    drop((first, second));
    process.wait_closed();
    sealed
}

#[test]
fn two_vcls_of_one_route_with_other_compression_that_write_in_turns_share_a_block() {
    assert_eq!(blocks_of_turns("compression", ["gzip", "zstd"]), 0);
}

#[test]
fn the_same_keys_in_another_order_share_a_block() {
    let key = || age::x25519::Identity::generate().to_public().to_string();
    let (one, two) = (key(), key());
    let values = [format!("{one} {two}"), format!("{two} {one}")];
    assert_eq!(blocks_of_turns("encrypt_to", [&values[0], &values[1]]), 0);
}

/// A secret key without a password, as `minisign -G -W` makes it.
fn write_key(path: &Path, seed: u8) {
    let key = ed25519_dalek::SigningKey::from_bytes(&[seed; 32]);
    let mut bytes = b"Ed\0\0B2".to_vec();
    bytes.extend([0; 48]);
    bytes.extend([seed; 8]);
    bytes.extend(key.to_keypair_bytes());
    bytes.extend([0; 32]);
    let text = format!("untrusted comment: a key\n{}\n", STANDARD.encode(bytes));
    fs::write(path, text).unwrap();
}

#[test]
fn a_key_that_was_replaced_does_not_sign_what_waits_for_the_route_of_the_one_before() {
    let server = S3Server::start();
    let gate = Gate::shut();
    let process = Process::new();
    let key = process.directory.path().join("key");
    write_key(&key, 1);
    let sign_key = ("sign_key", key.to_str().unwrap());
    let old = process.attach(&gate.endpoint(), &[("exit_timeout", "100ms"), sign_key]);
    old.push("old", 0..10);
    drop(old);
    process.wait_closed();
    write_key(&key, 2);
    gate.open(&server);
    let new = process.attach(&gate.endpoint(), &[SHORT, sign_key]);
    let waits = |text: &String| text.contains("and they wait") && text.contains("sign_key");
    wait_for("the message", || process.messages().iter().any(waits));
    new.push("new", 0..10);
    new.wait_stat("uploaded_records", 10);
    assert_eq!(lines(&server), expected(&[("new", 0..10)]));
    assert_eq!(folders(&process).len(), 2);
}

/// The ids that such an endpoint had before are others: its path was no part of them.
#[test]
fn what_a_build_before_left_for_an_endpoint_with_a_path_is_sent_there_and_its_folder_goes() {
    let (server, gate, process) = (S3Server::start(), Gate::shut(), Process::new());
    let (a, none) = (format!("{}/tenant-a", gate.endpoint()), gate.endpoint());
    let old = process.attach(&a, &[("exit_timeout", "100ms")]);
    old.push("old", 0..10);
    drop(old);
    process.wait_closed();
    let first = process.spool().join("access");
    let note = fs::read_to_string(first.join("route")).unwrap();
    let before = process.settings(&none, &[]).route().to_string();
    let note = note.replace(&process.settings(&a, &[]).route().to_string(), &before);
    fs::write(first.join("route"), note).unwrap();

    // It is taken up while the gateway is away: also the start after that finds each in its folder.
    for _ in 0..2 {
        let new = process.attach(&a, &[SHORT, ("exit_timeout", "100ms")]);
        wait_for("the one before", || new.stat("waiting_routes") == 1);
        assert_eq!((new.stat("stuck_routes"), folders(&process).len()), (0, 2));
        new.push("new", 0..10);
        drop(new);
        process.wait_closed();
    }
    // The server takes the path for a bucket.
    fs::create_dir(server.root().join("tenant-a")).unwrap();
    gate.open(&server);
    let new = process.attach(&a, &[SHORT]);
    wait_for("the folder to go", || folders(&process).len() == 1);
    wait_for("the rest", || new.stat("spooled_records") == 0);
    let there = fs::read_dir(server.root().join("tenant-a").join(BUCKET)).unwrap();
    let names = there.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert!(names.filter(|name| name.ends_with(".log.gz")).count() >= 2);
    assert!(lines(&server).is_empty());
}

/// The settings of `process`, for a stream of another name.
fn of_stream(process: &Process, endpoint: &str, stream: &str) -> Settings {
    Settings::read(&process.arguments_of(stream, endpoint, &[SHORT])).unwrap()
}

#[test]
fn streams_whose_names_are_equal_in_keys_have_folders_of_their_own() {
    let server = S3Server::start();
    let process = Process::new();
    let streams = ["a b", "a:b", "a_b"];
    let all = streams.map(|name| process.hold(of_stream(&process, &server.endpoint(), name)));
    for (holder, name) in all.iter().zip(streams) {
        holder.push(name, 0..5);
    }
    for holder in &all {
        holder.wait_stat("uploaded_records", 5);
    }
    assert_eq!(lines(&server), expected(&streams.map(|name| (name, 0..5))));
    assert_eq!(folders(&process).len(), 3);
    // Each finds its own again.
    let before = folders(&process);
    drop(all);
    process.wait_closed();
    let again = streams.map(|name| process.hold(of_stream(&process, &server.endpoint(), name)));
    assert_eq!(folders(&process), before);
    drop(again);
}

/// Two routes wait for a gateway and the last VCL is gone; what the one would leave behind when its
/// `exit_timeout` is over, while `back` has the stream, is sent.
fn sent_when_the_stream_is_back(back: &'static str) {
    let server = S3Server::start();
    let gate = Gate::shut();
    let clock = Trouble::of("none of ours");
    let (process, _) = process(&clock);
    let a = process.attach(&gate.endpoint(), &[("path", "a/"), ("exit_timeout", "10s")]);
    let b = process.attach(&gate.endpoint(), &[("path", "b/"), ("exit_timeout", "10m"), SHORT]);
    a.push("a", 0..10);
    b.push("b", 0..10);
    drop(a);
    drop(b);
    let known = back == "b/";
    let endpoint = if known { gate.endpoint() } else { server.endpoint() };
    let back = process.attach(&endpoint, &[("path", back), SHORT]);
    if !known {
        // It has looked at what there is by then.
        back.push("c", 0..1);
        back.wait_stat("uploaded_records", 1);
    }
    clock.go_ahead(60);
    gate.open(&server);
    let all = expected(&[("a", 0..10), ("b", 0..10), ("c", 0..usize::from(!known))]);
    wait_for("all lines", || lines(&server) == all);
    drop(back);
    process.wait_closed();
}

#[test]
fn a_route_that_no_vcl_has_is_sent_to_its_end_when_a_route_that_drains_has_a_vcl_again() {
    sent_when_the_stream_is_back("b/");
}

#[test]
fn routes_that_no_vcl_has_are_sent_to_their_end_when_a_vcl_brings_another_one() {
    sent_when_the_stream_is_back("c/");
}

#[test]
fn what_a_route_leaves_that_is_just_closing_is_taken_up() {
    let server = S3Server::start();
    let gate = Gate::shut();
    let process = Process::new();
    let a = process.attach(&gate.endpoint(), &[("path", "a/"), ("exit_timeout", "100ms")]);
    a.push("a", 0..10);
    let held = Arc::clone(&a.pipeline);
    drop(a);
    let closed = |text: &String| text.contains("closed with 1 blocks with 10 records left");
    wait_for("the end", || process.messages().iter().any(closed));
    // Whoever looks at it holds up its end.
    let b = process.attach(&server.endpoint(), &[("path", "b/"), SHORT]);
    b.push("b", 0..10);
    b.wait_stat("uploaded_records", 10);
    drop(held);
    gate.open(&server);
    wait_for("all lines", || lines(&server) == expected(&[("a", 0..10), ("b", 0..10)]));
}

#[test]
fn a_route_that_cannot_be_started_is_tried_again_for_whichever_route_has_a_vcl() {
    let server = S3Server::start();
    let gate = Gate::shut();
    let mut process = Process::new();
    let own = process.directory.path().join("own");
    let keys = fs::read_to_string(process.directory.path().join("credentials")).unwrap();
    fs::write(&own, &keys).unwrap();
    let c = [("path", "c/"), ("credentials", own.to_str().unwrap())];
    two_that_wait(&mut process, &gate, [("b", &[("path", "b/")]), ("c", &c)]);
    process.environment.grace = Duration::ZERO;
    fs::remove_file(&own).unwrap();
    let a = process.attach(&gate.endpoint(), &[("path", "a/")]);
    wait_for("b to be taken up", || process.registry.len() == 2);
    let waits = |text: &String| text.contains("and they wait");
    wait_for("c to wait", || process.messages().iter().any(waits));
    let b = process.attach(&gate.endpoint(), &[("path", "b/"), SHORT]);
    drop(a);
    wait_for("a to close", || process.registry.len() == 1);
    fs::write(&own, &keys).unwrap();
    gate.open(&server);
    wait_for("all lines", || lines(&server) == expected(&[("b", 0..10), ("c", 0..10)]));
    drop(b);
}

/// Holds up whoever makes an observer of this name.
struct HeldUp {
    name: &'static str,
    held: AtomicBool,
    free: AtomicBool,
}

#[test]
fn a_load_does_not_wait_for_a_route_that_is_just_being_taken_up() {
    let server = S3Server::start();
    let gate = Gate::shut();
    let mut process = Process::new();
    let old = process.attach(&gate.endpoint(), &[("path", "old/"), ("exit_timeout", "100ms")]);
    old.push("old", 0..10);
    drop(old);
    process.wait_closed();
    gate.open(&server);
    let held_up = Arc::new(HeldUp {
        name: "access",
        held: AtomicBool::new(false),
        free: AtomicBool::new(false),
    });
    let observed = Arc::clone(&held_up);
    let quiet = Arc::clone(&process.environment.observer);
    process.environment.observer = Arc::new(move |name| {
        if name == observed.name {
            observed.held.store(true, Ordering::SeqCst);
            wait_for("to be let go", || observed.free.load(Ordering::SeqCst));
        }
        quiet(name)
    });
    let process = Arc::new(process);
    let new = process.attach(&gate.endpoint(), &[("path", "new/"), SHORT]);
    wait_for("the old route to be taken up", || held_up.held.load(Ordering::SeqCst));
    let loaded = {
        let (process, endpoint) = (Arc::clone(&process), gate.endpoint());
        promptly("the load", move || {
            let settings = process.settings(&endpoint, &[("path", "more/"), SHORT]);
            process.registry.attach(settings, &process.environment).unwrap()
        })
    };
    assert!(!held_up.free.swap(true, Ordering::SeqCst));
    loaded.push(b"more 0\n".into(), Priority::Normal);
    new.push("new", 0..1);
    let all = expected(&[("old", 0..10), ("new", 0..1), ("more", 0..1)]);
    wait_for("all lines", || lines(&server) == all);
    process.registry.detach(&loaded);
}

#[test]
fn routes_that_come_and_go_at_once_find_their_folders() {
    let server = S3Server::start();
    let process = Process::new();
    let routes = [("path", "a/"), ("path", "b/"), ("path", "c/")];
    let anchor = process.attach(&server.endpoint(), &[("path", "anchor/")]);
    for round in 0..40 {
        let holder = process.attach(&server.endpoint(), &[routes[round % 3], SHORT]);
        holder.push("round", round..round + 1);
    }
    wait_for("all lines", || lines(&server) == expected(&[("round", 0..40)]));
    wait_for("the folders to go", || process.registry.len() == 1 && folders(&process).len() == 1);
    drop(anchor);
}

#[test]
fn credentials_that_are_corrected_end_the_wait_at_once() {
    let server = S3Server::start();
    let clock = Arc::new(Shifted::default());
    let mut process = Process::new();
    process.environment.clock = clock.clone();
    let gate = Gate::shut();
    let file = process.directory.path().join("credentials");
    let good = fs::read(&file).unwrap();
    let holder = process.attach(&gate.endpoint(), &[SHORT]);
    fs::write(&file, "not credentials").unwrap();
    holder.push("line", 0..3);
    wait_for("a message about the credentials", || {
        clock.sleep(Duration::from_millis(100));
        process.messages().iter().any(|text| text.contains("credentials"))
    });
    gate.open(&server);
    // From here on no time passes for whoever waits.
    fs::write(&file, &good).unwrap();
    holder.wait_stat("uploaded_records", 3);
}

/// A folder of each route with ten lines that wait, by the word that its lines begin with.
pub(crate) fn two_that_wait(
    process: &mut Process,
    gate: &Gate,
    routes: [(&str, &[(&'static str, &str)]); 2],
) {
    // Neither is taken up with the other.
    process.environment.grace = Duration::from_secs(3600);
    for (name, settings) in routes {
        let mut all = settings.to_vec();
        all.push(("exit_timeout", "100ms"));
        let holder = process.attach(&gate.endpoint(), &all);
        holder.push(name, 0..10);
        drop(holder);
        process.wait_closed();
    }
}

/// The folders of the first route and of the other one.
pub(crate) fn pair(process: &Process) -> [Folder; 2] {
    let found = folders(process);
    let [first, other] = &found[..] else { panic!("{found:?}") };
    [first, other].map(|path| Folder::read(path.clone()))
}

pub(crate) fn s3log(arguments: &[&str]) -> (i32, String) {
    let output =
        std::process::Command::new(env!("CARGO_BIN_EXE_s3log")).args(arguments).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(text).unwrap())
}

#[test]
fn blocks_that_cannot_be_delivered_are_moved_to_the_present_route_and_chained_there() {
    let server = S3Server::start();
    let gate = Gate::shut();
    let mut process = Process::new();
    let (a, b) = ([("path", "a/")], [("path", "b/")]);
    two_that_wait(&mut process, &gate, [("a", &a), ("b", &b)]);
    let [first, _] = pair(&process);
    let (route, spool) = (first.route().unwrap().to_string(), process.spool());
    let spool = spool.to_str().unwrap();
    let requeue = |more: &[&str]| {
        s3log(&[&["requeue", "--from", &route, "--spool", spool], more, &["access"]].concat())
    };
    let (code, text) = requeue(&["--dry-run"]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("access: 1 block with 10 records, "), "{text}");
    assert!(text.contains("would be moved"), "{text}");
    assert_eq!(folders(&process).len(), 2);
    let (code, text) =
        s3log(&["requeue", "--from", "0123456789abcdef", "--spool", spool, "access"]);
    assert!(code == 2 && text.contains("no stream here has this route"), "{text}");
    // One that is in use stays where it is.
    let holder = process.attach(&gate.endpoint(), &[a[0], ("exit_timeout", "100ms")]);
    let (code, text) = requeue(&[]);
    assert!(code != 0 && text.contains("stop varnishd first"), "{text}");
    drop(holder);
    process.wait_closed();
    let (code, text) = requeue(&[]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("access: 1 block with 10 records, "), "{text}");
    assert!(text.contains("no process uses the spool of that route"), "{text}");
    assert_eq!(folders(&process).len(), 1);
    gate.open(&server);
    let holder = process.attach(&gate.endpoint(), &[b[0], SHORT]);
    holder.wait_stat("uploaded_records", 20);
    holder.wait_balance();
    assert_eq!(lines(&server), expected(&[("a", 0..10), ("b", 0..10)]));
    assert!(objects(&server).iter().all(|(key, _)| key.starts_with("b/")));
    drop(holder);
    process.wait_closed();
    let keys = process.directory.path().join("credentials");
    let (code, text) = s3log(&[
        "verify",
        "--deep",
        "--endpoint",
        &gate.endpoint(),
        "--bucket",
        crate::common::s3_server::BUCKET,
        "--credentials",
        keys.to_str().unwrap(),
        "--path",
        "b/",
        "access",
    ]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("complete: 2 blocks, 20 records, 1 host"), "{text}");
}

#[test]
fn a_running_process_sends_what_is_moved_to_its_route() {
    let server = S3Server::start();
    let gate = Gate::shut();
    let mut process = Process::new();
    process.environment.grace = Duration::from_secs(3600);
    let old = process.attach(&gate.endpoint(), &[("path", "old/"), ("exit_timeout", "100ms")]);
    old.push("old", 0..10);
    drop(old);
    process.wait_closed();
    let new = process.attach(&server.endpoint(), &[("path", "new/"), SHORT]);
    new.push("new", 0..10);
    new.wait_stat("uploaded_records", 10);
    let [from, to] = pair(&process);
    let work = Move { from: &from, to: &to, change_signer: false };
    let done = work.carry_out(&process.environment).unwrap();
    assert_eq!((done.moved.blocks, done.moved.records, done.stay()), (1, 10, 0));
    new.wait_stat("uploaded_records", 20);
    new.wait_balance();
    assert!(objects(&server).iter().all(|(key, _)| key.starts_with("new/")));
    assert_eq!(lines(&server), expected(&[("old", 0..10), ("new", 0..10)]));
    assert_eq!(folders(&process).len(), 1);
}

#[test]
fn what_is_encrypted_is_moved_only_to_the_same_keys_and_what_is_not_may_be_encrypted() {
    let key = || age::x25519::Identity::generate().to_public().to_string();
    let (one, two) = (key(), key());
    let refusal = |first: &[(&'static str, &str)], other: &[(&'static str, &str)]| {
        let mut process = Process::new();
        two_that_wait(&mut process, &Gate::shut(), [("a", first), ("b", other)]);
        let [from, to] = pair(&process);
        let refused = Move { from: &from, to: &to, change_signer: false };
        let refused = refused.carry_out(&process.environment).err();
        (process, refused)
    };
    let sealed = [("encrypt_to", &*one)];
    let (_, refused) = refusal(&sealed, &[("path", "b/")]);
    assert_eq!(refused.unwrap(), "its blocks are encrypted, and those of the other route are not");
    let (_, refused) = refusal(&sealed, &[("encrypt_to", &two)]);
    assert_eq!(refused.unwrap(), "the other route encrypts to other keys");
    let both = format!("{one} {two}");
    let (_, refused) = refusal(&sealed, &[("encrypt_to", &both)]);
    assert!(refused.is_some());
    for first in [&sealed[..], &[("path", "plain/")]] {
        let other = [("encrypt_to", &*one), ("path", "b/")];
        let (process, refused) = refusal(first, &other);
        assert_eq!(refused, None);
        // The endpoint is part of the route.
        let kept = fs::read_to_string(folders(&process)[0].join("route")).unwrap();
        let kept: serde_json::Value = serde_json::from_str(&kept).unwrap();
        assert_eq!(kept["arguments"]["path"], "b/");
        let moved = folders(&process)[0].join("moved");
        assert_eq!(fs::read_dir(&moved).unwrap().count(), 2);
        let holder = process
            .attach(kept["arguments"]["endpoint"].as_str().unwrap(), &[other[0], other[1], SHORT]);
        holder.wait_stat("recovered", 20);
        wait_for("the blocks to be sealed anew", || fs::read_dir(&moved).unwrap().count() == 0);
        let names = fs::read_dir(&folders(&process)[0]).unwrap();
        let names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
        let plain = |name: &std::ffi::OsString| name.to_str().unwrap().ends_with(".data");
        assert!(!names.iter().any(plain), "{names:?}");
        let ends =
            |end: &str| names.iter().filter(|name| name.to_str().unwrap().ends_with(end)).count();
        assert_eq!((ends(".sealed"), ends(".json")), (2, 2), "{names:?}");
        drop(holder);
    }
}

#[test]
fn who_signs_what_is_moved_changes_only_where_that_is_asked_for() {
    let mut process = Process::new();
    let key = process.directory.path().join("key");
    write_key(&key, 1);
    let signed = [("sign_key", key.to_str().unwrap())];
    two_that_wait(&mut process, &Gate::shut(), [("a", &signed), ("b", &[("path", "b/")])]);
    let [from, to] = pair(&process);
    let mut work = Move { from: &from, to: &to, change_signer: false };
    let refused = work.carry_out(&process.environment).unwrap_err();
    assert!(
        refused.contains("would be signed by no key instead; give --change-signer"),
        "{refused}"
    );
    // The key may be gone.
    fs::remove_file(&key).unwrap();
    work.change_signer = true;
    assert_eq!(work.carry_out(&process.environment).unwrap().moved.records, 10);
}
