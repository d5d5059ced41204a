//! What is published of a pipeline, by a thread that never touches the disk.
//!
//! A disk that hangs holds up the packer, and perhaps an uploader with the spool's lock. The
//! counters go on being published meanwhile, and two gauges tell how long each has been silent. Ages
//! are told by the monotonic clock: the wall clock is asked once for each block that was begun
//! before this process saw it, so that a jump does not make a block old or young.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use super::Pipeline;
use super::view::{Sending, milliseconds};
use crate::stats::{get, set};

/// Blocks whose beginnings are remembered.
const REMEMBERED: usize = 4096;

impl Pipeline {
    /// Brings the gauges up to date and shows all counters. Waits for nobody who works on the disk.
    pub(super) fn publish(&self) {
        let clock = &*self.environment.clock;
        let (stats, view, now) = (&self.stats, &self.view, clock.monotonic());
        self.windows.look(&self.ring, clock);
        let mut memory = self.shown.lock();
        let memory = &mut *memory;
        if let Some(counts) = self.store.try_counts() {
            memory.counts = counts;
        }
        let (counts, usage) = (&memory.counts, self.ring.usage());
        set(
            &stats.dropped_spool,
            get(&view.dropped_newest) + counts.dropped.records + counts.lost.records,
        );
        set(&stats.ring_used, usage.used);
        set(&stats.ring_high_water, usage.high_water);
        set(&stats.ring_size, usage.capacity);
        let (held, damaged) = (counts.held, counts.damaged);
        let (open_bytes, open_records) = (get(&view.open_bytes), get(&view.open_records));
        let blocks = counts.sealed.blocks + held.blocks + damaged.blocks;
        set(&stats.spooled_blocks, blocks + u64::from(open_bytes > 0));
        let records = counts.sealed.records + held.records + damaged.records;
        set(&stats.spooled_records, records + open_records);
        set(&stats.spooled_bytes, counts.sealed.bytes + held.bytes + damaged.bytes + open_bytes);
        set(&stats.spool_used, counts.limited().saturating_add(open_bytes));
        set(&stats.spool_high_water, get(&view.spool_high_water));
        set(&stats.spool_max, get(&view.spool_max));
        // What another process has said may be anything.
        let both = |read: fn(&Sending) -> &AtomicU64| {
            get(read(&view.uploads)).saturating_add(get(read(&view.elsewhere)))
        };
        let bytes = both(|sending| &sending.bytes);
        let sent = both(|sending| &sending.sent);
        set(&stats.uploading_blocks, both(|sending| &sending.blocks));
        set(&stats.uploading_bytes, bytes);
        // An upload that has just ended may have taken its bytes away already.
        set(&stats.uploading_sent, sent.min(bytes));
        set(&stats.held_blocks, held.blocks);
        set(&stats.held_records, held.records);
        set(&stats.damaged_blocks, damaged.blocks);
        set(&stats.quarantined_blocks, counts.quarantined.blocks);
        set(&stats.quarantined_records, counts.quarantined.records);
        set(&stats.quarantined_bytes, counts.quarantined.bytes);
        let silent = |since: u64| milliseconds(now).saturating_sub(since) / 1000;
        set(&stats.packer_silent, silent(get(&view.round)));
        set(&stats.upload_silent, silent(get(&view.uploaded)));
        let open = Some(get(&view.open_first)).filter(|first| *first > 0);
        if let Some(first) = open {
            let since = Duration::from_millis(get(&view.open_since));
            memory.begun.entry(first).or_insert(since);
        }
        let waiting = counts.held_since.into_iter().chain(counts.damaged_since);
        let oldest = counts.oldest.into_iter().chain(waiting).chain(open).min();
        let age = oldest.map_or(0, |first| {
            let begun = *memory.begun.entry(first).or_insert_with(|| {
                let age = clock.unix().saturating_sub(Duration::from_nanos(first));
                now.saturating_sub(age)
            });
            now.saturating_sub(begun).as_secs()
        });
        set(&stats.oldest_unsent, age);
        while memory.begun.len() > REMEMBERED {
            // Of the oldest one that waits the age is told.
            let other = |first: &&u64| Some(**first) != oldest;
            let Some(first) = memory.begun.keys().find(other).copied() else { break };
            memory.begun.remove(&first);
        }
        memory.observer.observe(stats);
    }
}

#[cfg(test)]
#[cfg(not(s3log_loom))]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::Ordering;

    use super::*;
    use crate::block::{BootId, Drops};
    use crate::clock::{Clock, nanoseconds};
    use crate::pipeline::Environment;
    use crate::pipeline::tests::given::{environment, pipeline, settings};
    use crate::ring::{Backing, Capacity, Ring};
    use crate::spool::{ChunkStats, Memory, Options, Spool};

    /// Seconds since 1970, and those that have passed.
    #[derive(Debug)]
    struct Wall(AtomicU64, AtomicU64);

    impl Clock for Wall {
        fn unix(&self) -> Duration {
            Duration::from_secs(self.0.load(Ordering::Relaxed))
        }

        fn monotonic(&self) -> Duration {
            Duration::from_secs(self.1.load(Ordering::Relaxed))
        }

        fn sleep(&self, _: Duration) {}
    }

    #[test]
    fn the_age_of_the_oldest_of_very_many_blocks_does_not_follow_the_wall_clock() {
        let clock = Arc::new(Wall(AtomicU64::new(1_800_000_000), AtomicU64::new(1000)));
        let options = Options::new("access", "node", BootId::new(1_800_000_000, 1));
        let (mut spool, _) = Spool::open(Arc::new(Memory::new()), options, None).unwrap();
        let first = nanoseconds(clock.unix());
        let stats = ChunkStats { records: 1, raw_bytes: 2, first, last: first, cut: 0 };
        spool.append(b"1\n", stats).unwrap();
        spool.seal(&Drops::default()).unwrap();
        let ring = Ring::open(Backing::Memory, Capacity::tiny(1 << 12)).unwrap().ring;
        let environment = Environment { clock: clock.clone(), ..environment() };
        let pipeline = pipeline(settings(&[]), &environment, ring, spool.store());
        // One is begun each second while the first one waits.
        let many = REMEMBERED as u64 + 4;
        for second in 1..=many {
            clock.0.fetch_add(1, Ordering::Relaxed);
            clock.1.fetch_add(1, Ordering::Relaxed);
            set(&pipeline.view.open_first, nanoseconds(clock.unix()));
            set(&pipeline.view.open_since, milliseconds(clock.monotonic()));
            pipeline.publish();
            assert_eq!(get(&pipeline.stats.oldest_unsent), second);
        }
        for step in [-3 * 3600_i64, 6 * 3600] {
            clock.0.fetch_add(step.cast_unsigned(), Ordering::Relaxed);
            pipeline.publish();
            assert_eq!(get(&pipeline.stats.oldest_unsent), many, "{step}");
        }
        assert!(pipeline.shown.lock().begun.len() <= REMEMBERED);
    }
}
