//! Uploaders of a slow gateway, by a clock that moves only while all of them wait.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use super::*;
use crate::block::BootId;
use crate::clock::Clock;
use crate::pipeline::Environment;
use crate::pipeline::tests::given;
use crate::ring::{Backing, Capacity, Ring};
use crate::s3::Options as S3Options;
use crate::spool::{ChunkStats, Memory, Options, SealedBlocks, Spool};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
/// As long as a block of 64 MB may take: its deadline is after 1,054 s, and the first wait ends after 94 s.
const LEN: u64 = 64 << 20;

/// Hands the time, and the right to run, from thread to thread: one at a time, whoever is due first.
struct Turns {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    now: Duration,
    /// Who waits until when; of several the one that has waited longest.
    asleep: BTreeSet<(Duration, u64)>,
    next: u64,
    running: Option<u64>,
}

impl Turns {
    /// For so many threads, which are all there from the start.
    fn new(threads: u64) -> Self {
        let asleep = (0..threads).map(|number| (SECOND, number)).collect();
        let state = State { now: SECOND, asleep, next: threads, running: None };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    /// The next one's turn.
    fn pass_on(&self) {
        let mut state = self.state.lock().unwrap();
        let next = state.asleep.pop_first();
        if let Some((time, _)) = next {
            state.now = time;
        }
        state.running = next.map(|(_, number)| number);
        drop(state);
        self.changed.notify_all();
    }

    fn wait_for_turn(&self, number: u64) {
        let state = self.state.lock().unwrap();
        drop(self.changed.wait_while(state, |state| state.running != Some(number)).unwrap());
    }
}

impl Clock for Turns {
    fn unix(&self) -> Duration {
        Duration::from_secs(1_800_000_000) + self.monotonic()
    }

    fn monotonic(&self) -> Duration {
        self.state.lock().unwrap().now
    }

    fn sleep(&self, duration: Duration) {
        let number = {
            let mut state = self.state.lock().unwrap();
            let (now, number) = (state.now, state.next);
            state.next += 1;
            state.asleep.insert((now + duration, number));
            number
        };
        self.pass_on();
        self.wait_for_turn(number);
    }
}

/// A thread of [`Turns`]. Gives its turn away when it ends, be it by a panic.
struct Thread<'a>(&'a Turns);

impl<'a> Thread<'a> {
    fn begin(turns: &'a Turns, number: u64) -> Self {
        turns.wait_for_turn(number);
        Self(turns)
    }
}

impl Drop for Thread<'_> {
    fn drop(&mut self) {
        self.0.pass_on();
    }
}

/// Answers every PUT, `answers` after it began, if the client is still there.
struct Slow {
    turns: Arc<Turns>,
    answers: Mutex<Duration>,
    sent: Mutex<BTreeMap<String, u32>>,
    timed_out: Mutex<u32>,
    longest: Mutex<Duration>,
}

impl PutOnce for Slow {
    fn put(&self, object: &PutObject<'_>) -> Answer {
        *self.sent.lock().unwrap().entry(object.key.to_owned()).or_default() += 1;
        let patience = S3Options::default().silence(LEN, object.patience);
        let answers = *self.answers.lock().unwrap();
        let silence = patience.min(answers);
        self.turns.sleep(silence);
        let outcome = if answers <= patience { Outcome::Stored } else { Outcome::TimedOut };
        if outcome == Outcome::TimedOut {
            *self.timed_out.lock().unwrap() += 1;
        }
        let mut longest = self.longest.lock().unwrap();
        *longest = longest.max(silence);
        Answer { silence, ..Answer::local(outcome, "") }
    }

    fn reread_credentials(&self) {}
}

/// A stream of which nothing runs but what the test does.
struct Stream {
    turns: Arc<Turns>,
    gateway: Slow,
    pipeline: Pipeline,
    spool: Mutex<Spool>,
}

impl Stream {
    fn new(answers: Duration, threads: u64) -> Self {
        let turns = Arc::new(Turns::new(threads));
        let environment = Environment { clock: turns.clone(), ..given::environment() };
        let store = Arc::new(SealedBlocks::empty(Arc::new(Memory::new())));
        let options = Options::new("access", "node", BootId::new(1, 1));
        let (spool, _) = Spool::open_into(&store, options, None).unwrap();
        let ring = Ring::open(Backing::Memory, Capacity::MIN).unwrap().ring;
        let pipeline = given::pipeline(given::settings(&[]), &environment, ring, store);
        let gateway = Slow {
            turns: turns.clone(),
            answers: Mutex::new(answers),
            sent: Mutex::default(),
            timed_out: Mutex::default(),
            longest: Mutex::default(),
        };
        Self { turns, gateway, pipeline, spool: Mutex::new(spool) }
    }

    fn seal_a_block(&self) {
        let mut spool = self.spool.lock().unwrap();
        let stats = ChunkStats { records: 1, raw_bytes: 6, first: 1, last: 1, cut: 0 };
        spool.append(b"block\n", stats).unwrap();
        spool.seal(&Default::default()).unwrap().unwrap();
    }

    /// As `run` does, until `end`.
    fn upload_until(&self, end: Duration) {
        let (pipeline, clock) = (&self.pipeline, &*self.turns);
        while clock.monotonic() < end {
            renew(pipeline);
            let news = pipeline.news();
            match claim(pipeline) {
                Ok((number, pass)) => {
                    let upload = Upload { pipeline, bucket: Some(&self.gateway), number };
                    if let Some(wait) = upload.run(pass) {
                        let wait = if pipeline.news() == news { wait } else { Duration::ZERO };
                        pipeline.store.release_until(number, clock.monotonic() + wait);
                    }
                    pipeline.busy.fetch_sub(1, Ordering::Release);
                }
                Err(wait) => clock.sleep(wait.clamp(Duration::from_millis(1), IDLE)),
            }
        }
    }

    /// So many uploaders until `end`, and `other` beside them, which runs by the same clock.
    fn run(&self, uploaders: u64, end: Duration, other: impl FnOnce() + Send) {
        thread::scope(|scope| {
            for number in 1..=uploaders {
                scope.spawn(move || {
                    let _turn = Thread::begin(&self.turns, number);
                    self.upload_until(end);
                });
            }
            scope.spawn(move || {
                let _turn = Thread::begin(&self.turns, 0);
                other();
            });
            self.turns.pass_on();
        });
    }

    fn waiting(&self) -> u64 {
        self.pipeline.store.counts().sealed.blocks
    }
}

#[test]
fn a_gateway_that_needs_more_than_two_waits_gets_each_block_though_another_comes_each_minute() {
    let stream = Stream::new(SECOND * 200, 5);
    stream.run(4, MINUTE * 130, || {
        for minute in 1..=120 {
            stream.seal_a_block();
            // What a reload, a new writer and a changed file of credentials do.
            if minute % 7 == 0 {
                stream.pipeline.changed();
            }
            stream.turns.sleep(MINUTE);
        }
    });
    assert_eq!(stream.waiting(), 0);
    let sent = stream.gateway.sent.lock().unwrap();
    assert_eq!(sent.len(), 120);
    // While it is learnt, by one attempt at a time that waits for longer; after that each block is sent once.
    let timed_out = *stream.gateway.timed_out.lock().unwrap();
    assert!((2..=20).contains(&timed_out), "{timed_out}: {sent:?}");
    assert!(*stream.gateway.longest.lock().unwrap() <= SECOND * 400);
}

#[test]
fn a_gateway_that_hung_and_answers_again_is_found_out_soon_and_waited_for_no_longer_than_before() {
    let hour = SECOND * 3600;
    let stream = Stream::new(hour * 1000, 3);
    stream.run(2, hour * 3, || {
        for minute in 1..=150 {
            stream.seal_a_block();
            if minute == 45 {
                *stream.gateway.answers.lock().unwrap() = SECOND;
            }
            stream.turns.sleep(MINUTE);
            // A brief attempt and a pause, although a long one began before that is waited for.
            if minute == 48 {
                assert!(stream.waiting() <= 4, "{}", stream.waiting());
            }
        }
        // It hangs once more.
        *stream.gateway.answers.lock().unwrap() = hour * 1000;
        *stream.gateway.longest.lock().unwrap() = Duration::ZERO;
        stream.seal_a_block();
        assert_eq!(stream.waiting(), 1);
        stream.turns.sleep(SECOND * 100);
        assert_eq!(*stream.gateway.longest.lock().unwrap(), SECOND * 94);
    });
}

#[test]
fn a_gateway_that_works_again_after_a_reload_is_found_out_soon_although_a_long_attempt_began_before()
 {
    let hour = SECOND * 3600;
    let stream = Stream::new(hour * 1000, 3);
    stream.run(2, hour * 2, || {
        stream.seal_a_block();
        stream.seal_a_block();
        stream.turns.sleep(hour);
        stream.pipeline.changed();
        stream.turns.sleep(MINUTE);
        *stream.gateway.answers.lock().unwrap() = SECOND;
        // A brief attempt that began before, and a pause.
        stream.turns.sleep(MINUTE * 2 + SECOND * 5);
        assert_eq!(stream.waiting(), 1, "only the long attempt is under way");
    });
    assert_eq!(stream.waiting(), 0);
}

#[test]
fn a_slow_gateway_that_hung_gets_each_block_soon_after() {
    let hour = SECOND * 3600;
    let stream = Stream::new(SECOND * 200, 3);
    stream.run(2, hour * 4, || {
        stream.seal_a_block();
        stream.turns.sleep(hour);
        assert_eq!(stream.waiting(), 0);
        *stream.gateway.answers.lock().unwrap() = hour * 1000;
        for _ in 0..3 {
            stream.seal_a_block();
        }
        stream.turns.sleep(hour);
        assert_eq!(stream.waiting(), 3);
        *stream.gateway.answers.lock().unwrap() = SECOND * 200;
        // An attempt that began before, a pause, and one block after the other beside the long attempt.
        stream.turns.sleep(SECOND * (400 + 30 + 200 + 200));
        assert!(stream.waiting() <= 1, "{}", stream.waiting());
    });
    assert_eq!(stream.waiting(), 0);
}
