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
//!
//! `stats_table` has them all, once: this file makes [`Stats`] and [`STATS`] of it, and `vmod` what
//! varnishstat shows. `tests/docs/counters.rs` holds the documentation and the Prometheus rules to it.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::priority::Priority;

/// Hands every counter to the macro of this name: whether it is a counter or a gauge, with its level and
/// its unit; what varnishstat says of it, in one line and then in more words; its name.
macro_rules! stats_table {
    ($apply:ident) => {
        $apply! {
            #[counter]
            /// Records taken from the ring
            records,
            #[counter(format = "bytes")]
            /// Bytes of records, uncompressed
            raw_bytes,
            #[counter(format = "bytes")]
            /// Bytes written to the spool, compressed
            stored_bytes,
            #[counter]
            /// Records found in the ring and the spool at start
            ///
            /// Records that an earlier process left in the ring and in blocks.
            recovered,
            #[counter(level = "diag")]
            /// Torn records found in the ring
            ///
            /// A worker died while it wrote them, or their memory was overwritten.
            torn,
            #[counter]
            /// Records dropped: no room in the ring for their priority
            dropped_ring,
            #[counter]
            /// Records of low priority among dropped_ring
            shed_low,
            #[counter]
            /// Records of normal priority among dropped_ring
            shed_normal,
            #[counter]
            /// Records of high priority among dropped_ring
            shed_high,
            #[counter]
            /// Records dropped: spool full or damaged
            dropped_spool,
            #[counter]
            /// Records dropped: the module did not see the request's end
            ///
            /// Or VCL called `.log()` outside of a task.
            dropped_end,
            #[counter]
            /// Records logged while the stream could not be started
            ///
            /// They wait in memory.
            records_unspooled,
            #[counter]
            /// Records dropped: panic caught in the module
            dropped_panic,
            #[counter]
            /// Lines cut at max_line
            truncated,
            #[counter]
            /// Lines with at least one missing value
            incomplete,
            #[counter]
            /// Blocks closed
            blocks_sealed,
            #[counter]
            /// Blocks stored by the gateway
            blocks_uploaded,
            #[counter]
            /// Records in uploaded blocks
            uploaded_records,
            #[counter(format = "bytes")]
            /// Bytes of uploaded blocks
            uploaded_bytes,
            #[counter]
            /// Upload attempts that failed and were repeated
            upload_retries,
            #[counter]
            /// Upload attempts answered with 2xx
            ///
            /// Where a HEAD settles what the PUT left open, its status counts. Not all of them stored a block: a login
            /// page is a 200 as well. The five counters together are the attempts that went out.
            answers_2xx,
            #[counter]
            /// Upload attempts answered with 3xx
            answers_3xx,
            #[counter]
            /// Upload attempts answered with 4xx
            answers_4xx,
            #[counter]
            /// Upload attempts answered with 5xx
            ///
            /// Or with a status that HTTP does not have.
            answers_5xx,
            #[counter]
            /// Upload attempts without an answer
            ///
            /// No connection, none to a proxy, no trust, a connection that broke, or no answer in time.
            answers_none,
            #[counter]
            /// Blocks that the gateway refused for good
            ///
            /// Since the start; see quarantined_blocks for those that are there now.
            blocks_quarantined,
            #[counter]
            /// Writes to the spool that failed and are repeated
            spool_errors,
            #[gauge(format = "bytes")]
            /// Bytes of the ring in use
            ring_used,
            #[gauge(level = "diag", format = "bytes")]
            /// Most bytes of the ring in use so far
            ring_high_water,
            #[gauge(level = "diag", format = "bytes")]
            /// Size of the ring
            ring_size,
            #[gauge]
            /// Blocks not uploaded yet
            ///
            /// The open block included.
            spooled_blocks,
            #[gauge]
            /// Records in blocks not uploaded yet
            spooled_records,
            #[gauge(format = "bytes")]
            /// Bytes of blocks not uploaded yet
            spooled_bytes,
            #[gauge(format = "bytes")]
            /// Bytes in the spool that spool_max counts
            ///
            /// Of blocks not uploaded yet, the open one and those in quarantine included; not of blocks that
            /// wait for an encryption key, or for room to be mended.
            spool_used,
            #[gauge(level = "diag", format = "bytes")]
            /// Most bytes of spool_used so far
            spool_high_water,
            #[gauge(level = "diag", format = "bytes")]
            /// What spool_max is
            spool_max,
            #[gauge]
            /// Blocks that are being uploaded
            uploading_blocks,
            #[gauge(format = "bytes")]
            /// Bytes of blocks that are being uploaded
            uploading_bytes,
            #[gauge(format = "bytes")]
            /// Bytes of uploading_bytes that are sent
            ///
            /// What was handed to the connection: the last 64 KiB, and what the kernel holds, may be on their way.
            uploading_sent,
            #[gauge]
            /// Blocks that wait for an encryption key
            ///
            /// They are unencrypted, and are not uploaded before there is a key.
            held_blocks,
            #[gauge]
            /// Records in blocks that wait for an encryption key
            held_records,
            #[gauge]
            /// Damaged blocks that wait for room on the disk
            ///
            /// Counted when the stream starts, and the same until it starts again. The start that finds room mends
            /// them, and sends what is whole of them.
            damaged_blocks,
            #[gauge]
            /// Blocks in quarantine
            ///
            /// Those of earlier starts included.
            quarantined_blocks,
            #[gauge]
            /// Records in blocks in quarantine
            quarantined_records,
            #[gauge(format = "bytes")]
            /// Bytes of blocks in quarantine
            quarantined_bytes,
            #[gauge]
            /// Routes without a VCL for which records wait
            waiting_routes,
            #[gauge]
            /// Routes among waiting_routes that cannot be started
            stuck_routes,
            #[gauge(format = "duration")]
            /// Age of the oldest record not uploaded
            oldest_unsent,
            #[gauge(format = "duration")]
            /// Time since the packer's last round
            ///
            /// More than a few seconds: its thread is held up, by a disk for example.
            packer_silent,
            #[gauge(format = "duration")]
            /// Time since the last upload
            ///
            /// Or since the start.
            upload_silent,
            #[gauge(format = "duration")]
            /// Time since s3log ship was last at work
            ///
            /// With `upload = "external"`.
            shipper_silent,
            #[gauge(level = "diag")]
            /// HTTP status of the gateway's last answer
            ///
            /// 0 before the first.
            last_status,
            #[gauge(level = "diag")]
            /// Milliseconds the last upload took
            ///
            /// All its attempts together.
            last_upload_ms,
        }
    };
}
pub(crate) use stats_table;

/// What is known of a counter, beside its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// As in `S3LOG.STREAM.name`.
    pub name: &'static str,
    /// `counter` or `gauge`.
    pub kind: &'static str,
    /// `level` and `format`, where they are not `info` and a plain number.
    pub more: &'static [(&'static str, &'static str)],
    /// The line that varnishstat has beside it.
    pub text: &'static str,
}

macro_rules! stats {
    ($(
        #[$kind:ident $(($($key:ident = $value:literal),+))?]
        #[doc = $text:tt] $(#[doc = $more:tt])*
        $name:ident,
    )+) => {
        /// The counters and gauges of one stream.
        #[derive(Debug, Default)]
        pub struct Stats {
            $(#[doc = $text] $(#[doc = $more])* pub $name: AtomicU64,)+
        }

        /// All of them, in the order of [`Stats::snapshot`].
        pub const STATS: &[Stat] = &[$(Stat {
            name: stringify!($name),
            kind: stringify!($kind),
            more: &[$($((stringify!($key), $value),)+)?],
            text: $text.trim_ascii(),
        },)+];

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

stats_table!(stats);

impl Stats {
    /// Counts a record that found no room in the ring.
    pub(crate) fn count_shed(&self, priority: Priority) {
        add(&self.dropped_ring, 1);
        let shed = match priority {
            Priority::Low => &self.shed_low,
            Priority::Normal => &self.shed_normal,
            Priority::High => &self.shed_high,
        };
        add(shed, 1);
    }

    /// Counts what an upload attempt was answered: its status, `None` for no answer.
    pub(crate) fn count_answer(&self, status: Option<u16>) {
        let class = match status {
            None => &self.answers_none,
            Some(200..=299) => &self.answers_2xx,
            Some(300..=399) => &self.answers_3xx,
            Some(400..=499) => &self.answers_4xx,
            Some(_) => &self.answers_5xx,
        };
        add(class, 1);
    }

    /// The upload attempts by their answer: 2xx, 3xx, 4xx, 5xx, none.
    pub(crate) fn answers(&self) -> [&AtomicU64; 5] {
        [
            &self.answers_2xx,
            &self.answers_3xx,
            &self.answers_4xx,
            &self.answers_5xx,
            &self.answers_none,
        ]
    }

    /// The same as a JSON object.
    #[must_use]
    pub(crate) fn to_json(&self) -> serde_json::Value {
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

/// Takes from a counter what turned out not to be.
pub(crate) fn take_back(counter: &AtomicU64, n: u64) {
    // Relaxed: see Stats::snapshot.
    counter.fetch_sub(n, Ordering::Relaxed);
}

/// Sets a gauge.
pub fn set(gauge: &AtomicU64, value: u64) {
    // Relaxed: see Stats::snapshot.
    gauge.store(value, Ordering::Relaxed);
}

/// Takes what was counted, which is then counted elsewhere.
#[must_use]
pub(crate) fn take(counter: &AtomicU64) -> u64 {
    // Relaxed: see Stats::snapshot.
    counter.swap(0, Ordering::Relaxed)
}

/// Reads a counter or a gauge.
#[must_use]
pub fn get(value: &AtomicU64) -> u64 {
    // Relaxed: see Stats::snapshot.
    value.load(Ordering::Relaxed)
}
