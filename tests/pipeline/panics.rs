//! Threads that panic or are held up: no record is lost, and the counters go on telling the truth.
//!
//! The clock is the environment's, and so it may panic or wait in the thread that asks it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use vmod_s3log::clock::{Clock, System};
use vmod_s3log::events::{Events, Level};
use vmod_s3log::pipeline::Observer;
use vmod_s3log::stats::{Stats, get};

use crate::common::gate::Gate;
use crate::common::s3_server::S3Server;
use crate::common::stream::{Process, Told, expected, lines, wait_for};
use crate::start::{World, push};

/// The machine's clock, which makes trouble for threads of a name.
pub(crate) struct Trouble {
    clock: System,
    thread: &'static str,
    /// Each question of that thread counts it down; at 0 it panics.
    panic_in: AtomicU64,
    /// How often it has panicked.
    panicked: AtomicU64,
    held: Mutex<bool>,
    /// That thread waits to be let go.
    waits: AtomicBool,
    freed: Condvar,
    /// Seconds that the wall clock has jumped.
    jumped: AtomicU64,
    /// Seconds that all clocks are ahead.
    ahead: AtomicU64,
}

impl Trouble {
    pub(crate) fn of(thread: &'static str) -> Arc<Self> {
        Arc::new(Self {
            clock: System::new(),
            thread,
            panic_in: AtomicU64::new(u64::MAX),
            panicked: AtomicU64::new(0),
            held: Mutex::new(false),
            waits: AtomicBool::new(false),
            freed: Condvar::new(),
            jumped: AtomicU64::new(0),
            ahead: AtomicU64::new(0),
        })
    }

    fn panic_in(&self, questions: u64) {
        self.panic_in.store(questions, Ordering::SeqCst);
    }

    /// All clocks are so many seconds ahead.
    pub(crate) fn go_ahead(&self, seconds: u64) {
        self.ahead.store(seconds, Ordering::SeqCst);
    }

    fn hold(&self, hold: bool) {
        *self.held.lock().unwrap() = hold;
        self.freed.notify_all();
    }

    /// Holds that thread, and returns when it stands.
    pub(crate) fn stop(&self) {
        self.hold(true);
        wait_for("the thread to stand", || self.waits.load(Ordering::SeqCst));
    }

    pub(crate) fn go_on(&self) {
        self.hold(false);
    }

    pub(crate) fn ask(&self) {
        if std::thread::current().name() != Some(self.thread) {
            return;
        }
        let mut held = self.held.lock().unwrap();
        while *held {
            self.waits.store(true, Ordering::SeqCst);
            held = self.freed.wait(held).unwrap();
        }
        self.waits.store(false, Ordering::SeqCst);
        drop(held);
        let before = self.panic_in.load(Ordering::SeqCst);
        if before == u64::MAX {
            return;
        }
        if before == 0 {
            self.panic_in.store(u64::MAX, Ordering::SeqCst);
            self.panicked.fetch_add(1, Ordering::SeqCst);
            panic!("on purpose");
        }
        self.panic_in.store(before - 1, Ordering::SeqCst);
    }
}

impl Clock for Trouble {
    fn unix(&self) -> Duration {
        self.ask();
        self.clock.unix() + Duration::from_secs(self.jumped.load(Ordering::SeqCst))
    }

    fn monotonic(&self) -> Duration {
        self.ask();
        self.clock.monotonic() + Duration::from_secs(self.ahead.load(Ordering::SeqCst))
    }

    fn sleep(&self, duration: Duration) {
        self.clock.sleep(duration);
    }
}

/// What was published last.
#[derive(Clone, Default)]
pub(crate) struct Published(Arc<Mutex<HashMap<&'static str, u64>>>);

impl Observer for Published {
    fn observe(&mut self, stats: &Stats) {
        *self.0.lock().unwrap() = stats.snapshot().into_iter().collect();
    }
}

impl Published {
    fn get(&self, name: &str) -> u64 {
        self.0.lock().unwrap().get(name).copied().unwrap_or(0)
    }
}

pub(crate) fn process(clock: &Arc<Trouble>) -> (Process, Published) {
    let mut process = Process::new();
    let published = Published::default();
    let observer = published.clone();
    process.environment.clock = Arc::clone(clock) as Arc<dyn Clock>;
    process.environment.observer = Arc::new(move |_| Box::new(observer.clone()));
    (process, published)
}

#[test]
fn a_packer_that_panics_goes_on_and_no_record_is_lost_or_sent_twice() {
    let server = S3Server::start();
    for questions in [0, 1, 2, 3, 4, 5, 7, 9] {
        let clock = Trouble::of("s3log-pack");
        let (process, published) = process(&clock);
        let stream = questions.to_string();
        let path = format!("{stream}/");
        let holder = process.attach(&server.endpoint(), &[("period", "100ms"), ("path", &path)]);
        holder.push(&stream, 0..500);
        // The spool is taken up by then.
        holder.wait_stat("uploaded_records", 500);
        clock.panic_in(questions);
        holder.push(&stream, 500..1000);
        wait_for("the panic", || clock.panicked.load(Ordering::SeqCst) == 1);
        holder.push(&stream, 1000..1500);
        wait_for("the counters", || published.get("uploaded_records") == 1500);
        holder.wait_balance();
        let said = |text: &String| text.contains("the packer panicked and goes on");
        assert_eq!(process.messages().iter().filter(|text| said(text)).count(), 1);
        drop(holder);
        process.wait_closed();
    }
    let all = [0, 1, 2, 3, 4, 5, 7, 9].map(|questions| questions.to_string());
    let pushed: Vec<_> = all.iter().map(|stream| (&**stream, 0..1500)).collect();
    assert_eq!(lines(&server), expected(&pushed));
}

#[test]
fn an_uploader_that_panics_goes_on_and_sends_the_block() {
    let server = S3Server::start();
    let clock = Trouble::of("s3log-put");
    let (process, _) = process(&clock);
    let holder =
        process.attach(&server.endpoint(), &[("period", "100ms"), ("upload_threads", "1")]);
    for round in 0..6 {
        clock.panic_in(round);
        let before = clock.panicked.load(Ordering::SeqCst);
        holder.push("line", round as usize..round as usize + 1);
        wait_for("the panic", || clock.panicked.load(Ordering::SeqCst) > before);
        holder.wait_stat("uploaded_records", round + 1);
    }
    holder.wait_balance();
    assert_eq!(holder.stat("blocks_quarantined"), 0);
    assert_eq!(lines(&server), expected(&[("line", 0..6)]));
}

/// Panics in the thread that says `at`, the first `times` that it does.
struct Touchy {
    told: Arc<Told>,
    at: &'static str,
    times: u64,
    said: AtomicU64,
}

impl Touchy {
    /// One that hears what `process` says from now on.
    fn of(process: &mut Process, at: &'static str, times: u64) -> Arc<Self> {
        let told = Arc::clone(&process.told);
        let touchy = Arc::new(Self { told, at, times, said: AtomicU64::new(0) });
        process.environment.events = Arc::clone(&touchy) as Arc<dyn Events>;
        touchy
    }
}

impl Events for Touchy {
    fn event(&self, level: Level, message: &str) {
        self.told.event(level, message);
        if message.contains(self.at) && self.said.fetch_add(1, Ordering::SeqCst) < self.times {
            panic!("on purpose");
        }
    }
}

#[test]
fn a_block_that_makes_an_uploader_panic_twice_is_set_aside() {
    let clock = Trouble::of("nobody");
    let (mut process, _) = process(&clock);
    // With the block in hand.
    let touchy = Touchy::of(&mut process, "kept, tried again", u64::MAX);
    let gate = Gate::shut();
    let holder =
        process.attach(&gate.endpoint(), &[("period", "100ms"), ("exit_timeout", "100ms")]);
    holder.push("touchy", 0..1);
    wait_for("the first panic", || touchy.said.load(Ordering::SeqCst) == 1);
    // A failure of one kind is told once a minute.
    clock.go_ahead(120);
    wait_for("the second one", || touchy.said.load(Ordering::SeqCst) == 2);
    holder.wait_stat("blocks_quarantined", 1);
    holder.wait_stat("quarantined_records", 1);
    holder.wait_balance();
    let quarantine = process.spool().join("access/quarantine/0000000001.reason");
    let reason = std::fs::read_to_string(quarantine).unwrap();
    assert!(reason.contains("panicked twice"), "{reason}");
}

#[test]
fn the_counters_tell_of_drops_while_the_packer_is_held_up() {
    let server = S3Server::start();
    let clock = Trouble::of("s3log-pack");
    let (process, published) = process(&clock);
    let holder = process.attach(&server.endpoint(), &[("period", "100ms")]);
    holder.push("before", 0..1);
    holder.wait_stat("uploaded_records", 1);
    clock.hold(true);
    holder.push(&"x".repeat(1000), 0..2000);
    let dropped = holder.stat("dropped_ring");
    assert!(dropped > 0);
    wait_for("what is published", || {
        published.get("dropped_ring") == dropped
            && published.get("ring_used") > 900_000
            && published.get("packer_silent") >= 1
    });
    clock.hold(false);
    holder.wait_stat("uploaded_records", 2001 - dropped);
    wait_for("the packer's sign of life", || published.get("packer_silent") == 0);
    holder.wait_balance();
}

#[test]
fn a_jump_of_the_wall_clock_makes_no_block_old() {
    let clock = Trouble::of("nobody");
    let (process, published) = process(&clock);
    let gate = Gate::shut();
    let holder =
        process.attach(&gate.endpoint(), &[("period", "100ms"), ("exit_timeout", "100ms")]);
    holder.push("line", 0..1);
    wait_for("a block that waits", || published.get("spooled_blocks") == 1);
    holder.wait_stat("blocks_sealed", 1);
    let seen = published.get("packer_silent");
    clock.jumped.store(86_400, Ordering::SeqCst);
    holder.push("line", 1..2);
    holder.wait_stat("blocks_sealed", 2);
    wait_for("two blocks", || published.get("spooled_blocks") == 2);
    assert!(published.get("oldest_unsent") < 3600, "{seen}");
}

#[test]
fn a_stream_that_closes_with_blocks_left_says_where_and_how_many_once() {
    let process = Process::new();
    let gate = Gate::shut();
    let holder = process.attach(&gate.endpoint(), &[("exit_timeout", "100ms")]);
    holder.push("left", 0..7);
    drop(holder);
    process.wait_closed();
    let place = process.spool().join("access").display().to_string();
    let said = |text: &String| {
        text.starts_with("warning: stream access: closed with 1 blocks with 7 records left in ")
            && text.contains(&place)
    };
    let messages = process.messages();
    assert_eq!(messages.iter().filter(|text| said(text)).count(), 1, "{messages:?}");
}

#[test]
fn upload_threads_changes_with_a_reload_that_is_used() {
    let server = S3Server::start();
    let process = Process::new();
    let threads = || {
        std::fs::read_dir("/proc/self/task")
            .unwrap()
            .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok())
            .filter(|name| name.trim() == "s3log-put")
            .count()
    };
    let one = process.attach(&server.endpoint(), &[("period", "100ms"), ("upload_threads", "1")]);
    one.push("one", 0..1);
    one.wait_stat("uploaded_records", 1);
    let many = process.attach(&server.endpoint(), &[("period", "100ms"), ("upload_threads", "16")]);
    many.push("many", 0..1);
    // Other tests of this process have fewer each.
    wait_for("the threads", || threads() >= 16);
    many.wait_stat("uploaded_records", 2);
}

#[test]
fn a_panic_while_a_spool_is_taken_up_costs_no_record_and_logging_goes_on() {
    let server = S3Server::start();
    let questions = [0, 1, 2, 3];
    for count in questions {
        let clock = Trouble::of("s3log-pack");
        let (process, published) = process(&clock);
        let stream = count.to_string();
        let path = format!("{stream}/");
        let arguments = [("period", "100ms"), ("path", &*path)];
        // What is taken up.
        let holder = process.attach(&server.endpoint(), &arguments);
        holder.push(&stream, 0..500);
        holder.wait_stat("uploaded_records", 500);
        drop(holder);
        process.wait_closed();
        clock.panic_in(count);
        let holder = process.attach(&server.endpoint(), &arguments);
        holder.push(&stream, 500..1000);
        wait_for("the panic", || clock.panicked.load(Ordering::SeqCst) == 1);
        holder.push(&stream, 1000..1500);
        wait_for("the counters", || published.get("uploaded_records") == 1000);
        holder.wait_balance();
        let said = |text: &String| text.contains("the packer panicked and goes on");
        assert_eq!(process.messages().iter().filter(|text| said(text)).count(), 1);
        drop(holder);
        process.wait_closed();
    }
    let all = questions.map(|count| count.to_string());
    let pushed: Vec<_> = all.iter().map(|stream| (&**stream, 0..1500)).collect();
    assert_eq!(lines(&server), expected(&pushed));
}

#[test]
fn a_start_that_panics_is_tried_again_and_no_line_is_lost_or_repeated() {
    // While it waits for its time, and in what it does then.
    for questions in [0, 1, 2, 3] {
        let clock = Trouble::of("s3log-start");
        let (process, published) = process(&clock);
        let world = World::of(process, Arc::clone(&clock) as Arc<dyn Clock>);
        world.block();
        let outlet = world.open(true, &[]).unwrap();
        push(&outlet, "waited", 0..100);
        world.unblock();
        clock.panic_in(questions);
        clock.go_ahead(20);
        wait_for("the panic", || clock.panicked.load(Ordering::SeqCst) == 1);
        push(&outlet, "after", 0..100);
        wait_for("the counters", || published.get("uploaded_records") == 200);
        assert_eq!(lines(&world.server), expected(&[("waited", 0..100), ("after", 0..100)]));
        let said = |text: &String| text.contains("its start panicked and is tried again");
        assert_eq!(world.process.messages().iter().filter(|text| said(text)).count(), 1);
        assert_eq!(published.get("dropped_ring"), 0);
    }
}

#[test]
fn a_start_that_panics_with_all_lines_handed_over_counts_none_of_them_twice() {
    let clock = Trouble::of("nobody");
    let (mut process, published) = process(&clock);
    let touchy = Touchy::of(&mut process, "it has started", 1);
    let world = World::of(process, Arc::clone(&clock) as Arc<dyn Clock>);
    world.block();
    let outlet = world.open(true, &[]).unwrap();
    push(&outlet, "waited", 0..100);
    // Beyond the room in memory.
    push(&outlet, &"x".repeat(1000), 0..2000);
    let (waited, dropped) =
        (get(&outlet.stats().records_unspooled), get(&outlet.stats().dropped_ring));
    assert!(waited > 100 && dropped > 0, "{waited} {dropped}");
    world.unblock();
    clock.go_ahead(20);
    wait_for("another word", || touchy.said.load(Ordering::SeqCst) == 2);
    wait_for("the counters", || published.get("uploaded_records") == waited);
    assert_eq!(get(&outlet.stats().records_unspooled), waited);
    assert_eq!(get(&outlet.stats().dropped_ring), dropped);
    assert_eq!(lines(&world.server).len() as u64, waited);
}

#[test]
fn a_route_whose_taking_up_panics_is_taken_up_all_the_same() {
    // While it waits for the other VCLs, and in what it does then.
    for questions in [0, 1, 2, 3] {
        let server = S3Server::start();
        let gate = Gate::shut();
        let mut process = Process::new();
        let old = [("path", "old/"), ("exit_timeout", "100ms")];
        let first = process.attach(&gate.endpoint(), &old);
        first.push("old", 0..10);
        drop(first);
        process.wait_closed();
        gate.open(&server);
        let clock = Trouble::of("s3log-route");
        clock.panic_in(questions);
        process.environment.clock = Arc::clone(&clock) as Arc<dyn Clock>;
        let second = process.attach(&server.endpoint(), &[("path", "new/"), ("period", "100ms")]);
        wait_for("the panic", || clock.panicked.load(Ordering::SeqCst) == 1);
        second.push("new", 0..10);
        second.wait_stat("uploaded_records", 10);
        let all = expected(&[("new", 0..10), ("old", 0..10)]);
        wait_for("the old route's lines", || lines(&server) == all);
        wait_for("the old route to close", || process.registry.len() == 1);
        let said = |text: &String| text.contains("taking up what waits for other routes panicked");
        let messages = process.messages();
        assert_eq!(messages.iter().filter(|text| said(text)).count(), 1, "{messages:?}");
        second.wait_balance();
    }
}
