//! `s3log requeue --from`: what is stopped, refused or damaged in the middle is sent once all the same,
//! by one route.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use vmod_s3log::block::{BootId, Drops};
use vmod_s3log::pipeline::{Folder, Move, Moved};
use vmod_s3log::settings::Settings;
use vmod_s3log::spool::{Disk, Options, SealedBlocks, Spool};

use crate::common::gate::Gate;
use crate::common::s3_server::{BUCKET, S3Server};
use crate::common::stream::{Process, expected, lines, objects, wait_for};
use crate::routes::{folders, pair, s3log, two_that_wait};

const SHORT: (&str, &str) = ("period", "100ms");

/// The folder `from` as it is now, in `to`.
fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let copy = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_folder(&path, &copy);
        } else {
            fs::copy(&path, &copy).unwrap();
        }
    }
}

/// Changes the first byte of a file.
fn damage(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    bytes[0] ^= 1;
    fs::write(path, bytes).unwrap();
}

/// The routes `a/` and `b/`, with ten lines each that wait.
fn a_and_b(process: &mut Process, gate: &Gate) {
    two_that_wait(process, gate, [("a", &[("path", "a/")]), ("b", &[("path", "b/")])]);
}

/// What comes of moving all that waits from one folder to the other.
fn move_all(process: &Process, from: &Folder, to: &Folder) -> Result<Moved, String> {
    Move { from, to, change_signer: false }.carry_out(&process.environment)
}

/// Moves nothing, for one block cannot be: its name and why.
fn only_failure(process: &Process, from: &Folder, to: &Folder) -> (String, String) {
    let done = move_all(process, from, to).unwrap();
    assert_eq!(done.moved.blocks, 0);
    let [failure] = &done.failed[..] else { panic!("{done:?}") };
    failure.clone()
}

/// Ten lines wait for a date that has passed, as a process has left them that started before it.
fn leave_ten_past_their_date(process: &Process, endpoint: &str) {
    let date = ("object_ttl", "2020-01-01T00:00:00Z");
    let passed = [("gateway", "storj"), date, ("exit_timeout", "100ms")];
    let settings = Settings::read_again(&process.arguments(endpoint, &passed)).unwrap();
    let holder = process.hold(settings);
    holder.push("old", 0..10);
    drop(holder);
    process.wait_closed();
}

#[test]
fn what_waits_with_a_date_that_has_passed_is_moved_to_a_route_without_it() {
    let (server, gate, mut process) = (S3Server::start(), Gate::shut(), Process::new());
    process.environment.grace = Duration::from_secs(3600);
    leave_ten_past_their_date(&process, &gate.endpoint());
    let later = [("gateway", "storj"), SHORT];
    let holder = process.attach(&gate.endpoint(), &later);
    let [from, to] = pair(&process);
    let move_over = Move { from: &from, to: &to, change_signer: false };
    assert_eq!(move_over.foretell().unwrap().moved.records, 10);
    assert_eq!(move_all(&process, &from, &to).unwrap().moved.records, 10);
    gate.open(&server);
    holder.wait_stat("uploaded_records", 10);
    assert_eq!(lines(&server), expected(&[("old", 0..10)]));
}

#[test]
fn what_waits_with_a_date_that_has_passed_is_taken_up_and_waits() {
    let (server, process) = (S3Server::start(), Process::new());
    leave_ten_past_their_date(&process, &server.endpoint());
    let holder = process.attach(&server.endpoint(), &[("gateway", "storj"), SHORT]);
    wait_for("the route", || holder.stat("waiting_routes") == 1);
    let said = |part: &str| process.messages().iter().any(|text| text.contains(part));
    wait_for("why it waits", || said("object_ttl is a date that has passed"));
    assert!(!said("and they wait: "), "{:?}", process.messages());
    assert_eq!(holder.stat("stuck_routes"), 0);
}

/// Adds another block of ten lines to the route `path`.
fn another_block(process: &Process, gate: &Gate, path: &str, name: &str) {
    let holder = process.attach(&gate.endpoint(), &[("path", path), ("exit_timeout", "100ms")]);
    holder.push(name, 0..10);
    drop(holder);
    process.wait_closed();
}

#[test]
fn a_block_whose_move_was_stopped_before_its_folder_forgot_it_is_sent_by_one_route() {
    let server = S3Server::start();
    let gate = Gate::shut();
    let mut process = Process::new();
    a_and_b(&mut process, &gate);
    let [from, to] = pair(&process);
    let before = process.directory.path().join("before");
    copy_folder(&from.path, &before);
    move_all(&process, &from, &to).unwrap();
    // As a kill has left it: the other folder has all of the block, and its own has it still.
    assert!(!from.path.exists());
    fs::rename(&before, &from.path).unwrap();
    gate.open(&server);
    let a = process.attach(&gate.endpoint(), &[("path", "a/"), SHORT]);
    a.wait_stat("uploaded_records", 10);
    let b = process.attach(&gate.endpoint(), &[("path", "b/"), SHORT]);
    b.wait_stat("uploaded_records", 10);
    drop((a, b));
    process.wait_closed();
    assert_eq!(lines(&server), expected(&[("a", 0..10), ("b", 0..10)]));
    let of_b = objects(&server).into_iter().filter(|(key, _)| key.starts_with("b/"));
    assert_eq!(of_b.flat_map(|(_, lines)| lines).collect::<Vec<_>>(), expected(&[("b", 0..10)]));
}

#[test]
fn a_move_from_a_folder_that_is_in_use_asks_for_nothing_there() {
    let mut process = Process::new();
    a_and_b(&mut process, &Gate::shut());
    let [from, to] = pair(&process);
    let files = Arc::new(Disk::open(&from.path).unwrap());
    let options = Options::new("access", "node", BootId::new(9, 9));
    let (mut spool, _) = Spool::open(files, options, None).unwrap();
    spool.seal(&Drops::default()).unwrap();
    let number = spool.store().sealed()[0];
    spool.store().quarantine(number, "refused").unwrap();
    let refused = move_all(&process, &from, &to).unwrap_err();
    assert!(refused.contains("is in use by process"), "{refused}");
    let request = from.path.join(format!("quarantine/{number:010}.requeue"));
    assert!(!request.exists(), "it would be sent by the process that has it");
}

#[test]
fn a_damaged_block_stays_and_those_behind_it_are_moved() {
    let server = S3Server::start();
    let gate = Gate::shut();
    let mut process = Process::new();
    a_and_b(&mut process, &gate);
    another_block(&process, &gate, "a/", "more");
    let [from, to] = pair(&process);
    damage(&from.path.join("0000000001.data"));
    let (route, spool) = (from.route().unwrap().to_string(), process.spool());
    let (code, text) =
        s3log(&["requeue", "--from", &route, "--spool", spool.to_str().unwrap(), "access"]);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("access: 1 block with 10 records, "), "{text}");
    assert!(text.contains("block 1 stays"), "{text}");
    assert!(text.contains("0000000001.data is damaged"), "{text}");
    assert_eq!(fs::read_dir(to.path.join("moved")).unwrap().count(), 2);
    gate.open(&server);
    let holder = process.attach(&gate.endpoint(), &[("path", "b/"), SHORT]);
    holder.wait_stat("uploaded_records", 20);
    assert_eq!(lines(&server), expected(&[("b", 0..10), ("more", 0..10)]));
}

#[test]
fn a_block_whose_description_cannot_be_read_stays_and_those_behind_it_are_moved() {
    let gate = Gate::shut();
    let mut process = Process::new();
    a_and_b(&mut process, &gate);
    another_block(&process, &gate, "a/", "more");
    let [from, to] = pair(&process);
    let description = from.path.join("0000000001.json");
    fs::remove_file(&description).unwrap();
    fs::create_dir(&description).unwrap();
    let moved = move_all(&process, &from, &to).unwrap();
    assert_eq!((moved.moved.blocks, moved.stay()), (1, 1));
    let [(number, why)] = &moved.failed[..] else { panic!("{:?}", moved.failed) };
    assert!(number == "1" && why.contains("cannot read 0000000001.json: Is a directory"), "{why}");
    assert!(from.path.join("0000000001.data").exists());
}

/// Two blocks of the route `a/` that were moved to the route `b/`, the first of them damaged since.
fn one_of_two_is_damaged(process: &mut Process, gate: &Gate) -> Folder {
    a_and_b(process, gate);
    another_block(process, gate, "a/", "more");
    let [from, to] = pair(process);
    move_all(process, &from, &to).unwrap();
    let mut moved: Vec<_> =
        fs::read_dir(to.path.join("moved")).unwrap().map(|entry| entry.unwrap().path()).collect();
    moved.retain(|path| path.extension().is_some_and(|end| end == "data"));
    moved.sort();
    assert_eq!(moved.len(), 2);
    damage(&moved[0]);
    to
}

#[test]
fn a_moved_block_that_is_damaged_stops_none_behind_it() {
    let server = S3Server::start();
    let gate = Gate::shut();
    let mut process = Process::new();
    one_of_two_is_damaged(&mut process, &gate);
    gate.open(&server);
    let holder = process.attach(&gate.endpoint(), &[("path", "b/"), SHORT]);
    holder.wait_stat("uploaded_records", 20);
    assert_eq!(lines(&server), expected(&[("b", 0..10), ("more", 0..10)]));
    let named = |text: &String| text.contains("0000000001.data is damaged");
    wait_for("the message", || process.messages().iter().any(named));
}

#[test]
fn drain_is_not_done_while_a_moved_block_is_left_and_says_which() {
    let server = S3Server::start();
    let gate = Gate::shut();
    let mut process = Process::new();
    let to = one_of_two_is_damaged(&mut process, &gate);
    gate.open(&server);
    let keys = process.directory.path().join("credentials");
    let spool = format!("spool={}", process.spool().display());
    let (code, text) = s3log(&[
        "drain",
        "--endpoint",
        &gate.endpoint(),
        "--bucket",
        BUCKET,
        "--credentials",
        keys.to_str().unwrap(),
        "--set",
        &spool,
        "--set",
        "ring=1MB",
        "access",
    ]);
    assert_eq!(code, 1, "{text}");
    assert_eq!(lines(&server), expected(&[("b", 0..10), ("more", 0..10)]));
    assert!(text.contains("NOT DRAINED"), "{text}");
    assert!(text.contains("0000000001.data is damaged"), "{text}");
    assert!(to.path.exists());
}

#[test]
fn streams_whose_names_look_alike_in_the_names_of_folders_get_none_of_each_others_blocks() {
    let gate = Gate::shut();
    let process = Process::new();
    for name in ["a b", "a:b"] {
        let more = [("exit_timeout", "100ms")];
        let arguments = process.arguments_of(name, &gate.endpoint(), &more);
        let holder = process.hold(Settings::read(&arguments).unwrap());
        holder.push(name, 0..10);
        drop(holder);
        process.wait_closed();
    }
    let [first, _] = pair(&process);
    let (route, spool) = (first.route().unwrap().to_string(), process.spool());
    let (code, text) = s3log(&["requeue", "--from", &route, "--spool", spool.to_str().unwrap()]);
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("there is no other such route of the stream"), "{text}");
    assert_eq!(folders(&process).len(), 2);
}

#[test]
fn a_route_that_cannot_be_started_and_was_moved_away_is_no_longer_counted() {
    let server = S3Server::start();
    let gate = Gate::shut();
    let mut process = Process::new();
    process.environment.grace = Duration::ZERO;
    let own = process.directory.path().join("own");
    fs::copy(process.directory.path().join("credentials"), &own).unwrap();
    let credentials = ("credentials", own.to_str().unwrap());
    let old = process
        .attach(&gate.endpoint(), &[("path", "old/"), ("exit_timeout", "100ms"), credentials]);
    old.push("old", 0..10);
    drop(old);
    process.wait_closed();
    fs::remove_file(&own).unwrap();
    let new = process.attach(&server.endpoint(), &[("path", "new/"), SHORT]);
    new.wait_stat("stuck_routes", 1);
    let [from, to] = pair(&process);
    move_all(&process, &from, &to).unwrap();
    new.wait_stat("uploaded_records", 10);
    wait_for("the gauges", || new.stat("waiting_routes") + new.stat("stuck_routes") == 0);
    let status = process.registry.status(&new.pipeline);
    assert!(status.contains("\"waiting_routes\":[]"), "{status}");
}

#[test]
fn what_is_left_at_the_end_of_exit_timeout_is_said_with_the_command_that_moves_it() {
    let process = Process::new();
    let gate = Gate::shut();
    another_block(&process, &gate, "a/", "a");
    let route = Folder::read(process.spool().join("access")).route().unwrap();
    let told = |text: &String| {
        text.contains("exit_timeout is over")
            && text.contains(&format!("s3log requeue --from {route} "))
    };
    assert!(process.messages().iter().any(told), "{:?}", process.messages());
}

#[test]
fn what_came_from_another_route_and_waits_is_moved_on_with_the_rest() {
    let mut process = Process::new();
    let gate = Gate::shut();
    a_and_b(&mut process, &gate);
    let [a, b] = pair(&process);
    assert_eq!(move_all(&process, &a, &b).unwrap().moved.blocks, 1);
    // In a folder of the first one's name, with blocks of its numbers.
    another_block(&process, &gate, "c/", "c");
    another_block(&process, &gate, "c/", "more");
    let c = Folder::read(process.spool().join("access"));
    let done = move_all(&process, &b, &c).unwrap();
    assert_eq!((done.moved.blocks, done.moved.records, done.stay()), (2, 20, 0));
    assert_eq!(folders(&process), [c.path]);
}

/// Two blocks of the route `a/`, the first of which another process has sent, while the gateway has
/// refused it the second one. Their notes come after as many as are taken at a time.
fn sent_and_refused(process: &mut Process, gate: &Gate) -> [Folder; 2] {
    a_and_b(process, gate);
    another_block(process, gate, "a/", "more");
    let [from, to] = pair(process);
    let ship = from.path.join("ship");
    fs::create_dir(&ship).unwrap();
    for digest in 0..1000 {
        fs::write(ship.join(format!("0000000000-{digest:016x}.sent")), "").unwrap();
    }
    let shipper = SealedBlocks::of_another(&from.path).unwrap();
    shipper.follow(Duration::ZERO, Duration::from_secs(1_800_000_000)).unwrap();
    shipper.uploaded(1).unwrap();
    shipper.quarantine(2, "403 AccessDenied").unwrap();
    [from, to]
}

#[test]
fn a_block_that_ship_has_sent_is_not_moved_and_one_that_it_was_refused_is() {
    let gate = Gate::shut();
    let mut process = Process::new();
    let [from, to] = sent_and_refused(&mut process, &gate);
    let done = move_all(&process, &from, &to).unwrap();
    assert_eq!((done.moved.blocks, done.moved.records, done.stay()), (1, 10, 0));
    let server = S3Server::start();
    gate.open(&server);
    let holder = process.attach(&gate.endpoint(), &[("path", "b/"), SHORT]);
    holder.wait_stat("uploaded_records", 20);
    assert_eq!(lines(&server), expected(&[("b", 0..10), ("more", 0..10)]));
    assert!(!from.path.exists());
}

#[test]
fn a_block_whose_note_cannot_be_taken_stays_and_is_named() {
    let mut process = Process::new();
    let [from, to] = sent_and_refused(&mut process, &Gate::shut());
    let names = fs::read_dir(from.path.join("ship")).unwrap().map(|entry| entry.unwrap().path());
    let note = names.into_iter().find(|path| path.to_str().unwrap().ends_with(".refused")).unwrap();
    fs::remove_file(&note).unwrap();
    fs::create_dir(&note).unwrap();
    let (block, why) = only_failure(&process, &from, &to);
    assert!(block == "2" && why.contains("note of s3log ship"), "{block}: {why}");
}

#[test]
fn a_block_in_quarantine_that_is_not_whole_stays_and_is_named() {
    let mut process = Process::new();
    let [from, to] = sent_and_refused(&mut process, &Gate::shut());
    fs::write(from.path.join("0000000002.data"), "short").unwrap();
    let (block, why) = only_failure(&process, &from, &to);
    assert!(block == "2" && why.contains("quarantine"), "{block}: {why}");
}

#[test]
fn a_moved_block_that_cannot_be_written_is_named_and_left_alone_for_a_while() {
    let mut process = Process::new();
    let gate = Gate::shut();
    a_and_b(&mut process, &gate);
    let [from, to] = pair(&process);
    let holder = process.attach(&gate.endpoint(), &[("path", "b/"), ("period", "1h")]);
    holder.wait_stat("spooled_records", 10);
    // What the block would be copied to.
    fs::create_dir(to.path.join("0000000002.data")).unwrap();
    move_all(&process, &from, &to).unwrap();
    let named = |text: &String| {
        text.contains("which came from another route, stays in") && text.contains("0000000002.data")
    };
    wait_for("the message", || process.messages().iter().any(named));
}

#[test]
fn a_block_that_comes_into_a_route_that_is_just_closing_is_sent_before_it_closes() {
    let server = S3Server::start();
    let gate = Gate::shut();
    let mut process = Process::new();
    a_and_b(&mut process, &gate);
    let [from, to] = pair(&process);
    let holder = process.attach(&gate.endpoint(), &[("path", "b/"), ("exit_timeout", "10m")]);
    holder.wait_stat("spooled_records", 10);
    drop(holder);
    move_all(&process, &from, &to).unwrap();
    gate.open(&server);
    process.wait_closed();
    assert_eq!(lines(&server), expected(&[("a", 0..10), ("b", 0..10)]));
}
