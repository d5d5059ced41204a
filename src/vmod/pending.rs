//! What VCL left for the end of a task, and the memory that it is kept in.
//!
//! `.log()` and `.set()` take nothing from the task's workspace: the client's answer is made in it,
//! a `WS_Alloc` that fails marks it as overflowed (`WS_MarkOverflow`), and then `V1D_Deliver` sends
//! a 500 in place of the answer. A [`Pending`] lies on the heap, and so does Varnish's node of it:
//! `VRT_priv_task` allocates that from the context's workspace, and is given a small one of ours.
//!
//! A task has one node, whatever number of streams it is logged in: the value that came first holds it,
//! and the values are linked by [`Pending::next`].
//!
//! A worker keeps the `Pending`s that it has finished and uses them again, so that nothing is
//! allocated once it is warm. Limits: a worker keeps [`KEPT`] of them with at most [`TEXT_KEPT`]
//! bytes of text and room for [`PARTS_KEPT`] values each; one task may hold [`TEXT_MAX`] bytes of values.

use std::cell::RefCell;
use std::ffi::{c_char, c_uint, c_void};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use varnish::ffi;

use super::object::Stream;
use super::version::Owner;
use crate::priority::Priority;
use crate::record::MAX_LINE_MAX;

/// How many finished ones a worker keeps.
const KEPT: usize = 16;

/// How much memory for text a kept one may hold on to.
const TEXT_KEPT: usize = 8 * 1024;

/// For how many values, and for how many lines, a kept one may hold on to memory.
const PARTS_KEPT: usize = 64;

/// How much text VCL may leave in one task. A line has at most [`MAX_LINE_MAX`] bytes of it.
const TEXT_MAX: usize = 4 * MAX_LINE_MAX;

/// Room for `struct vrt_priv` of `bin/varnishd/cache/cache_vrt_priv.c`, which has 64 bytes from 6.6 to
/// 9.0, and for the mark that a workspace ends with.
const NODE_WORDS: usize = 32;

static PLAIN: AtomicBool = AtomicBool::new(false);

/// Whether a workspace of the running Varnish is one piece of memory, of which `ws->s` is the beginning.
/// `--enable-workspace-emulator`, for Varnish's own developers, makes something else of it.
pub(super) fn workspaces_are_plain() -> bool {
    // Relaxed: a task's first value has a workspace made, and says the same as all others.
    PLAIN.load(Relaxed)
}

/// Memory for one node of a task's tree.
struct Node([u64; NODE_WORDS]);

thread_local! {
    // Boxes, for Varnish and the tasks keep the addresses.
    #[allow(clippy::vec_box)]
    static FINISHED: RefCell<Vec<Box<Pending>>> = const { RefCell::new(Vec::new()) };
}

/// The stream that a record is for.
///
/// Without a reference of its own as a rule: all workers would write to the one counter, twice a
/// request. A task holds on to its VCL until its destructors have run: `CNT_Request` and
/// `ved_include` leave the task before `Req_Cleanup` and `VCL_Rel` release `req->vcl`, and
/// `vbf_fetch_thread` before `VBO_ReleaseBusyObj`. A VCL's objects are finished when nobody refers
/// to it (`VCL_Poll`). What is carried past a change of VCL has a reference, see [`Pending::hold`], and
/// so has each value of a request where a fragment may let go of its VCL
/// ([`FRAGMENTS_TAKE_THE_VCL`](super::version::FRAGMENTS_TAKE_THE_VCL)). A reference is never the last
/// one (`late`), so that letting go of it frees nothing on a worker: both are atomic additions.
enum To {
    Borrowed(*const Stream),
    Held(Arc<Stream>),
}

/// Which response of a request: a restart or a `synth` makes another one.
#[derive(Clone, Copy, PartialEq)]
pub(super) struct Answer {
    /// `req->restarts`.
    pub restarts: u32,
    /// Whether `vcl_synth` makes it, after which only a restart leads to another one: `req->err_code`,
    /// which `cnt_recv_prep` resets and what leads to `vcl_synth` sets (`cnt_synth`).
    pub synthetic: bool,
}

/// An answer that was sent.
#[derive(Clone, Copy, PartialEq)]
pub(super) struct Delivered {
    /// Its status, as Varnish logs it.
    pub status: u16,
    /// When it was ready to be sent: the `Process` timestamp.
    pub ready: f64,
    /// Whether the client was gone by its end, as far as HTTP/2 tells.
    pub aborted: bool,
    /// Whether its object was fetched for this request alone.
    pub private: bool,
    /// Whether the lines that are remembered are all that it had.
    pub lines: bool,
    /// Whether it was `req->resp`, whose status was logged.
    pub response: bool,
}

/// What VCL left for the end of a task.
#[repr(C)]
pub(super) struct Pending {
    /// First, as the destructors of older versions want it.
    pub owner: Owner,
    to: To,
    /// [`Stream::key`]: what tells the values of one task apart.
    key: *const c_void,
    /// Whether `.log()` was called, and not `.nolog()` after it.
    pub registered: bool,
    /// Whether the transaction was in the stream's sample when it was rolled back.
    pub sampled: bool,
    /// What the record is worth, if VCL has said so.
    pub priority: Option<Priority>,
    /// Keys and values that `.set()` left, in `text`.
    values: Vec<(Range<usize>, Range<usize>)>,
    text: Vec<u8>,
    /// The response's header lines that the format prints from, each with its end in `lines`.
    ends: Vec<usize>,
    lines: Vec<u8>,
    answer: Option<Answer>,
    /// The reason of the answer that was sent, in `lines` behind the header lines, if the format prints it.
    reason: Option<Range<usize>>,
    /// What was sent, once that is known.
    pub delivered: Option<Delivered>,
    /// Whether this waits for the delivery.
    pub watching: bool,
    /// The next value of the same task, or the next one that waits for a rollback's end.
    pub next: *mut Pending,
    workspace: ffi::ws,
    /// Varnish's node of the task's values, if this is the first of them.
    node: Node,
}

impl Pending {
    pub(super) fn new(stream: *const Stream) -> Self {
        Self {
            owner: Owner::NONE,
            to: To::Borrowed(stream),
            key: std::ptr::null(),
            registered: false,
            sampled: true,
            priority: None,
            values: Vec::new(),
            text: Vec::new(),
            ends: Vec::new(),
            lines: Vec::new(),
            answer: None,
            reason: None,
            delivered: None,
            watching: false,
            next: std::ptr::null_mut(),
            workspace: ffi::ws::default(),
            node: Node([0; NODE_WORDS]),
        }
    }

    /// An empty one, of those that this worker has finished if there is one.
    pub(super) fn take(stream: &Stream) -> Box<Self> {
        let kept = FINISHED.try_with(|kept| {
            let mut kept = kept.try_borrow_mut().ok()?;
            // Not in give(): Varnish may be walking over the node of one that was just finished.
            kept.truncate(KEPT);
            kept.pop()
        });
        let mut pending = match kept.ok().flatten() {
            Some(mut pending) => {
                pending.to = To::Borrowed(stream);
                pending
            }
            None => Box::new(Self::new(stream)),
        };
        pending.key = stream.key();
        pending
    }

    /// Takes the first of a list of values, which nothing else has.
    ///
    /// # Safety
    ///
    /// The list is of Boxes that [`Box::into_raw`] let go of, each once.
    pub(super) unsafe fn pop(list: &mut *mut Self) -> Option<Box<Self>> {
        if list.is_null() {
            return None;
        }
        // SAFETY: the caller's list.
        let mut first = unsafe { Box::from_raw(*list) };
        *list = std::mem::replace(&mut first.next, std::ptr::null_mut());
        Some(first)
    }

    /// The value for `key` among those of a task, the first of which is `first`.
    pub(super) fn find(first: *mut Self, key: *const c_void) -> Option<*mut Self> {
        let mut next = first;
        // SAFETY: a task's values stand until its end, and its thread alone has them.
        while let Some(value) = unsafe { next.as_ref() } {
            if value.key == key {
                return Some(next);
            }
            next = value.next;
        }
        None
    }

    /// The values of a task, the first of which is `first`.
    ///
    /// # Safety
    ///
    /// They stand, and nobody else has them, for as long as what this gives.
    pub(super) unsafe fn all<'p>(first: *mut Self) -> impl Iterator<Item = &'p Self> {
        // SAFETY: the caller's list.
        let at = |value: *mut Self| unsafe { value.as_ref() };
        std::iter::successors(at(first), move |value| at(value.next))
    }

    /// What the values of one task are told apart by.
    pub(super) fn key(&self) -> *const c_void {
        self.key
    }

    /// Keeps a finished one. Its memory stands until this worker calls [`Self::take`] again, which
    /// is after `VCL_TaskLeave` has passed over its node.
    pub(super) fn give(mut self: Box<Self>) {
        self.registered = false;
        self.priority = None;
        self.to = To::Borrowed(std::ptr::null());
        self.values.clear();
        self.text.clear();
        self.forget_response();
        self.watching = false;
        let text = self.text.capacity().max(self.lines.capacity());
        if text > TEXT_KEPT || self.values.capacity().max(self.ends.capacity()) > PARTS_KEPT {
            self.values.shrink_to(PARTS_KEPT);
            self.text.shrink_to(TEXT_KEPT);
            self.lines.shrink_to(TEXT_KEPT);
            self.ends.shrink_to(PARTS_KEPT);
        }
        let kept = FINISHED.try_with(|kept| {
            if let Ok(mut kept) = kept.try_borrow_mut() {
                kept.push(self);
            }
        });
        // A thread that ends has no tasks.
        let _ = kept;
    }

    /// A workspace with nothing but room for Varnish's node, in which nothing is allocated.
    pub(super) fn workspace(&mut self) -> *mut ffi::ws {
        let workspace = &mut self.workspace;
        let space: *mut c_char = self.node.0.as_mut_ptr().cast();
        if workspace.s == space {
            // As WS_Init left it.
            workspace.f = space;
            workspace.r = std::ptr::null_mut();
        } else {
            let length = c_uint::try_from(size_of_val(&self.node.0)).unwrap_or(0);
            let id: *const c_char = c"log".as_ptr();
            // SAFETY: both lie in one Pending, which does not move, and nothing else uses them.
            unsafe { ffi::WS_Init(workspace, id, space.cast(), length) };
            // Relaxed: the same in every workspace of this Varnish.
            PLAIN.store(workspace.s == space, Relaxed);
        }
        workspace
    }

    /// Whether a record is lost with this.
    pub(super) fn counts(&self) -> bool {
        self.registered && self.sampled
    }

    /// The stream, for as long as this task holds on to its VCL.
    pub(super) fn stream(&self) -> Option<&Stream> {
        match &self.to {
            // SAFETY: the task's VCL has it, and To says why that is still there.
            To::Borrowed(stream) => unsafe { stream.as_ref() },
            To::Held(stream) => Some(stream),
        }
    }

    /// The stream, not borrowed from this value, whose reference to it stays as it is meanwhile.
    pub(super) fn lend<'s>(&self) -> Option<&'s Stream> {
        let stream: *const Stream = self.stream()?;
        // SAFETY: it outlives this value, as To says.
        unsafe { stream.as_ref() }
    }

    /// Its own reference to the stream, where it has one: for who needs the stream after this value is gone.
    pub(super) fn held(&self) -> Option<Arc<Stream>> {
        match &self.to {
            To::Held(stream) => Some(Arc::clone(stream)),
            To::Borrowed(_) => None,
        }
    }

    /// Whose format the record has: that of the VCL that called last.
    pub(super) fn meant_for(&mut self, stream: &Stream) {
        let stream = std::ptr::from_ref(stream);
        if !matches!(&self.to, To::Held(held) if std::ptr::eq(Arc::as_ptr(held), stream)) {
            self.to = To::Borrowed(stream);
        }
    }

    /// Takes a reference to the stream if there is none, so that it outlives the VCL that it comes from:
    /// `CNT_Request` releases the VCL that a label was called from (`top->vcl0`, `VCL_Recache`)
    /// before it leaves the task.
    pub(super) fn hold(&mut self) {
        let To::Borrowed(stream) = self.to else { return };
        if stream.is_null() {
            return;
        }
        // SAFETY: every stream lies in the Arc of a VCL object, and is there, as To says.
        unsafe { Arc::increment_strong_count(stream) };
        // SAFETY: the reference that was just taken is this one's.
        self.to = To::Held(unsafe { Arc::from_raw(stream) });
    }

    /// Keeps a value; `false` when there is too much.
    pub(super) fn set(&mut self, key: &[u8], value: &[u8]) -> bool {
        // Nothing longer can be printed.
        let value = value.get(..MAX_LINE_MAX).unwrap_or(value);
        let at = self.values.iter().position(|(of, _)| self.text.get(of.clone()) == Some(key));
        // The value in a key's place is the key's, also where the new one does not fit.
        if let Some(place) = at.and_then(|at| self.values.get_mut(at)) {
            let room = place.1.start..place.1.start + value.len();
            if value.len() <= place.1.len()
                && let Some(old) = self.text.get_mut(room.clone())
            {
                old.copy_from_slice(value);
                place.1 = room;
                return true;
            }
        }
        if self.text.len() + key.len() + value.len() > TEXT_MAX {
            return false;
        }
        let start = self.text.len();
        self.text.extend_from_slice(value);
        let value = start..self.text.len();
        if let Some(place) = at.and_then(|at| self.values.get_mut(at)) {
            place.1 = value;
            return true;
        }
        self.text.extend_from_slice(key);
        self.values.push((value.end..self.text.len(), value));
        true
    }

    /// The latest value that VCL set for `key`.
    pub(super) fn value(&self, key: &[u8]) -> Option<&[u8]> {
        let of = |range: &Range<usize>| self.text.get(range.clone());
        let (_, value) = self.values.iter().find(|(name, _)| of(name) == Some(key))?;
        of(value)
    }

    /// Keeps a copy of a response's header lines. The lines themselves lie in the object that is
    /// delivered (`Resp_Setup_Deliver` decodes `OA_HEADERS` in place), and `cnt_finish`, before 7.7
    /// `cnt_transmit`, drops that (`HSH_DerefObjCore`) before the task ends. `false` when there is too much.
    pub(super) fn remember_response<'l>(
        &mut self,
        answer: Answer,
        lines: impl Iterator<Item = &'l [u8]>,
    ) -> bool {
        self.forget_response();
        self.answer = Some(answer);
        for line in lines {
            let line = line.get(..MAX_LINE_MAX).unwrap_or(line);
            if self.lines.len() + line.len() > TEXT_MAX {
                self.forget_response();
                return false;
            }
            self.lines.extend_from_slice(line);
            self.ends.push(self.lines.len());
        }
        true
    }

    /// Keeps a copy of a response's reason, behind what [`Self::remember_response`] has kept. Without room there is none.
    pub(super) fn remember_reason(&mut self, reason: &[u8]) {
        let start = self.lines.len();
        let reason = reason.get(..MAX_LINE_MAX).unwrap_or(reason);
        if start + reason.len() <= TEXT_MAX {
            self.lines.extend_from_slice(reason);
            self.reason = Some(start..self.lines.len());
        }
    }

    /// The reason of the answer that was sent.
    pub(super) fn reason(&self) -> Option<&[u8]> {
        self.lines.get(self.reason.clone()?)
    }

    /// Of what response nothing is known any more.
    pub(super) fn forget_response(&mut self) {
        self.answer = None;
        self.reason = None;
        self.delivered = None;
        self.ends.clear();
        self.lines.clear();
    }

    /// Line `index` of those remembered, if they are of this answer.
    pub(super) fn response_line(&self, answer: Answer, index: usize) -> Option<&[u8]> {
        if self.answer != Some(answer) {
            return None;
        }
        let end = *self.ends.get(index)?;
        let start = match index.checked_sub(1) {
            Some(before) => *self.ends.get(before)?,
            None => 0,
        };
        self.lines.get(start..end)
    }

    /// Whether a format prints the same with this as with `other`, which is of the same task.
    pub(super) fn says_as(&self, other: &Self) -> bool {
        self.values == other.values
            && self.text == other.text
            && self.answer == other.answer
            && self.reason == other.reason
            && self.delivered == other.delivered
            && self.ends == other.ends
            && self.lines == other.lines
    }

    /// Takes what `earlier` knows and this one does not.
    pub(super) fn add_from(&mut self, earlier: &Self) {
        self.registered |= earlier.registered;
        self.priority = self.priority.or(earlier.priority);
        for (key, value) in &earlier.values {
            let of = |range: &Range<usize>| earlier.text.get(range.clone()).unwrap_or_default();
            if self.value(of(key)).is_none() {
                self.set(of(key), of(value));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_task_with_many_values_leaves_no_room_for_them_in_its_worker() {
        let mut pending = Box::new(Pending::new(std::ptr::null()));
        for n in 0..1_000 {
            assert!(pending.set(format!("{n}").as_bytes(), b"x"));
        }
        pending.remember_response(
            Answer { restarts: 0, synthetic: false },
            (0..1_000).map(|_| &b"x"[..]),
        );
        assert!(pending.values.capacity() >= 1_000 && pending.ends.capacity() >= 1_000);
        pending.give();
        let kept = FINISHED.with_borrow_mut(Vec::pop).unwrap();
        assert!(kept.values.capacity() <= PARTS_KEPT, "{}", kept.values.capacity());
        assert!(kept.ends.capacity() <= PARTS_KEPT, "{}", kept.ends.capacity());
        assert!(kept.text.capacity() <= TEXT_KEPT && kept.lines.capacity() <= TEXT_KEPT);
    }
}
