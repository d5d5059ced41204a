//! What a stream counts, as plain atomics that any thread may read at any time.
//!
//! Only a worker that loses or cuts a record touches these on a request's path; everything else
//! is counted by the threads behind the ring. Counters (`c`) only grow while the process lives,
//! gauges (`g`) move both ways. At rest
//!
//! ```text
//! records + recovered
//!     = uploaded_records + spooled_records + quarantined_records + dropped_spool
//! ```
//!
//! holds: `records` counts what left the ring, and what never entered it is in `dropped_ring` and
//! `dropped_panic`.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::priority::Priority;

macro_rules! stats {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// The counters and gauges of one stream.
        #[derive(Debug, Default)]
        pub struct Stats {
            $($(#[doc = $doc])+ pub $name: AtomicU64,)+
        }

        impl Stats {
            /// Every name with its value now, in the order of the declaration.
            #[must_use]
            pub fn snapshot(&self) -> Vec<(&'static str, u64)> {
                // Relaxed: each value stands for itself, no other memory is read through it.
                vec![$((stringify!($name), self.$name.load(Ordering::Relaxed)),)+]
            }
        }
    };
}

stats! {
    /// c: records that left the ring for a block.
    records,
    /// c: bytes of those records, uncompressed.
    raw_bytes,
    /// c: bytes of chunks written to the spool, compressed.
    stored_bytes,
    /// c: records found in the ring and in blocks of an earlier process.
    recovered,
    /// c: torn records: a worker died while writing them, or they were damaged in the ring.
    torn,
    /// c: records lost because the ring had no room for their priority.
    dropped_ring,
    /// c: of those, the ones of low priority.
    shed_low,
    /// c: of those, the ones of normal priority.
    shed_normal,
    /// c: of those, the ones of high priority.
    shed_high,
    /// c: records lost because the spool was full or a block's file was gone.
    dropped_spool,
    /// c: records lost because the module did not see the end of their requests.
    dropped_end,
    /// c: records logged while the stream could not be started: they wait in memory.
    records_unspooled,
    /// c: records lost to a panic caught at the module's edge.
    dropped_panic,
    /// c: lines cut at max_line.
    truncated,
    /// c: lines in which a value was not to be had any more and stands as absent.
    incomplete,
    /// c: blocks closed.
    blocks_sealed,
    /// c: blocks that the gateway has.
    blocks_uploaded,
    /// c: records in those blocks.
    uploaded_records,
    /// c: bytes of those blocks.
    uploaded_bytes,
    /// c: upload attempts that did not succeed and are made again.
    upload_retries,
    /// c: blocks set aside because the gateway will never take them.
    blocks_quarantined,
    /// c: writes to the spool that failed and are made again.
    spool_errors,
    /// g: bytes of the ring in use.
    ring_used,
    /// g: the most bytes of the ring that were in use.
    ring_high_water,
    /// g: bytes the ring can hold.
    ring_size,
    /// g: blocks in the spool that are not uploaded, the open one included.
    spooled_blocks,
    /// g: records in those blocks.
    spooled_records,
    /// g: bytes of those blocks.
    spooled_bytes,
    /// g: of those blocks, the ones in clear that wait for a key to be encrypted to.
    held_blocks,
    /// g: records in those.
    held_records,
    /// g: blocks in the spool's quarantine, those of earlier starts included.
    quarantined_blocks,
    /// g: records in those.
    quarantined_records,
    /// g: bytes of those.
    quarantined_bytes,
    /// g: routes of the stream that no VCL has and for which records wait.
    waiting_routes,
    /// g: of those routes, the ones that cannot be started.
    stuck_routes,
    /// g: seconds since the first record of the oldest block that is not uploaded.
    oldest_unsent,
    /// g: seconds since the packer last made a round; more than a few: its thread is held up.
    packer_silent,
    /// g: seconds since a block was last uploaded, or since the start.
    upload_silent,
    /// g: seconds since `s3log ship` last said that it is at work, where it is to upload.
    shipper_silent,
    /// g: HTTP status of the last answer of the gateway, 0 for none.
    last_status,
    /// g: milliseconds that the last upload took.
    last_upload_ms,
}

impl Stats {
    /// Counts a record that found no room in the ring.
    pub fn count_shed(&self, priority: Priority) {
        add(&self.dropped_ring, 1);
        let shed = match priority {
            Priority::Low => &self.shed_low,
            Priority::Normal => &self.shed_normal,
            Priority::High => &self.shed_high,
        };
        add(shed, 1);
    }

    /// The same as a JSON object.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        let pairs = self.snapshot().into_iter();
        pairs
            .map(|(name, value)| (name.to_owned(), value.into()))
            .collect::<serde_json::Map<_, _>>()
            .into()
    }
}

/// Adds to a counter.
pub fn add(counter: &AtomicU64, n: u64) {
    // Relaxed: see Stats::snapshot.
    counter.fetch_add(n, Ordering::Relaxed);
}

/// Sets a gauge.
pub fn set(gauge: &AtomicU64, value: u64) {
    // Relaxed: see Stats::snapshot.
    gauge.store(value, Ordering::Relaxed);
}

/// Reads a counter or a gauge.
#[must_use]
pub fn get(value: &AtomicU64) -> u64 {
    // Relaxed: see Stats::snapshot.
    value.load(Ordering::Relaxed)
}
