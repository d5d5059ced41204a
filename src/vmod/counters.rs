//! The stream's counters as Varnish's own: `varnishstat -f 'S3LOG.*'`.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use varnish::{Vsc, VscMetric};

use super::mask;
use crate::pipeline::Observer;
use crate::stats::{Stats, get, set, stats_table};

macro_rules! counters {
    ($($(#[$about:meta])+ $name:ident,)+) => {
        /// Mirrors [`Stats`] in Varnish's shared memory.
        #[derive(VscMetric)]
        #[repr(C)]
        struct Counters {
            $($(#[$about])+ $name: AtomicU64,)+
        }

        impl Counters {
            fn copy(&self, from: &Stats) {
                $(set(&self.$name, get(&from.$name));)+
            }
        }
    };
}

stats_table!(counters);

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

impl Observer for Publisher {
    fn observe(&mut self, stats: &Stats) {
        let to = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        to.0.copy(stats);
        drop(to);
        mask::look();
    }
}
