//! What the counters say of uploads: what they were answered, how far one is, how full the spool is.

use std::io::Read as _;
use std::net::TcpListener;
use std::sync::{Arc, mpsc};
use std::thread;

use crate::answers::Fast;
use crate::common::gate::Gate;
use crate::common::moods::{Act, Moods, Say};
use crate::common::s3_server::S3Server;
use crate::common::stream::{DEAD, Holder, Process, wait_for};
use crate::external::ship;
use vmod_s3log::clock::System;
use vmod_s3log::pipeline::Shipment;

const SHORT: (&str, &str) = ("period", "100ms");

const CLASSES: [&str; 5] =
    ["answers_2xx", "answers_3xx", "answers_4xx", "answers_5xx", "answers_none"];

#[test]
fn each_attempt_counts_once_by_what_it_was_answered() {
    let slow_down = "<Error><Code>SlowDown</Code><Message>no</Message></Error>";
    let denied = "<Error><Code>AccessDenied</Code><Message>no</Message></Error>";
    let rows = [
        ("moved", Act::Say(Say::new("301 Moved Permanently", "")), "answers_3xx", 3),
        ("denied", Act::Say(Say::new("403 Forbidden", denied)), "answers_4xx", 3),
        ("busy", Act::Say(Say::new("503 Slow Down", slow_down)), "answers_5xx", 3),
        ("odd", Act::Say(Say::new("799 Nobody Knows", "")), "answers_5xx", 3),
        // A success that stores nothing.
        (
            "login",
            Act::Say(Say::new("200 OK", "<html><form>Log in</form></html>")),
            "answers_2xx",
            3,
        ),
        // It is there, and HEAD says so.
        ("stripped", Act::Stripped, "answers_2xx", 1),
    ];
    let (moods, mut process) = (Moods::start(), Process::new());
    process.environment.clock = Arc::new(Fast(System::new()));
    for (name, act, class, attempts) in rows {
        moods.bucket(name, act);
        let more = [("bucket", name), ("period", "10s")];
        let holder = process.attach(&moods.endpoint(), &more);
        holder.push("line", 0..10);
        holder.wait_stat(class, attempts);
        moods.befriend(name);
        holder.wait_stat("uploaded_records", 10);
        let (failed, stored) = (holder.stat("upload_retries"), holder.stat("blocks_uploaded"));
        for each in CLASSES {
            let expected = match each {
                "answers_2xx" if class == each => stored + failed,
                "answers_2xx" => stored,
                each if each == class => failed,
                _ => 0,
            };
            assert_eq!(holder.stat(each), expected, "{name}: {each}");
        }
    }
}

#[test]
fn an_attempt_that_nobody_answers_is_one_without_an_answer() {
    let process = Process::new();
    let holder = process.attach(DEAD, &[SHORT]);
    holder.push("line", 0..10);
    holder.wait_stat("answers_none", 1);
    let answered = CLASSES.iter().filter(|class| **class != "answers_none");
    assert_eq!(answered.map(|class| holder.stat(class)).sum::<u64>(), 0);
}

/// A gateway that reads a little of one request and then waits until it is told to hang up for good.
fn mute() -> (String, mpsc::Sender<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let (hang_up, told) = mpsc::channel();
    thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        client.read_exact(&mut [0; 1000]).unwrap();
        let _ = told.recv();
    });
    (endpoint, hang_up)
}

/// Fills a block with more than the kernel keeps of a connection's bytes.
fn push_large_block(holder: &Holder<'_>) {
    let line = "x".repeat(8000);
    for _ in 0..4000 {
        holder.push_line(&line);
    }
    holder.wait_stat("blocks_sealed", 1);
}

const LARGE: [(&str, &str); 6] = [
    ("compression", "none"),
    ("max_bytes", "30MB"),
    ("on_full", "wait"),
    ("max_wait", "10s"),
    ("timeout", "10m"),
    ("upload_threads", "1"),
];

/// The same for another process that uploads.
fn shipped() -> Vec<(&'static str, &'static str)> {
    LARGE.into_iter().chain([("upload", "external"), ("exit_timeout", "0s")]).collect()
}

/// A stream whose large block a shipper is uploading, as the stream's process has heard.
fn shipping<'p>(process: &'p Process, endpoint: &str) -> (Holder<'p>, Shipment) {
    let holder = process.attach(endpoint, &shipped());
    push_large_block(&holder);
    let shipment = ship(process, endpoint);
    wait_for("the shipper's upload", || {
        shipment.follow().unwrap();
        holder.stat("uploading_blocks") == 1
    });
    (holder, shipment)
}

#[test]
fn an_upload_under_way_says_how_far_it_is_until_it_has_ended() {
    let process = Process::new();
    let (endpoint, hang_up) = mute();
    let holder = process.attach(&endpoint, &LARGE);
    push_large_block(&holder);
    let stat = |name| holder.stat(name);
    wait_for("an upload under way", || stat("uploading_sent") > 0);
    assert_eq!(stat("uploading_blocks"), 1);
    let (bytes, sent) = (stat("uploading_bytes"), stat("uploading_sent"));
    assert!(bytes > 30_000_000 && sent < bytes, "{sent} of {bytes}");
    hang_up.send(()).unwrap();
    holder.wait_stat("answers_none", 1);
    // Nobody listens any more: each further attempt ends at once.
    wait_for("no upload", || {
        ["uploading_blocks", "uploading_bytes", "uploading_sent"].map(stat) == [0; 3]
    });
}

#[test]
fn what_a_shipper_has_in_hand_is_told_until_it_is_silent_and_so_are_its_answers() {
    let mut process = Process::new();
    process.environment.clock = Arc::new(Fast(System::new()));
    let (endpoint, hang_up) = mute();
    let (holder, shipment) = shipping(&process, &endpoint);
    // It says no more, as one that was killed.
    wait_for("its silence", || holder.stat("uploading_blocks") == 0);
    wait_for("its upload to be told again", || {
        shipment.follow().unwrap();
        holder.stat("uploading_bytes") > 30_000_000
    });
    hang_up.send(()).unwrap();
    wait_for("its failure", || {
        shipment.follow().unwrap();
        holder.stat("answers_none") > 0
    });
    assert_eq!(holder.stat("answers_2xx"), 0);
}

#[test]
fn what_a_shipper_had_in_hand_before_the_start_is_no_upload_under_way() {
    let process = Process::new();
    let (endpoint, _hang_up) = mute();
    // It says no more, as one that was killed meanwhile.
    let (holder, _shipment) = shipping(&process, &endpoint);
    drop(holder);
    process.wait_closed();
    let holder = process.attach(&endpoint, &shipped());
    holder.wait_stat("shipper_silent", 1);
    assert_eq!(holder.stat("uploading_blocks"), 0);
}

#[test]
fn the_spools_high_water_stands_when_it_is_empty_again() {
    let (server, gate) = (S3Server::start(), Gate::shut());
    let process = Process::new();
    let more = [SHORT, ("spool_max", "5MB"), ("exit_timeout", "0s")];
    let holder = process.attach(&gate.endpoint(), &more);
    holder.push("line", 0..1000);
    wait_for("all to be in the spool", || {
        holder.stat("spooled_records") == 1000 && holder.stat("ring_used") == 0
    });
    holder.wait_stat("spool_high_water", 1);
    wait_for("the limit", || holder.stat("spool_max") == 5 << 20);
    drop(holder);
    process.wait_closed();
    let left = std::fs::read_dir(process.spool().join("access")).unwrap();
    let blocks = left
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "data"));
    let used = blocks.map(|path| path.metadata().unwrap().len()).sum();
    assert!(used > 0);
    gate.open(&server);
    // What a start finds counts.
    let holder = process.attach(&gate.endpoint(), &[SHORT]);
    wait_for("the spool to be empty", || {
        holder.stat("uploaded_records") == 1000 && holder.stat("spool_used") == 0
    });
    holder.wait_stat("spool_high_water", used);
    wait_for("the default", || holder.stat("spool_max") == 10 << 30);
    // It stands while nothing is there.
    assert_eq!((holder.stat("spool_high_water"), holder.stat("spool_used")), (used, 0));
}
