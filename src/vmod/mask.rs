//! Tells when `vsl_mask` hides a tag that the lines of a stream need.
//!
//! Lines lack the value then, and count as incomplete. The mask is looked at when a VCL has loaded, and once
//! a second by the thread that publishes counters, so that a `param.set` is told of, too. Workers only note
//! that a stream has lines of fetches, which need more of the log than those of requests do.
//!
//! Not told: what only a few lines need (`When`), which the counter `incomplete` shows.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{SystemTime, UNIX_EPOCH};

use super::events::Varnish;
use super::params;
use crate::events::{Events as _, Level};
use crate::record::{Need, Program, Side};

/// What a stream's lines need, and what was told of it.
pub(super) struct Watch {
    stream: String,
    requests: Vec<Need>,
    fetches: Vec<Need>,
    /// A fetch was logged.
    fetched: AtomicBool,
    /// What was said last: empty when nothing is hidden.
    said: Mutex<String>,
}

/// Those of all VCLs that have loaded.
static WATCHES: Mutex<Vec<Weak<Watch>>> = Mutex::new(Vec::new());
/// The second of the last look.
static LOOKED: AtomicU64 = AtomicU64::new(0);

impl Watch {
    /// What lines of `stream` need, those of ESI fragments too if `esi`.
    pub(super) fn new(stream: &str, program: &Program, esi: bool) -> Arc<Self> {
        let of = |side| {
            let mut needs = program.needs(side);
            needs.retain(|need| need.when.is_each(esi));
            needs
        };
        Arc::new(Self {
            stream: stream.to_owned(),
            requests: of(Side::Client),
            fetches: of(Side::Backend),
            fetched: AtomicBool::new(false),
            said: Mutex::default(),
        })
    }

    /// Its VCL has loaded.
    pub(super) fn loaded(self: &Arc<Self>) {
        if self.requests.is_empty() && self.fetches.is_empty() {
            return;
        }
        let mut watches = WATCHES.lock().unwrap_or_else(PoisonError::into_inner);
        watches.retain(|watch| watch.strong_count() > 0);
        if !watches.iter().any(|watch| std::ptr::eq(watch.as_ptr(), Arc::as_ptr(self))) {
            watches.push(Arc::downgrade(self));
        }
        drop(watches);
        self.look(&params::masked);
    }

    /// The stream has a line of a fetch.
    pub(super) fn fetch(&self) {
        if !self.fetched.load(Relaxed) {
            self.fetched.store(true, Relaxed);
        }
    }

    /// Says what is hidden, if that is not what was said last.
    fn look(&self, masked: &dyn Fn(u8) -> bool) {
        let fetches = self.fetched.load(Relaxed).then_some(&self.fetches);
        let needs = self.requests.iter().chain(fetches.into_iter().flatten());
        let hidden: Vec<&Need> =
            needs.filter(|need| need.is_hidden(&|tag| masked(tag.number))).collect();
        let sentence = if hidden.is_empty() { String::new() } else { self.sentence(&hidden) };
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if *said == sentence {
            return;
        }
        if sentence.is_empty() {
            let text =
                format!("stream {}: vsl_mask no longer hides what its lines need", self.stream);
            Varnish.event(Level::Info, &text);
        } else {
            Varnish.event(Level::Warn, &sentence);
        }
        *said = sentence;
    }

    fn sentence(&self, hidden: &[&Need]) -> String {
        let mut parts = Vec::new();
        for need in hidden {
            let part = need.to_string();
            if !parts.contains(&part) {
                parts.push(part);
            }
        }
        let tags = Need::to_show(hidden, &|tag| !params::masked(tag.number));
        let unmask: Vec<String> = tags.iter().map(|tag| format!("+{}", tag.name)).collect();
        format!(
            "stream {}: vsl_mask hides what its lines need, so that these values are missing and the lines \
             count as incomplete: {}; unmask: varnishadm param.set vsl_mask {}",
            self.stream,
            parts.join("; "),
            unmask.join(","),
        )
    }
}

/// Looks at the mask, at most once a second.
pub(super) fn look() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    if LOOKED.load(Relaxed) == now || LOOKED.swap(now, Relaxed) == now {
        return;
    }
    let watches = WATCHES.lock().unwrap_or_else(PoisonError::into_inner).clone();
    for watch in watches.iter().filter_map(Weak::upgrade) {
        watch.look(&params::masked);
    }
}
