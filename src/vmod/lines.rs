//! The lines of one task, of which there is one for each stream that it is logged in.
//!
//! Streams whose formats are the same (`programs`) print the same of a task, unless VCL left something else for
//! one of them: then a line is rendered once and pushed into each. All are rendered into one buffer, which the
//! worker keeps. Limit: a worker keeps [`LINE_SLACK`] bytes more than the longest line of the stream that it had
//! last.
//!
//! Not here: what streams with different formats could share.

use std::cell::Cell;
use std::ops::Range;

use smallvec::SmallVec;

use super::pending::Pending;
use crate::record::{Program, Rendered};

thread_local! {
    /// A worker's buffer, used for every line.
    static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// How much more than `max_line` a worker's buffer keeps from task to task. A line of JSON with
/// many long strings is longer than that for a moment, until it is cut; what usual lines need stays
/// allocated.
const LINE_SLACK: usize = 32 * 1024;

/// A line that another stream may need.
struct Kept<'t> {
    /// Of which only the address is looked at.
    program: *const Program,
    pending: &'t Pending,
    at: Range<usize>,
    rendered: Rendered,
}

/// The lines of a task so far.
pub(super) struct Lines<'t> {
    buffer: Vec<u8>,
    kept: SmallVec<[Kept<'t>; 2]>,
    /// The longest line of the stream that was last.
    most: usize,
}

impl<'t> Lines<'t> {
    /// Of a task that begins to end: in the worker's buffer, which it gets back when this goes.
    pub(super) fn new() -> Self {
        // A thread that ends has no buffer any more.
        let mut buffer = BUFFER.try_with(Cell::take).unwrap_or_default();
        buffer.clear();
        Self { buffer, kept: SmallVec::new(), most: 0 }
    }

    /// The line that `program` makes of a task's `pending`. `more` if other streams may follow.
    pub(super) fn of(
        &mut self,
        program: &Program,
        pending: &'t Pending,
        more: bool,
        render: impl FnOnce(&mut Vec<u8>) -> Rendered,
    ) -> (&[u8], Rendered) {
        let same =
            |kept: &&Kept<'_>| std::ptr::eq(kept.program, program) && kept.pending.says_as(pending);
        if let Some(kept) = self.kept.iter().find(same) {
            return (self.buffer.get(kept.at.clone()).unwrap_or_default(), kept.rendered);
        }
        let start = self.kept.last().map_or(0, |kept| kept.at.end);
        let rendered = self.render(program, start, render);
        let at = start..self.buffer.len();
        if more {
            self.kept.push(Kept { program, pending, at, rendered });
        }
        (self.buffer.get(start..).unwrap_or_default(), rendered)
    }

    /// A line that nobody shares.
    pub(super) fn once(
        &mut self,
        program: &Program,
        render: impl FnOnce(&mut Vec<u8>) -> Rendered,
    ) -> (&[u8], Rendered) {
        let rendered = self.render(program, 0, render);
        (&self.buffer, rendered)
    }

    fn render(
        &mut self,
        program: &Program,
        start: usize,
        render: impl FnOnce(&mut Vec<u8>) -> Rendered,
    ) -> Rendered {
        self.most = program.max_line();
        // Behind it there may be a line that nobody keeps, or the beginning of one whose rendering panicked.
        self.buffer.truncate(start);
        render(&mut self.buffer)
    }
}

impl Drop for Lines<'_> {
    /// A header of a hostile client must not occupy its size in every worker for good.
    fn drop(&mut self) {
        self.buffer.clear();
        self.buffer.shrink_to(self.most + LINE_SLACK);
        let buffer = std::mem::take(&mut self.buffer);
        // A thread that ends needs none.
        let _ = BUFFER.try_with(|kept| kept.set(buffer));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{MAX_LINE_DEFAULT, Options, TagTable};

    fn program(format: &str) -> Program {
        Program::compile(format, &Options::default(), &TagTable::new([])).unwrap()
    }

    /// The line that `program` makes of `pending`, and whether it was rendered for it.
    fn line<'t>(lines: &mut Lines<'t>, program: &Program, pending: &'t Pending) -> (Vec<u8>, bool) {
        let mut rendered = false;
        let (line, _) = lines.of(program, pending, true, |out| {
            rendered = true;
            out.extend_from_slice(pending.value(b"key").unwrap_or(b"-"));
            out.push(b'\n');
            Rendered::default()
        });
        (line.to_vec(), rendered)
    }

    #[test]
    fn a_line_is_rendered_once_for_all_streams_with_its_format() {
        let [one, other] = ["%h %s", "%s"].map(program);
        let pending = Pending::new(std::ptr::null());
        let mut lines = Lines::new();
        assert_eq!(line(&mut lines, &one, &pending), (b"-\n".to_vec(), true));
        assert_eq!(line(&mut lines, &other, &pending), (b"-\n".to_vec(), true));
        assert_eq!(line(&mut lines, &one, &pending), (b"-\n".to_vec(), false));
    }

    #[test]
    fn what_vcl_sets_for_one_stream_is_in_no_line_of_another() {
        let program = program("%{key}x");
        let [mut first, mut second, mut third] = [(); 3].map(|()| Pending::new(std::ptr::null()));
        assert!(first.set(b"key", b"1") && second.set(b"key", b"2") && third.set(b"key", b"1"));
        let mut lines = Lines::new();
        assert_eq!(line(&mut lines, &program, &first), (b"1\n".to_vec(), true));
        assert_eq!(line(&mut lines, &program, &second), (b"2\n".to_vec(), true));
        assert_eq!(line(&mut lines, &program, &third), (b"1\n".to_vec(), false));
    }

    #[test]
    fn a_rendering_that_panics_leaves_nothing_in_the_next_line() {
        let program = program("%s");
        let pending = Pending::new(std::ptr::null());
        let mut lines = Lines::new();
        let panics = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            lines.of(&program, &pending, true, |out| {
                out.extend_from_slice(b"half");
                panic!("in mid line");
            });
        }));
        assert!(panics.is_err());
        assert_eq!(line(&mut lines, &program, &pending), (b"-\n".to_vec(), true));
    }

    #[test]
    fn one_long_line_does_not_stay_in_the_workers_buffer() {
        let program = program("%s");
        let most = MAX_LINE_DEFAULT + LINE_SLACK;
        let fill = |length: usize| {
            let mut lines = Lines::new();
            lines.once(&program, |out| {
                out.resize(length, b'x');
                Rendered::default()
            });
            drop(lines);
            let kept = BUFFER.take();
            assert!(kept.is_empty());
            let found = (kept.as_ptr(), kept.capacity());
            BUFFER.set(kept);
            found
        };
        assert!(fill(100_000).1 <= most);
        // What usual lines need is not allocated anew for each.
        BUFFER.set(Vec::with_capacity(most));
        assert_eq!(fill(MAX_LINE_DEFAULT), fill(MAX_LINE_DEFAULT));
        assert_eq!(fill(10).1, most);
    }
}
