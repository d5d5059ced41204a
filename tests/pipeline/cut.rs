//! That a line was cut reaches the metadata of its block, whichever way the line takes.

use std::fs;

use vmod_s3log::priority::Priority;
use vmod_s3log::ring::{Backing, Capacity, Record, Ring};
use vmod_s3log::stats::get;

use crate::common::gate::Gate;
use crate::common::s3_server::S3Server;
use crate::common::stream::{Process, lines, wait_for};
use crate::start::World;

/// What the metadata of all objects says together, as the server keeps it beside them.
fn cut(server: &S3Server) -> u64 {
    let files = fs::read_dir(server.root()).unwrap().map(|entry| entry.unwrap().path());
    let described = files.filter(|path| path.to_str().unwrap().ends_with(".metadata.json"));
    let counts = described.map(|path| {
        let text = fs::read_to_string(path).unwrap();
        let object: serde_json::Value = serde_json::from_str(&text).unwrap();
        object["user_metadata"]["cut"].as_str().unwrap().parse::<u64>().unwrap()
    });
    counts.sum()
}

#[test]
fn a_line_that_waited_in_memory_for_its_stream() {
    let world = World::new();
    world.block();
    let outlet = world.open(true, &[]).unwrap();
    outlet.push(b"whole\n", Priority::Normal);
    outlet.push(Record { bytes: b"wai\n", cut: true }, Priority::Normal);
    world.unblock();
    world.wait_open(&outlet);
    outlet.push(Record { bytes: b"aft\n", cut: true }, Priority::Normal);
    wait_for("uploads", || get(&outlet.stats().uploaded_records) == 3);
    assert_eq!(lines(&world.server), ["aft", "wai", "whole"]);
    assert_eq!(cut(&world.server), 2);
}

#[test]
fn a_line_that_an_earlier_process_left_in_a_ring_of_the_same_size_and_of_another() {
    for size in ["1MB", "2MB"] {
        let process = Process::new();
        let ring = process.spool().join("access/ring");
        let (gate, server) = (Gate::shut(), S3Server::start());
        let first = [("ring", "1MB"), ("period", "100ms"), ("exit_timeout", "0s")];
        let holder = process.attach(&gate.endpoint(), &first);
        // A folder that was never used goes with its stream.
        holder.push("before", 0..1);
        holder.wait_stat("blocks_sealed", 1);
        drop(holder);
        process.wait_closed();
        let opened = Ring::open(Backing::File(&ring), Capacity::MIN).unwrap();
        opened.ring.push(b"whole\n").unwrap();
        opened.ring.push(Record { bytes: b"lef\n", cut: true }).unwrap();
        drop(opened);
        gate.open(&server);
        let holder = process.attach(&gate.endpoint(), &[("ring", size), ("period", "100ms")]);
        holder.wait_stat("uploaded_records", 3);
        assert_eq!(lines(&server), ["before 0", "lef", "whole"], "{size}");
        assert_eq!(cut(&server), 1, "{size}");
    }
}
