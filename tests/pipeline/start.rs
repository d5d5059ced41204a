//! Streams that cannot be started when their VCL is loaded.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use vmod_s3log::block::{BootId, ChunkEncoder, Codec, Drops};
use vmod_s3log::clock::Clock;
use vmod_s3log::pipeline::{Attachment, Environment, Observer, Outlet, Outlets, Refusal, Starter};
use vmod_s3log::priority::Priority;
use vmod_s3log::ring::{Backing, Capacity, Ring};
use vmod_s3log::spool::{ChunkStats, Disk, Options, Spool, SyncPolicy};
use vmod_s3log::stats::{Stats, get};

use crate::common::clock::Shifted;
use crate::common::gate::Gate;
use crate::common::s3_server::S3Server;
use crate::common::stream::{DEAD, Process, expected, lines, wait_for};
use crate::faults::{mkfifo, promptly};

/// What was last shown under each name.
#[derive(Default)]
struct Shown(Mutex<BTreeMap<String, [u64; 2]>>);

struct Shows(Arc<Shown>, String);

impl Observer for Shows {
    fn observe(&mut self, stats: &Stats) {
        let counts = [get(&stats.records_unspooled), get(&stats.records)];
        self.0.0.lock().unwrap().insert(self.1.clone(), counts);
    }
}

/// A VCL that names the stream `access`.
struct Vcl {
    process: Arc<Process>,
    endpoint: String,
    more: Vec<(&'static str, String)>,
    /// What the VMOD takes from whether it is being launched.
    again: bool,
}

impl Starter for Vcl {
    fn start(&mut self) -> Result<Attachment, Refusal> {
        let more: Vec<_> = self.more.iter().map(|(name, value)| (*name, &**value)).collect();
        let arguments = self.process.arguments(&self.endpoint, &more);
        let (process, again) = (&self.process, self.again);
        process.registry.load(&arguments, again, &process.environment, |_| ())
    }

    fn loaded(&self, _attachment: &Attachment) {}

    fn end(&self, attachment: &Attachment) {
        self.process.registry.detach(attachment);
    }

    fn observer(&self) -> Box<dyn Observer> {
        let registry = &self.process.registry;
        registry.observer_while_waiting("access", &self.process.environment)
    }
}

pub(crate) struct World {
    pub(crate) process: Arc<Process>,
    pub(crate) server: S3Server,
    /// The outlet's time, which only the test moves.
    clock: Arc<dyn Clock>,
    outlets: Outlets,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::of(Process::new(), Arc::new(Shifted::default()))
    }

    /// Of a process, and an outlet with another clock.
    pub(crate) fn of(process: Process, clock: Arc<dyn Clock>) -> Self {
        let (process, server) = (Arc::new(process), S3Server::start());
        Self { process, server, clock, outlets: Outlets::default() }
    }

    pub(crate) fn open(
        &self,
        serve: bool,
        more: &[(&'static str, &str)],
    ) -> Result<Outlet, Refusal> {
        let mut all = vec![("period", "100ms".to_owned())];
        all.extend(more.iter().map(|(name, value)| (*name, (*value).to_owned())));
        let starter = Vcl {
            process: Arc::clone(&self.process),
            endpoint: self.server.endpoint(),
            more: all,
            again: serve,
        };
        let environment = self.environment();
        let room = Capacity::MIN;
        let outlet =
            Outlet::open("access", Box::new(starter), serve, room, &environment, &self.outlets)?;
        outlet.loaded();
        Ok(outlet)
    }

    fn environment(&self) -> Environment {
        let clock = self.clock.clone();
        Environment { clock, ..self.process.environment.clone() }
    }

    /// Nothing can be a directory where a file is.
    pub(crate) fn block(&self) {
        fs::write(self.process.spool().join("access"), "in the way").unwrap();
    }

    pub(crate) fn unblock(&self) {
        fs::remove_file(self.process.spool().join("access")).unwrap();
    }

    pub(crate) fn wait_open(&self, outlet: &Outlet) {
        self.clock.sleep(Duration::from_secs(10));
        wait_for("the start", || outlet.pipeline().is_some());
    }

    fn said(&self, beginning: &str) -> bool {
        self.process.messages().iter().any(|text| text.starts_with(beginning))
    }
}

pub(crate) fn push(outlet: &Outlet, name: &str, numbers: std::ops::Range<usize>) {
    for number in numbers {
        outlet.push(format!("{name} {number}\n").as_bytes(), Priority::Normal);
    }
}

#[test]
fn with_serve_lines_wait_in_memory_until_the_spool_can_be_used() {
    let world = World::new();
    world.block();
    let outlet = world.open(true, &[]).unwrap();
    assert!(world.said("error: stream access: spool "), "{:?}", world.process.messages());
    push(&outlet, "waited", 0..100);
    assert_eq!(get(&outlet.stats().records_unspooled), 100);
    assert!(outlet.status().contains(r#""state":"waiting""#), "{}", outlet.status());
    world.unblock();
    assert!(outlet.pipeline().is_none());
    world.wait_open(&outlet);
    push(&outlet, "after", 0..100);
    wait_for("uploads", || get(&outlet.stats().uploaded_records) == 200);
    assert_eq!(get(&outlet.stats().records_unspooled), 100);
    assert_eq!(get(&outlet.stats().dropped_ring), 0);
    assert_eq!(lines(&world.server), expected(&[("waited", 0..100), ("after", 0..100)]));
    let taken_up = "warning: stream access: it has started; 100 lines that waited in memory are";
    assert!(world.said(taken_up), "{:?}", world.process.messages());
}

#[test]
fn a_stream_that_waits_shows_its_counters_under_no_name_of_a_running_one() {
    let shown = Arc::new(Shown::default());
    let mut world = World::new();
    let shows = Arc::clone(&shown);
    let process = Arc::get_mut(&mut world.process).unwrap();
    process.environment.observer =
        Arc::new(move |name| Box::new(Shows(Arc::clone(&shows), name.to_owned())));
    world.block();
    let waiting = world.open(true, &[]).unwrap();
    push(&waiting, "waited", 0..7);
    let last = |name: &str| shown.0.lock().unwrap().get(name).copied();
    wait_for("its own name", || last("access") == Some([7, 0]));
    // One of its name with another spool starts, and takes the name.
    let other = world.process.directory.path().join("other");
    fs::create_dir(&other).unwrap();
    let running = world.open(false, &[("spool", other.to_str().unwrap())]).unwrap();
    push(&running, "runs", 0..3);
    wait_for("the name to change", || last("access@waiting") == Some([7, 0]));
    wait_for("the uploads", || get(&running.stats().uploaded_records) == 3);
    wait_for("the running one's", || last("access") == Some([0, 3]));
    shown.0.lock().unwrap().clear();
    wait_for("both once more", || last("access").is_some() && last("access@waiting").is_some());
    assert_eq!((last("access"), last("access@waiting")), (Some([0, 3]), Some([7, 0])));
    // What waited has a pipeline of its own.
    world.unblock();
    world.wait_open(&waiting);
    let names = || shown.0.lock().unwrap().keys().cloned().collect::<Vec<_>>();
    wait_for("three names", || names().len() == 3);
    assert!(names()[1].starts_with("access@"), "{:?}", names());
}

#[test]
fn a_file_of_keys_that_comes_later_starts_the_stream_and_nothing_goes_out_before_it() {
    let world = World::new();
    let keys = world.process.directory.path().join("keys");
    let given = keys.display().to_string();
    let outlet = world.open(true, &[("encrypt_to", &given)]).unwrap();
    push(&outlet, "secret", 0..10);
    let key = age::x25519::Identity::generate().to_public();
    fs::write(&keys, key.to_string()).unwrap();
    world.wait_open(&outlet);
    wait_for("uploads", || get(&outlet.stats().uploaded_records) == 10);
    let root = world.server.root().to_owned();
    let found = fs::read_dir(root.join(crate::common::s3_server::BUCKET)).unwrap();
    let sealed = |name: std::ffi::OsString| name.to_string_lossy().contains(".age");
    assert!(found.map(|entry| entry.unwrap().file_name()).any(sealed));
}

#[test]
fn with_fail_and_for_a_setting_that_is_wrong_the_load_fails() {
    let world = World::new();
    world.block();
    let refused = world.open(false, &[]).unwrap_err();
    assert!(matches!(&refused, Refusal::Place(text) if text.starts_with("s3log: stream access: ")));
    world.unblock();
    let refused = world.open(true, &[("period", "soon")]).unwrap_err();
    assert!(matches!(refused, Refusal::Setting(_)), "{refused}");
    assert!(world.process.messages().is_empty());
}

/// The settings file or VCL has not changed: the date has passed since.
const PASSED: [(&str, &str); 2] = [("gateway", "storj"), ("object_ttl", "2020-01-01T00:00:00Z")];

#[test]
fn a_date_that_has_passed_since_keeps_no_process_from_starting_and_loses_no_line() {
    let world = World::new();
    let outlet = world.open(true, &PASSED).unwrap();
    push(&outlet, "kept", 0..10);
    wait_for("the block", || get(&outlet.stats().spooled_records) == 10);
    assert_eq!(get(&outlet.stats().records_unspooled), 0);
    let said = "error: stream access: object_ttl: object_ttl is a date in the past: write a later \
                one, or a duration like 30d; the stream starts all the same";
    assert!(world.said(said), "{:?}", world.process.messages());
}

/// Debian has moved names of zones into another package.
#[test]
fn a_zone_that_the_system_has_no_more_keeps_no_process_from_starting() {
    let world = World::new();
    let outlet = world.open(true, &[("path_timezone", "Europe/Atlantis")]).unwrap();
    push(&outlet, "waits", 0..10);
    assert_eq!(get(&outlet.stats().records_unspooled), 10);
    let said =
        "error: stream access: path_timezone is \"Europe/Atlantis\"; expected UTC, local, or";
    assert!(world.said(said), "{:?}", world.process.messages());
}

#[test]
fn a_date_that_has_passed_fails_a_load_by_hand() {
    let world = World::new();
    let refused = world.open(false, &PASSED).unwrap_err();
    let past = |text: &str| text.contains("object_ttl is a date in the past");
    assert!(matches!(&refused, Refusal::Setting(text) if past(text)), "{refused}");
    assert!(world.process.messages().is_empty());
}

#[test]
fn each_new_reason_is_told_once() {
    let world = World::new();
    world.block();
    let _outlet = world.open(true, &[]).unwrap();
    let told = || world.process.messages().len();
    assert_eq!(told(), 1);
    world.unblock();
    fs::remove_file(world.process.directory.path().join("credentials")).unwrap();
    world.clock.sleep(Duration::from_secs(10));
    wait_for("the new reason", || told() == 2);
    assert!(world.said("error: stream access: credentials: "), "{:?}", world.process.messages());
}

#[test]
fn lines_that_find_no_room_in_memory_are_counted_and_the_count_goes_on() {
    let world = World::new();
    world.block();
    let outlet = world.open(true, &[]).unwrap();
    push(&outlet, &"x".repeat(1000), 0..2000);
    let (waited, dropped) =
        (get(&outlet.stats().records_unspooled), get(&outlet.stats().dropped_ring));
    assert_eq!(waited + dropped, 2000);
    assert!(waited > 900 && dropped > 900, "{waited} {dropped}");
    world.unblock();
    world.wait_open(&outlet);
    wait_for("uploads", || get(&outlet.stats().uploaded_records) == waited);
    wait_for("the counts", || get(&outlet.stats().dropped_ring) == dropped);
    assert_eq!(lines(&world.server).len() as u64, waited);
}

#[test]
fn workers_that_push_while_the_stream_starts_lose_nothing_and_repeat_nothing() {
    let world = World::new();
    world.block();
    let outlet = world.open(true, &[("ring", "64MB")]).unwrap();
    world.unblock();
    let stop = AtomicBool::new(false);
    let pushed: Vec<usize> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..4)
            .map(|worker| {
                let (outlet, stop) = (&outlet, &stop);
                scope.spawn(move || {
                    let mut number = 0;
                    // A few thousand after the start at the most: they fit into the share of the ring
                    // that normal records may fill, seven eighths.
                    while !stop.load(Ordering::Relaxed) && number < 9_000 {
                        push(outlet, &format!("worker {worker}"), number..number + 1);
                        number += 1;
                        std::thread::yield_now();
                    }
                    number
                })
            })
            .collect();
        world.wait_open(&outlet);
        stop.store(true, Ordering::Relaxed);
        workers.into_iter().map(|worker| worker.join().unwrap()).collect()
    });
    assert_eq!(get(&outlet.stats().dropped_ring), 0);
    let all = pushed.iter().sum::<usize>() as u64;
    wait_for("uploads", || get(&outlet.stats().uploaded_records) == all);
    let names: Vec<_> = (0..4).map(|worker| format!("worker {worker}")).collect();
    let pushed: Vec<_> = names.iter().zip(pushed).map(|(name, n)| (&**name, 0..n)).collect();
    assert_eq!(lines(&world.server), expected(&pushed));
}

#[test]
fn a_vcl_that_is_discarded_while_its_stream_waits_tries_once_more_or_says_what_is_lost() {
    let world = World::new();
    world.block();
    let outlet = world.open(true, &[]).unwrap();
    let when = "are lost if the cache process ends or this VCL is discarded before that";
    assert!(world.process.messages().iter().any(|text| text.ends_with(when)));
    push(&outlet, "lost", 0..7);
    drop(outlet);
    let lost = "error: stream access: 7 records lost: the stream was never started: ";
    wait_for("a message", || world.said(lost));
    let outlet = world.open(true, &[]).unwrap();
    push(&outlet, "late", 0..7);
    world.unblock();
    drop(outlet);
    wait_for("uploads", || lines(&world.server) == expected(&[("late", 0..7)]));
    world.process.wait_closed();
}

#[test]
fn the_exit_of_the_process_waits_for_a_last_attempt() {
    let world = World::new();
    world.block();
    let outlet = world.open(true, &[]).unwrap();
    push(&outlet, "last", 0..7);
    world.unblock();
    world.outlets.finish(&world.process.environment);
    world.process.registry.drain(&world.process.environment);
    assert_eq!(lines(&world.server), expected(&[("last", 0..7)]));
    drop(outlet);
    world.process.wait_closed();
}

#[test]
fn a_backlog_that_is_slow_to_read_holds_neither_the_load_nor_a_record() {
    let server = S3Server::start();
    let gate = Gate::shut();
    let process = Arc::new(Process::new());
    let more = [("period", "100ms"), ("exit_timeout", "0s")];
    let holder = process.attach(&gate.endpoint(), &more);
    holder.push("before", 0..10);
    holder.wait_stat("blocks_sealed", 1);
    drop(holder);
    process.wait_closed();
    // The description of the block that waits cannot be read until somebody writes into it.
    let folder = process.spool().join("access");
    let described = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|extension| extension == "json"))
        .unwrap();
    let aside = process.directory.path().join("description");
    fs::rename(&described, &aside).unwrap();
    mkfifo(&described);
    let loaded = {
        let (process, endpoint) = (Arc::clone(&process), gate.endpoint());
        promptly("the load", move || {
            let settings = process.settings(&endpoint, &[("period", "100ms")]);
            process.registry.attach(settings, &process.environment).unwrap()
        })
    };
    for number in 0..10 {
        loaded.push(format!("meanwhile {number}\n").as_bytes().into(), Priority::Normal);
    }
    // Opens when the packer's thread is at it.
    let mut writer = fs::OpenOptions::new().write(true).open(&described).unwrap();
    let stats = loaded.pipeline().stats();
    assert_eq!(get(&stats.records) + get(&stats.recovered), 0);
    fs::rename(&aside, &described).unwrap();
    writer.write_all(&fs::read(&described).unwrap()).unwrap();
    drop(writer);
    gate.open(&server);
    wait_for("uploads", || get(&stats.uploaded_records) == 20);
    assert_eq!(get(&stats.recovered), 10);
    assert_eq!(lines(&server), expected(&[("before", 0..10), ("meanwhile", 0..10)]));
    process.registry.detach(&loaded);
}

/// S3LOG_BACKLOG=300000 for the number of an outage of days; it prints what each part took.
#[test]
fn a_large_backlog_is_taken_up_after_the_load() {
    let blocks: u64 = std::env::var("S3LOG_BACKLOG").map_or(300, |text| text.parse().unwrap());
    let process = Process::new();
    let root = process.spool().join("access");
    // It has been used before: the folder says whose it is.
    let holder = process.attach(DEAD, &[("period", "100ms"), ("exit_timeout", "0s")]);
    holder.push("before", 0..1);
    holder.wait_stat("blocks_sealed", 1);
    drop(holder);
    process.wait_closed();
    {
        let boot = BootId::new(1_700_000_000, 1);
        let options = Options {
            sync: SyncPolicy::None,
            spool_max: u64::MAX,
            ..Options::new("access", "node", boot)
        };
        let files = Arc::new(Disk::open(&root).unwrap());
        let (mut spool, _) = Spool::open(files, options, None).unwrap();
        let mut member = Vec::new();
        ChunkEncoder::new(Codec::default()).unwrap().encode(b"line\n", &mut member).unwrap();
        let stats =
            ChunkStats { records: 1, raw_bytes: 5, first: 1, last: 1, ..ChunkStats::default() };
        for _ in 0..blocks {
            spool.append(&member, stats).unwrap();
            spool.seal(&Drops::default()).unwrap();
        }
    }
    if blocks > 1000 {
        // Cold, where the machine lets us.
        rustix::fs::sync();
        let _ = fs::write("/proc/sys/vm/drop_caches", "3");
    }
    let begin = Instant::now();
    let holder = process.attach(DEAD, &[]);
    let loaded = begin.elapsed();
    let end = begin + Duration::from_secs(600);
    while holder.stat("recovered") < blocks + 1 {
        assert!(Instant::now() < end, "{}", holder.stat("recovered"));
        std::thread::sleep(Duration::from_millis(10));
    }
    println!("{blocks} blocks: loaded after {loaded:?}, taken up after {:?}", begin.elapsed());
    assert_eq!(holder.stat("recovered"), blocks + 1);
}

/// To replace it all that waits would have to be read first, while the load waits.
#[test]
fn a_ring_keeps_its_size_while_much_waits_in_the_spool() {
    let process = Process::new();
    let start =
        |size| process.attach(DEAD, &[("ring", size), ("period", "100ms"), ("exit_timeout", "0s")]);
    let holder = start("1MB");
    // A folder that was never used goes with its stream.
    holder.push("before", 0..1);
    holder.wait_stat("blocks_sealed", 1);
    drop(holder);
    process.wait_closed();
    let root = process.spool().join("access");
    let ring = root.join("ring");
    // The most that is read while a load waits is 10,000 names.
    for (names, size) in [(10_001, 1 << 20), (0, 2 << 20)] {
        let opened = Ring::open(Backing::File(&ring), Capacity::MIN).unwrap();
        opened.ring.push(b"waits\n").unwrap();
        drop(opened);
        let files = || (1..=names).map(|number| root.join(format!("{:010}.sealed", 100 + number)));
        files().for_each(|file| fs::write(file, "").unwrap());
        let before = process.messages().len();
        let holder = start("2MB");
        holder.wait_stat("ring_size", 1);
        let said = process.messages().split_off(before);
        let keeps =
            "the ring keeps its size of 1MB for now: too much waits in the spool to be read";
        let told = said.iter().any(|text| text.contains(keeps));
        assert_eq!((holder.stat("ring_size"), told), (size, names > 0), "{said:?}");
        drop(holder);
        process.wait_closed();
        // Those that the start has not set aside.
        files().for_each(|file| drop(fs::remove_file(file)));
    }
}
