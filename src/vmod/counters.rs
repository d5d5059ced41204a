//! The stream's counters as Varnish's own: `varnishstat -f 'S3LOG.*'`.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use varnish::{Vsc, VscMetric};

use crate::pipeline::Observer;
use crate::stats::{Stats, get, set};

/// Mirrors [`Stats`] in Varnish's shared memory.
#[derive(VscMetric)]
#[repr(C)]
struct Counters {
    /// Records taken from the ring
    #[counter]
    records: AtomicU64,
    /// Bytes of records, uncompressed
    #[counter(format = "bytes")]
    raw_bytes: AtomicU64,
    /// Bytes written to the spool, compressed
    #[counter(format = "bytes")]
    stored_bytes: AtomicU64,
    /// Records found in ring and spool at start
    #[counter]
    recovered: AtomicU64,
    /// Torn records found at start
    #[counter(level = "diag")]
    torn: AtomicU64,
    /// Records dropped: ring full
    #[counter]
    dropped_ring: AtomicU64,
    /// Of those: of low priority
    #[counter]
    shed_low: AtomicU64,
    /// Of those: of normal priority
    #[counter]
    shed_normal: AtomicU64,
    /// Of those: of high priority
    #[counter]
    shed_high: AtomicU64,
    /// Records dropped: spool full or damaged
    #[counter]
    dropped_spool: AtomicU64,
    /// Records dropped: the module did not see the request's end
    #[counter]
    dropped_end: AtomicU64,
    /// Records logged while the stream could not be started
    #[counter]
    records_unspooled: AtomicU64,
    /// Records dropped: panic caught in the module
    #[counter]
    dropped_panic: AtomicU64,
    /// Lines cut at max_line
    #[counter]
    truncated: AtomicU64,
    /// Lines with a value that was not to be had any more
    #[counter]
    incomplete: AtomicU64,
    /// Blocks closed
    #[counter]
    blocks_sealed: AtomicU64,
    /// Blocks stored by the gateway
    #[counter]
    blocks_uploaded: AtomicU64,
    /// Records in uploaded blocks
    #[counter]
    uploaded_records: AtomicU64,
    /// Bytes of uploaded blocks
    #[counter(format = "bytes")]
    uploaded_bytes: AtomicU64,
    /// Upload attempts that failed and were made again
    #[counter]
    upload_retries: AtomicU64,
    /// Blocks set aside, refused by the gateway
    #[counter]
    blocks_quarantined: AtomicU64,
    /// Failed writes to the spool that are made again
    #[counter]
    spool_errors: AtomicU64,
    /// Bytes of the ring in use
    #[gauge(format = "bytes")]
    ring_used: AtomicU64,
    /// Most bytes of the ring in use so far
    #[gauge(level = "diag", format = "bytes")]
    ring_high_water: AtomicU64,
    /// Size of the ring
    #[gauge(level = "diag", format = "bytes")]
    ring_size: AtomicU64,
    /// Blocks not uploaded yet
    #[gauge]
    spooled_blocks: AtomicU64,
    /// Records in blocks not uploaded yet
    #[gauge]
    spooled_records: AtomicU64,
    /// Bytes of blocks not uploaded yet
    #[gauge(format = "bytes")]
    spooled_bytes: AtomicU64,
    /// Blocks not uploaded that wait for an encryption key
    #[gauge]
    held_blocks: AtomicU64,
    /// Records in those
    #[gauge]
    held_records: AtomicU64,
    /// Blocks in quarantine
    #[gauge]
    quarantined_blocks: AtomicU64,
    /// Records in blocks in quarantine
    #[gauge]
    quarantined_records: AtomicU64,
    /// Bytes of blocks in quarantine
    #[gauge(format = "bytes")]
    quarantined_bytes: AtomicU64,
    /// Routes that no VCL has, with records that wait
    #[gauge]
    waiting_routes: AtomicU64,
    /// Of those, routes that cannot be started
    #[gauge]
    stuck_routes: AtomicU64,
    /// Age of the oldest record not uploaded
    #[gauge(format = "duration")]
    oldest_unsent: AtomicU64,
    /// Time since the packer's last round
    #[gauge(format = "duration")]
    packer_silent: AtomicU64,
    /// Time since the last upload
    #[gauge(format = "duration")]
    upload_silent: AtomicU64,
    /// Time since s3log ship was last at work, with upload = external
    #[gauge(format = "duration")]
    shipper_silent: AtomicU64,
    /// HTTP status of the gateway's last answer
    #[gauge(level = "diag")]
    last_status: AtomicU64,
    /// Milliseconds the last upload took
    #[gauge(level = "diag")]
    last_upload_ms: AtomicU64,
}

/// Copies a stream's [`Stats`] to where varnishstat reads them.
pub(super) struct Publisher(Arc<Mutex<Segment>>);

/// Memory that Varnish shares between processes.
struct Segment(Vsc<Counters>);

// SAFETY: whoever writes it has the lock around it, and making and freeing it takes Varnish's own
// (VRT_VSC_Alloc and VRT_VSC_Destroy lock the list of segments).
unsafe impl Send for Segment {}

/// The segments that there are, by name: a stream that waits to be started and the pipeline that is
/// being started for it publish under one name, which must not be there twice.
static SEGMENTS: Mutex<BTreeMap<String, Weak<Mutex<Segment>>>> = Mutex::new(BTreeMap::new());

impl Publisher {
    /// Makes the segment `S3LOG.<name>`, or joins who publishes there.
    pub(super) fn new(name: &str) -> Self {
        // Monitors make names of their own of it, without such a character.
        let name = &*name.replace('@', "_");
        let mut segments = SEGMENTS.lock().unwrap_or_else(PoisonError::into_inner);
        segments.retain(|_, segment| segment.strong_count() > 0);
        if let Some(segment) = segments.get(name).and_then(Weak::upgrade) {
            return Self(segment);
        }
        // The name is a printf format to Varnish: it is sanitised.
        let segment = Arc::new(Mutex::new(Segment(Vsc::new("S3LOG", name))));
        segments.insert(name.to_owned(), Arc::downgrade(&segment));
        Self(segment)
    }
}

macro_rules! copy {
    ($to:expr, $from:expr; $($name:ident)*) => { $(set(&$to.$name, get(&$from.$name));)* };
}

impl Observer for Publisher {
    fn observe(&mut self, stats: &Stats) {
        let to = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        copy!(to.0, stats;
            records raw_bytes stored_bytes recovered torn dropped_ring shed_low shed_normal shed_high dropped_spool
            dropped_end records_unspooled dropped_panic truncated incomplete blocks_sealed blocks_uploaded
            uploaded_records uploaded_bytes upload_retries blocks_quarantined
            spool_errors ring_used ring_high_water ring_size spooled_blocks
            spooled_records spooled_bytes held_blocks held_records quarantined_blocks quarantined_records
            quarantined_bytes waiting_routes stuck_routes oldest_unsent packer_silent upload_silent shipper_silent last_status last_upload_ms);
    }
}
