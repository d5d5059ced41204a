//! The life of a stream's threads: shared by reloads, drained by the last one to leave, taken up
//! again at any moment.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::common::gate::Gate;
use crate::common::s3_server::S3Server;
use crate::common::stream::{DEAD, Process, expected, lines, objects, wait_for};
use crate::faults::promptly;

#[test]
fn a_reload_splits_no_block_and_the_last_to_leave_brings_everything_to_the_bucket() {
    let server = S3Server::start();
    let process = Process::new();
    let first = process.attach(&server.endpoint(), &[]);
    first.push("first", 0..10);
    let second = process.attach(&server.endpoint(), &[]);
    assert!(Arc::ptr_eq(&first.pipeline, &second.pipeline));
    drop(first);
    second.push("second", 0..10);
    second.wait_stat("ring_size", 1);
    assert_eq!(objects(&server).len(), 0, "the period is an hour and somebody holds on");
    drop(second);
    process.wait_closed();
    assert_eq!(objects(&server).len(), 1);
    assert_eq!(lines(&server), expected(&[("first", 0..10), ("second", 0..10)]));
}

#[test]
fn a_stream_that_is_opened_again_at_once_finds_its_spool_free() {
    let server = S3Server::start();
    let process = Process::new();
    for round in 0..100 {
        let holder = process.attach(&server.endpoint(), &[]);
        holder.push("round", round..round + 1);
        drop(holder);
        if round % 3 == 0 {
            // Now and then just when it closes.
            wait_for("the upload", || lines(&server).len() > round);
        }
    }
    process.wait_closed();
    assert_eq!(lines(&server), expected(&[("round", 0..100)]));
}

#[test]
fn a_draining_stream_goes_on_when_it_is_attached_again() {
    let server = S3Server::start();
    let process = Process::new();
    let gate = Gate::shut();
    let holder = process.attach(&gate.endpoint(), &[("exit_timeout", "10m")]);
    holder.push("before", 0..50);
    let pipeline = Arc::clone(&holder.pipeline);
    drop(holder);
    assert!(pipeline.status().contains("\"draining\""));
    wait_for("the seal", || pipeline.status().contains("\"blocks_sealed\":1"));
    let holder = process.attach(&gate.endpoint(), &[]);
    gate.open(&server);
    assert!(Arc::ptr_eq(&pipeline, &holder.pipeline));
    drop(pipeline);
    assert!(holder.pipeline.status().contains("\"running\""));
    holder.wait_stat("uploaded_records", 50);
    holder.push("after", 0..50);
    holder.wait_stat("ring_size", 1);
    drop(holder);
    process.wait_closed();
    assert_eq!(lines(&server), expected(&[("before", 0..50), ("after", 0..50)]));
}

#[test]
fn settings_come_from_whoever_wrote_the_latest_record_and_not_from_whoever_came_last() {
    let server = S3Server::start();
    let process = Process::new();
    let first = process.attach(&server.endpoint(), &[("period", "100ms")]);
    first.push("first", 0..3);
    first.wait_stat("uploaded_records", 3);
    // Loaded and never used: it would stop the uploads for an hour.
    let unused = process.attach(&server.endpoint(), &[("period", "1h")]);
    assert!(Arc::ptr_eq(&first.pipeline, &unused.pipeline));
    first.push("first", 3..6);
    first.wait_stat("uploaded_records", 6);
    // Now it is used, and its period holds: the block waits, for both.
    unused.push("second", 0..3);
    wait_for("the record to be taken up", || first.stat("ring_used") > 0);
    // Until the first writes again.
    first.push("first", 6..7);
    first.wait_stat("uploaded_records", 10);
    drop(first);
    unused.push("second", 3..6);
    drop(unused);
    process.wait_closed();
    assert_eq!(lines(&server), expected(&[("first", 0..7), ("second", 0..6)]));
}

#[test]
fn two_vcls_of_one_route_that_write_in_turns_do_not_hurry_what_waits_for_the_gateway() {
    let process = Process::new();
    for other in ["100ms", "200ms"] {
        let first = process.attach(DEAD, &[("period", "100ms"), ("exit_timeout", "0s")]);
        let second = process.attach(DEAD, &[("period", other), ("exit_timeout", "0s")]);
        first.push("waits", 0..1);
        first.wait_stat("upload_retries", 1);
        let before = first.stat("upload_retries");
        for turn in 0..100 {
            // Long enough for the packer to see whose turn it is.
            std::thread::sleep(Duration::from_millis(25));
            if turn % 2 == 0 { &second } else { &first }.push("turn", turn..turn + 1);
        }
        // A new holder may be tried at once; after that the back-off alone counts.
        let attempts = first.stat("upload_retries") - before;
        assert!(attempts < 25, "{attempts} attempts");
        drop((first, second));
        process.wait_closed();
    }
}

#[test]
fn another_codec_holds_from_the_next_block_on() {
    let server = S3Server::start();
    let process = Process::new();
    let first = process.attach(&server.endpoint(), &[("period", "200ms")]);
    // One record is one block where it is due soon, however slowly this test runs.
    first.push("gzip", 0..1);
    first.wait_stat("uploaded_records", 1);
    // No block is open now.
    let second =
        process.attach(&server.endpoint(), &[("compression", "zstd"), ("max_bytes", "1KB")]);
    drop(first);
    // Lines so long that each is a chunk, and in the open block at once.
    second.push(&"zstd ".repeat(300), 0..3);
    second.wait_stat("records", 4);
    // The block is of zstd already, and takes the last record that belongs into it.
    let third =
        process.attach(&server.endpoint(), &[("compression", "none"), ("max_bytes", "1KB")]);
    drop(second);
    third.push(&"still zstd ".repeat(200), 0..1);
    third.wait_stat("records", 5);
    // It is due only now that it has the record.
    let prompt =
        process.attach(&server.endpoint(), &[("compression", "none"), ("period", "200ms")]);
    drop(third);
    prompt.wait_stat("uploaded_records", 5);
    prompt.push("none", 0..1);
    prompt.wait_stat("uploaded_records", 6);
    let fourth = process.attach(&server.endpoint(), &[("compression", "snappy")]);
    drop(prompt);
    fourth.push("snappy", 0..1);
    drop(fourth);
    process.wait_closed();
    let mut found: Vec<_> = objects(&server)
        .into_iter()
        .map(|(key, lines)| (key.rsplit('.').next().unwrap().to_owned(), lines.len()))
        .collect();
    found.sort();
    let expected = [("gz", 1), ("log", 1), ("sz", 1), ("zst", 4)];
    assert_eq!(found, expected.map(|(end, n)| (end.to_owned(), n)));
}

#[test]
fn a_dead_gateway_holds_up_the_end_for_exit_timeout_and_the_next_start_takes_over() {
    let server = S3Server::start();
    let process = Process::new();
    let gate = Gate::shut();
    let holder = process.attach(&gate.endpoint(), &[("exit_timeout", "300ms")]);
    holder.push("kept", 0..1000);
    let begin = Instant::now();
    drop(holder);
    process.wait_closed();
    assert!(begin.elapsed() >= Duration::from_millis(300));
    gate.open(&server);
    let holder = process.attach(&gate.endpoint(), &[]);
    holder.wait_stat("uploaded_records", 1000);
    // Counted once all is taken up, which the upload need not wait for.
    holder.wait_stat("recovered", 1000);
    holder.wait_balance();
    assert_eq!(lines(&server), expected(&[("kept", 0..1000)]));
}

#[test]
fn an_exit_uploads_the_last_records_and_waits_no_longer_than_it_must() {
    let server = S3Server::start();
    let process = Process::new();
    let holder = process.attach(&server.endpoint(), &[("exit_timeout", "10m")]);
    holder.push("last", 0..100);
    let (registry, environment) = (process.registry.clone(), process.environment.clone());
    // Well before the ten minutes are over.
    promptly("the exit", move || registry.drain(&environment));
    assert_eq!(lines(&server), expected(&[("last", 0..100)]));
}

#[test]
fn an_exit_with_a_dead_gateway_takes_exit_timeout() {
    let process = Process::new();
    let holder = process.attach(DEAD, &[("exit_timeout", "400ms")]);
    holder.push("last", 0..100);
    let begin = Instant::now();
    process.registry.drain(&process.environment);
    assert!(begin.elapsed() >= Duration::from_millis(400));
    holder.wait_balance();
    assert_eq!(holder.stat("spooled_records"), 100);
}

#[test]
fn a_stream_without_a_spool_says_what_it_could_not_upload() {
    let process = Process::new();
    let holder = process.attach(DEAD, &[("spool", "none"), ("exit_timeout", "200ms")]);
    holder.push("gone", 0..7);
    drop(holder);
    process.wait_closed();
    let messages = process.messages();
    assert!(
        messages.iter().any(|text| text.starts_with("error:") && text.contains("7 records lost")),
        "{messages:?}"
    );
}
