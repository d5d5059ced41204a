//! What a stream does with a spool that fails or is full, and with a gateway that refuses: nothing
//! is lost that is not counted.

use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::common::fake::{Fake, Play, error, reply};
use crate::common::gate::Gate;
use crate::common::s3_server::S3Server;
use crate::common::stream::{DEAD, Process, expected, lines, wait_for};
use crate::panics::{Trouble, process};
use vmod_s3log::settings::Settings;

#[test]
fn records_wait_in_the_ring_while_the_spool_cannot_be_written() {
    let server = S3Server::start();
    let process = Process::new();
    let (there, away) = (process.spool().join("access"), process.spool().join("away"));
    let holder = process.attach(&server.endpoint(), &[("period", "100ms")]);
    fs::rename(&there, &away).unwrap();
    holder.push("waited", 0..100);
    holder.wait_stat("spool_errors", 2);
    assert_eq!(holder.stat("records"), 0);
    assert!(holder.stat("ring_used") > 0);
    fs::rename(&away, &there).unwrap();
    holder.wait_stat("uploaded_records", 100);
    holder.wait_balance();
    assert_eq!(holder.stat("dropped_ring"), 0);
    assert_eq!(lines(&server), expected(&[("waited", 0..100)]));
}

#[test]
fn a_chunk_that_waited_for_the_spool_is_packed_anew_for_another_codec() {
    let server = S3Server::start();
    let process = Process::new();
    let (there, away) = (process.spool().join("access"), process.spool().join("away"));
    let first = process.attach(&server.endpoint(), &[("period", "100ms")]);
    fs::rename(&there, &away).unwrap();
    first.push("waited", 0..100);
    first.wait_stat("spool_errors", 1);
    let second =
        process.attach(&server.endpoint(), &[("period", "100ms"), ("compression", "none")]);
    second.push("second", 0..1);
    fs::rename(&away, &there).unwrap();
    second.wait_stat("uploaded_records", 101);
    let found = crate::common::stream::objects(&server);
    assert!(found.iter().all(|(key, _)| key.ends_with(".log")), "{found:?}");
    assert_eq!(lines(&server), expected(&[("waited", 0..100), ("second", 0..1)]));
}

#[test]
fn a_full_ring_is_counted_and_what_was_in_it_survives_the_end_of_the_process() {
    let server = S3Server::start();
    let process = Process::new();
    let (there, away) = (process.spool().join("access"), process.spool().join("away"));
    let gate = Gate::shut();
    let holder = process.attach(&gate.endpoint(), &[("exit_timeout", "100ms")]);
    fs::rename(&there, &away).unwrap();
    let name = "x".repeat(1000);
    holder.push(&name, 0..2000);
    let dropped = holder.stat("dropped_ring");
    assert!((900..1100).contains(&dropped), "{dropped}");
    let said = |text: &String| {
        text.starts_with("error: stream access: ") && text.ends_with("dropped: the ring is full")
    };
    wait_for("a word about it", || process.messages().iter().any(said));
    drop(holder);
    process.wait_closed();
    fs::rename(&away, &there).unwrap();
    // A larger ring takes the place of the one that is there.
    gate.open(&server);
    let holder = process.attach(&gate.endpoint(), &[("ring", "2MB"), ("period", "100ms")]);
    holder.wait_stat("uploaded_records", 2000 - dropped);
    holder.wait_balance();
    assert_eq!(holder.stat("ring_size"), 2 << 20);
    assert_eq!(holder.stat("recovered"), 2000 - dropped);
    let found = lines(&server);
    assert_eq!(found.len() as u64, 2000 - dropped);
}

#[test]
fn a_ring_that_cannot_be_replaced_keeps_its_size_with_a_warning() {
    let server = S3Server::start();
    let process = Process::new();
    let folder = process.spool().join("access");
    let holder = process.attach(&server.endpoint(), &[("period", "100ms")]);
    holder.push("before", 0..10);
    holder.wait_stat("uploaded_records", 10);
    drop(holder);
    process.wait_closed();
    // The new ring is made under this name, beside the old one.
    fs::create_dir_all(folder.join("ring.new/in the way")).unwrap();
    let holder = process.attach(&server.endpoint(), &[("ring", "2MB"), ("period", "100ms")]);
    holder.wait_stat("ring_size", 1);
    assert_eq!(holder.stat("ring_size"), 1 << 20);
    let said = |text: &String| {
        text.starts_with("warning: stream access: the ring keeps its size of 1MB for now: ")
    };
    assert!(process.messages().iter().any(said), "{:?}", process.messages());
    holder.push("after", 0..10);
    holder.wait_stat("uploaded_records", 10);
    assert_eq!(lines(&server), expected(&[("before", 0..10), ("after", 0..10)]));
}

/// Pushes lines that gzip cannot make smaller than half.
fn push_incompressible(holder: &crate::common::stream::Holder<'_>, count: usize) {
    let mut random = fastrand::Rng::with_seed(7);
    for number in 0..count {
        let noise: String = (0..1000).map(|_| random.alphanumeric()).collect();
        holder.push_line(&format!("{noise} {number}"));
    }
}

fn spool_full(policy: &'static str) {
    let server = S3Server::start();
    let process = Process::new();
    let settings = [
        ("spool_max", "1MB"),
        ("max_bytes", "200KB"),
        ("on_spool_full", policy),
        ("on_full", "wait"),
        ("max_wait", "10s"),
        ("exit_timeout", "60s"),
    ];
    let gate = Gate::shut();
    let holder = process.attach(&gate.endpoint(), &settings);
    push_incompressible(&holder, 5000);
    holder.wait_balance();
    wait_for("the ring to be empty", || holder.stat("ring_used") < 200_000);
    let ring = holder.stat("dropped_ring");
    let spool = holder.stat("dropped_spool");
    assert_eq!(ring, 0);
    assert!(spool > 1000, "{spool}");
    assert!(holder.stat("spooled_bytes") <= 1 << 20);
    let (high, max) = (holder.stat("spool_high_water"), holder.stat("spool_max"));
    // The block that found no room may be one of 200 KB.
    assert!((750_000..=1 << 20).contains(&high) && max == 1 << 20, "{high} of {max}");
    let said = |text: &String| text.starts_with("error:") && text.contains("the spool is full");
    assert!(process.messages().iter().any(said));
    gate.open(&server);
    let pipeline = std::sync::Arc::clone(&holder.pipeline);
    drop(holder);
    wait_for("the end", || pipeline.stats().snapshot().contains(&("spooled_blocks", 0)));
    let stat = |name: &str| {
        pipeline.stats().snapshot().iter().find(|(known, _)| *known == name).unwrap().1
    };
    wait_for("every record to be somewhere", || {
        stat("uploaded_records") + stat("dropped_spool") == 5000
    });
    drop(pipeline);
    process.wait_closed();
    let found = lines(&server);
    let numbers: Vec<usize> =
        found.iter().map(|line| line.rsplit(' ').next().unwrap().parse().unwrap()).collect();
    let mut once = numbers.clone();
    once.sort_unstable();
    once.dedup();
    assert_eq!(once.len(), numbers.len(), "nothing twice");
    assert!((numbers.len() as u64) < 4000 && numbers.len() > 500, "{}", numbers.len());
    // One end or the other is what is left; and the two blocks that uploaders have in hand.
    let middle = once[once.len() / 2];
    if policy == "drop_newest" {
        assert!(middle < 1000, "{middle}");
    } else {
        assert!(middle > 3500 && once.contains(&4999), "{middle}");
    }
}

#[test]
fn a_full_spool_that_drops_the_newest_counts_them_and_keeps_the_oldest() {
    spool_full("drop_newest");
}

#[test]
fn a_full_spool_that_drops_the_oldest_counts_them_and_keeps_the_newest() {
    spool_full("drop_oldest");
}

#[test]
fn a_block_ends_before_it_fills_the_spool_alone_and_nothing_is_dropped_while_the_gateway_takes_blocks()
 {
    for policy in ["drop_oldest", "drop_newest"] {
        let server = S3Server::start();
        let process = Process::new();
        let settings = [
            ("spool_max", "1MB"),
            ("on_spool_full", policy),
            ("on_full", "wait"),
            ("max_wait", "10s"),
            ("exit_timeout", "60s"),
        ];
        let holder = process.attach(&server.endpoint(), &settings);
        // More than twice what the spool may hold, each part once there is room for it.
        let (parts, part) = (12, 250);
        for _ in 0..parts {
            push_incompressible(&holder, part);
            wait_for("the part to be packed", || holder.stat("ring_used") < 300_000);
            wait_for("room, or a drop", || {
                holder.stat("dropped_spool") > 0
                    || holder.stat("spooled_records") <= 2 * part as u64
            });
        }
        holder.wait_balance();
        assert_eq!(holder.stat("dropped_spool"), 0, "{policy}: {:?}", process.messages());
        let high = holder.stat("spool_high_water");
        assert!(high <= 1 << 20, "{high}");
        drop(holder);
        process.wait_closed();
        assert_eq!(lines(&server).len(), parts * part);
    }
}

#[test]
fn a_block_that_the_gateway_will_never_take_is_set_aside_and_counted() {
    let refusal =
        || Play::Say(reply("400 Bad Request", &[], &error("EntityTooLarge", "too large")));
    let gateway = Fake::start(vec![refusal(), refusal(), refusal()]);
    let process = Process::new();
    let holder = process.attach(&gateway.endpoint(), &[("period", "100ms")]);
    // One record is one block, however slowly this test runs.
    holder.push("refused", 0..1);
    holder.wait_stat("quarantined_records", 1);
    holder.wait_balance();
    assert_eq!(holder.stat("blocks_quarantined"), 1);
    assert_eq!(holder.stat("spooled_blocks"), 0);
    let quarantine = process.spool().join("access/quarantine");
    assert_eq!(fs::read_dir(quarantine).unwrap().count(), 3);
    let aside = |text: &String| text.contains("attempt 3") && text.contains("set aside");
    assert!(process.messages().iter().any(aside), "{:?}", process.messages());
}

#[test]
fn a_block_that_cannot_be_read_holds_up_no_other_and_floods_no_log() {
    let server = S3Server::start();
    let process = Process::new();
    let gate = Gate::shut();
    let holder = process.attach(&gate.endpoint(), &[("period", "100ms"), ("upload_threads", "1")]);
    holder.push("unreadable", 0..1);
    holder.wait_stat("blocks_sealed", 1);
    holder.push("fine", 0..1);
    holder.wait_stat("blocks_sealed", 2);
    let (there, away) =
        (process.spool().join("access/0000000001.data"), process.spool().join("away"));
    fs::rename(&there, &away).unwrap();
    gate.open(&server);
    // A reload tries again at once.
    let again = process.attach(&gate.endpoint(), &[("period", "100ms"), ("upload_threads", "1")]);
    holder.wait_stat("uploaded_records", 1);
    assert_eq!(lines(&server), expected(&[("fine", 0..1)]));
    holder.wait_stat("spool_errors", 2);
    let about = |text: &String| text.contains("block 1") && text.contains("0000000001.data");
    assert!(process.messages().iter().filter(|text| about(text)).count() <= 1);
    fs::rename(&away, &there).unwrap();
    holder.wait_stat("uploaded_records", 2);
    holder.wait_balance();
    drop(again);
    assert_eq!(lines(&server), expected(&[("fine", 0..1), ("unreadable", 0..1)]));
}

/// Four paths that no argument can use, with what a message says of each.
fn unusable(directory: &Path) -> [(PathBuf, &'static str); 4] {
    let at = |name: &str| directory.join(name);
    mkfifo(&at("fifo"));
    fs::create_dir(at("folder")).unwrap();
    // Takes no space: nothing of it is read.
    fs::File::create(at("huge")).unwrap().set_len(1 << 40).unwrap();
    [
        (at("fifo"), "it is a FIFO: a regular file of at most "),
        (at("folder"), "it is a directory: a regular file of at most "),
        ("/dev/zero".into(), "it is a character device: a regular file of at most "),
        (at("huge"), "it has 1099511627776 bytes: a regular file of at most "),
    ]
}

pub(crate) fn mkfifo(path: &Path) {
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
}

/// What `body` gives; a test that would wait for ever fails.
pub(crate) fn promptly<T: Send + 'static>(
    what: &str,
    body: impl FnOnce() -> T + Send + 'static,
) -> T {
    let running = std::thread::spawn(body);
    wait_for(what, || running.is_finished());
    running.join().unwrap()
}

#[test]
fn a_file_argument_that_is_no_regular_file_is_refused_by_name_and_at_once() {
    let process = Arc::new(Process::new());
    let tls = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tls");
    let certificate = tls.join("client.pem").display().to_string();
    for (path, found) in unusable(process.directory.path()) {
        let given = path.to_str().unwrap();
        for (argument, more) in [
            ("config", vec![]),
            ("credentials", vec![("credentials", given)]),
            ("ca_file", vec![("ca_file", given)]),
            ("client_certificate", vec![("client_certificate", given), ("client_key", given)]),
            ("client_key", vec![("client_certificate", &*certificate), ("client_key", given)]),
            ("encrypt_to", vec![("encrypt_to", given)]),
            ("public_key", vec![("public_key", given)]),
            ("sign_key", vec![("sign_key", given)]),
        ] {
            let mut arguments = process.arguments(DEAD, &more);
            let (process, path) = (Arc::clone(&process), path.clone());
            let said = promptly(&format!("{argument} = {given}"), move || {
                if argument == "config"
                    && let Err(error) = arguments.fill_from_file(&path)
                {
                    return error.to_string();
                }
                match Settings::read(&arguments) {
                    Ok(settings) => process.refuses(settings),
                    Err(error) => error.to_string(),
                }
            });
            assert!(said.starts_with("s3log: stream access: "), "{said}");
            for part in [argument, given, found] {
                assert!(said.contains(part), "{argument} = {given}: {said}");
            }
            assert!(!said.contains("varnishd's child"), "{said}");
        }
    }
    assert!(process.registry.is_empty());
}

#[test]
fn a_credentials_file_that_turns_into_a_fifo_is_told_and_uploads_go_on_when_it_is_a_file_again() {
    let server = S3Server::start();
    let process = Process::new();
    let credentials = process.directory.path().join("credentials");
    let aside = process.directory.path().join("aside");
    let holder = process.attach(&server.endpoint(), &[("period", "100ms")]);
    holder.push("before", 0..10);
    holder.wait_stat("uploaded_records", 10);
    fs::rename(&credentials, &aside).unwrap();
    mkfifo(&credentials);
    // The cache looks at the file once a second: records until one needs the new one.
    let said = |text: &String| text.starts_with("error: ") && text.contains("it is a FIFO: ");
    let pushed = Cell::new(0);
    wait_for("a message about the FIFO", || {
        holder.push("meanwhile", pushed.get()..pushed.get() + 1);
        pushed.set(pushed.get() + 1);
        process.messages().iter().any(said)
    });
    fs::rename(&aside, &credentials).unwrap();
    // A reload that is used ends the uploader's back-off, which may have most of a minute left.
    let reload = process.attach(&server.endpoint(), &[("period", "100ms")]);
    reload.push("after", 0..1);
    holder.wait_stat("uploaded_records", 11 + pushed.get() as u64);
    holder.wait_balance();
    drop(reload);
    let all = [("before", 0..10), ("meanwhile", 0..pushed.get()), ("after", 0..1)];
    assert_eq!(lines(&server), expected(&all));
}

#[test]
fn a_stray_write_into_the_ring_costs_its_record_and_not_the_rest_of_the_day() {
    let server = S3Server::start();
    let process = Process::new();
    let (there, away) = (process.spool().join("access"), process.spool().join("away"));
    let holder = process.attach(&server.endpoint(), &[("period", "100ms")]);
    fs::rename(&there, &away).unwrap();
    holder.push("in hand", 0..10);
    // From here on the packer has a chunk that it cannot store, and reads nothing more.
    holder.wait_stat("spool_errors", 1);
    holder.push("behind", 0..10);
    let ring = away.join("ring");
    let bytes = fs::read(&ring).unwrap();
    let at = bytes.windows(9).position(|window| window == b"behind 5\n").unwrap();
    let file = fs::OpenOptions::new().write(true).open(&ring).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"stray", at as u64).unwrap();
    fs::rename(&away, &there).unwrap();
    holder.wait_stat("uploaded_records", 19);
    holder.push("after", 0..10);
    holder.wait_stat("uploaded_records", 29);
    assert_eq!(holder.stat("torn"), 1);
    let mut wanted = expected(&[("in hand", 0..10), ("behind", 0..10), ("after", 0..10)]);
    wanted.retain(|line| !line.contains("behind 5"));
    assert_eq!(lines(&server), wanted);
    wait_for("a word about it", || {
        process.messages().iter().any(|text| text.contains("at least 1 records lost: other code"))
    });
}

#[test]
fn zeros_in_the_ring_cost_their_records_and_hold_up_neither_reading_nor_the_end() {
    let server = S3Server::start();
    let clock = Trouble::of("s3log-pack");
    let (process, _) = process(&clock);
    let holder =
        process.attach(&server.endpoint(), &[("period", "100ms"), ("exit_timeout", "10m")]);
    let ring = process.spool().join("access/ring");
    // Some of ten, and then the only one.
    for (name, pushed, zeroed) in [("many", 10, 3..6), ("one", 1, 0..1)] {
        let before = holder.stat("torn");
        clock.stop();
        holder.push(name, 0..pushed);
        let bytes = fs::read(&ring).unwrap();
        let line = format!("{name} {}\n", zeroed.start);
        let at = bytes.windows(line.len()).position(|window| window == line.as_bytes()).unwrap();
        let file = fs::OpenOptions::new().write(true).open(&ring).unwrap();
        let zeros = vec![0; (8 + line.len()).next_multiple_of(8) * zeroed.len()];
        std::os::unix::fs::FileExt::write_all_at(&file, &zeros, at as u64 - 8).unwrap();
        clock.go_on();
        holder.wait_stat("torn", before + 1);
    }
    holder.wait_stat("uploaded_records", 7);
    assert_eq!(lines(&server), expected(&[("many", 0..3), ("many", 6..10)]));
    let said = |text: &String| text.contains("at least 1 records lost: other code in varnishd");
    assert!(process.messages().iter().any(said), "{:?}", process.messages());
    drop(holder);
    process.wait_closed();
}

/// What the worker had claimed was all that was in the ring.
#[test]
fn a_record_that_a_worker_died_in_does_not_hold_up_the_end_of_its_stream() {
    let server = S3Server::start();
    for sync in ["none", "block", "1h"] {
        let process = Process::new();
        let more = [("period", "100ms"), ("exit_timeout", "10m"), ("sync", sync)];
        drop(process.attach(&server.endpoint(), &more));
        process.wait_closed();
        let holder = process.attach(&server.endpoint(), &more);
        holder.push(sync, 0..1);
        holder.wait_stat("uploaded_records", 1);
        drop(holder);
        process.wait_closed();
        let ring = process.spool().join("access/ring");
        let mut bytes = fs::read(&ring).unwrap();
        let tail = u64::from_ne_bytes(bytes[256..264].try_into().unwrap());
        bytes[256..264].copy_from_slice(&(tail + 24).to_ne_bytes());
        fs::write(&ring, &bytes).unwrap();
        let holder = process.attach(&server.endpoint(), &more);
        holder.wait_stat("torn", 1);
        drop(holder);
        process.wait_closed();
        let ring = fs::read(&ring).unwrap();
        assert!(ring[4096..4096 + 64].iter().all(|byte| *byte == 0), "{sync}: not released");
    }
}
