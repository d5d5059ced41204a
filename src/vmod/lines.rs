//! The lines of one task, of which there is one for each stream that it is logged in.
//!
//! Streams whose formats are the same (`shared`) print the same of a task, unless VCL left something else for
//! one of them: then a line is rendered once and pushed into each. All are rendered into one buffer, which the
//! worker keeps. Limit: a worker keeps [`LINE_SLACK`] bytes more than the longest line of the stream that it had
//! last.
//!
//! Not here: what streams with different formats could share.

use std::cell::RefCell;
use std::ops::Range;

use smallvec::SmallVec;

use super::pending::Pending;
use crate::record::{Program, Rendered};

thread_local! {
    /// A worker's buffer, used for every line.
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
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
pub(super) struct Lines<'b, 't> {
    buffer: &'b mut Vec<u8>,
    kept: SmallVec<[Kept<'t>; 2]>,
    /// The longest line of the stream that was last.
    most: usize,
}

impl<'t> Lines<'_, 't> {
    /// Has `write` make the lines of a task that ends, in the worker's buffer.
    pub(super) fn with(write: impl FnOnce(&mut Lines<'_, 't>)) {
        let mut write = Some(write);
        let mut run = |buffer: &mut Vec<u8>| {
            let write = write.take()?;
            buffer.clear();
            let mut lines = Lines { buffer, kept: SmallVec::new(), most: 0 };
            write(&mut lines);
            let most = lines.most + LINE_SLACK;
            // A header of a hostile client must not occupy its size in every worker for good.
            if buffer.capacity() > most {
                buffer.clear();
                buffer.shrink_to(most);
            }
            Some(())
        };
        let done = BUFFER.try_with(|buffer| run(&mut *buffer.try_borrow_mut().ok()?));
        if !matches!(done, Ok(Some(()))) {
            // A thread that ends has none any more.
            run(&mut Vec::new());
        }
    }

    /// The line that `program` makes of a task's `pending`. `more` if other streams may follow.
    pub(super) fn of(
        &mut self,
        program: &Program,
        pending: &'t Pending,
        more: bool,
        render: impl FnOnce(&mut Vec<u8>) -> Rendered,
    ) -> (&[u8], Rendered) {
        for kept in &self.kept {
            if std::ptr::eq(kept.program, program) && kept.pending.says_as(pending) {
                return (self.buffer.get(kept.at.clone()).unwrap_or_default(), kept.rendered);
            }
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
        (self.buffer, rendered)
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
        render(self.buffer)
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
    fn line<'t>(
        lines: &mut Lines<'_, 't>,
        program: &Program,
        pending: &'t Pending,
    ) -> (Vec<u8>, bool) {
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
        Lines::with(|lines| {
            assert_eq!(line(lines, &one, &pending), (b"-\n".to_vec(), true));
            assert_eq!(line(lines, &other, &pending), (b"-\n".to_vec(), true));
            assert_eq!(line(lines, &one, &pending), (b"-\n".to_vec(), false));
        });
    }

    #[test]
    fn what_vcl_sets_for_one_stream_is_in_no_line_of_another() {
        let program = program("%{key}x");
        let [mut first, mut second, mut third] = [(); 3].map(|()| Pending::new(std::ptr::null()));
        assert!(first.set(b"key", b"1") && second.set(b"key", b"2") && third.set(b"key", b"1"));
        Lines::with(|lines| {
            assert_eq!(line(lines, &program, &first), (b"1\n".to_vec(), true));
            assert_eq!(line(lines, &program, &second), (b"2\n".to_vec(), true));
            assert_eq!(line(lines, &program, &third), (b"1\n".to_vec(), false));
        });
    }

    #[test]
    fn a_rendering_that_panics_leaves_nothing_in_the_next_line() {
        let program = program("%s");
        let pending = Pending::new(std::ptr::null());
        Lines::with(|lines| {
            let panics = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                lines.of(&program, &pending, true, |out| {
                    out.extend_from_slice(b"half");
                    panic!("in mid line");
                });
            }));
            assert!(panics.is_err());
            assert_eq!(line(lines, &program, &pending), (b"-\n".to_vec(), true));
        });
    }

    #[test]
    fn a_task_within_a_task_has_lines_too() {
        let program = program("%s");
        let pending = Pending::new(std::ptr::null());
        let mut lengths = Vec::new();
        Lines::with(|lines| {
            lengths.push(line(lines, &program, &pending).0.len());
            Lines::with(|lines| lengths.push(line(lines, &program, &pending).0.len()));
        });
        assert_eq!(lengths, [2, 2]);
    }

    #[test]
    fn one_long_line_does_not_stay_in_the_workers_buffer() {
        let program = program("%s");
        let most = MAX_LINE_DEFAULT + LINE_SLACK;
        let fill = |length: usize| {
            Lines::with(|lines| {
                lines.once(&program, |out| {
                    out.resize(length, b'x');
                    Rendered::default()
                });
            });
            BUFFER.with_borrow(|kept| (kept.as_ptr(), kept.capacity()))
        };
        assert!(fill(100_000).1 <= most);
        // What usual lines need is not allocated anew for each.
        BUFFER.replace(Vec::with_capacity(most));
        assert_eq!(fill(MAX_LINE_DEFAULT), fill(MAX_LINE_DEFAULT));
        assert_eq!(fill(10).1, most);
    }
}
