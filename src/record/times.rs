//! When a task began and ended: by its log, or by Varnish's structs where the log lost it.

use super::program::{Edge, Program, slot};
use super::tags::Tag;
use super::task::{Moment, Settled, Task};
use super::time;
use super::walk::Captured;

/// When the task began and ended, in seconds since 1970.
pub(super) struct Times {
    pub(super) start: Option<f64>,
    pub(super) end: Option<f64>,
}

impl Times {
    pub(super) fn new(program: &Program, task: &Task<'_>, found: &mut Captured<'_, '_>) -> Self {
        let start = found.get(slot::START).bytes.and_then(time::parse);
        let end = found.get(slot::END).bytes.and_then(time::parse);
        let mut times = Self { start, end };
        let lost = |slot, time: Option<f64>| program.uses(slot) && time.is_none();
        let some = lost(slot::START, start) || lost(slot::END, end);
        let masked = || program.masked(task, Tag::Timestamp);
        if some && program.heal && (!found.whole || masked()) {
            let ask = |moment| {
                let time = task.structs.moment(moment).filter(|time| time.is_finite());
                time.map(time::quantise)
            };
            times.start = times.start.or_else(|| {
                // Of a restarted request, or a fetch that is retried, it is that of the first try.
                found.incomplete |= program.uses(slot::START) && task.restarts > 0;
                ask(Moment::Start)
            });
            // A task's last timestamp is flushed after its end: one that is not there was never logged.
            if masked() {
                times.end = times.end.or_else(|| ask(Moment::End));
                found.incomplete |= lost(slot::END, times.end);
            }
        }
        found.incomplete |= lost(slot::START, times.start);
        times
    }

    /// Those that the structs of an answered request have.
    pub(super) fn settled(program: &Program, known: &Settled<'_>) -> Self {
        let time = |slot, time| program.uses(slot).then(|| time::quantise(time));
        Self { start: time(slot::START, known.start), end: time(slot::END, known.end) }
    }

    pub(super) fn at(&self, edge: Edge) -> Option<f64> {
        match edge {
            Edge::Begin => self.start,
            Edge::End => self.end.or(self.start),
        }
    }
}
