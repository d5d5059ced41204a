//! What stands behind a VCL stream object.

use std::ffi::{CStr, c_char, c_void};
use std::sync::{Arc, LazyLock, Weak};

use super::guarded::guarded;
use super::identity::Whereto;
use super::mask::Watch;
use super::shared::Shared;
use crate::pipeline::Outlet;
use crate::record::{Program, Sample, TagTable};
use crate::settings::{self, Arguments, Error};
use crate::stats;

/// Those of all streams.
static PROGRAMS: Shared<Program> = Shared::new();

/// One VCL's view of a stream: its format and the pipeline it feeds. Held by the VCL object, which
/// outlives every task that has a record pending, but for tasks that hold it, too (`pending`).
pub(super) struct Stream {
    /// The compiled format, the same one in all streams that have it.
    pub program: Arc<Program>,
    /// Which transactions have a record.
    pub sample: Sample,
    /// Whether ESI fragments have records of their own.
    pub esi: bool,
    /// Whether the format asks for response headers.
    pub reads_response: bool,
    /// Whether the format asks for the reason of an answer.
    pub reads_reason: bool,
    /// What of Varnish's log its lines need.
    pub mask: Arc<Watch>,
    /// Where lines go.
    pub outlet: Outlet,
    /// What tells where that is.
    whereto: Arc<Whereto>,
}

impl Stream {
    /// Compiles the format, then opens the spool and starts the threads, or joins those that a
    /// stream of the same name, spool and route has. Nothing of it is in force before
    /// [`Streams::loaded`].
    ///
    /// # Errors
    /// A sentence for the operator.
    pub(super) fn open(arguments: &Arguments) -> Result<Self, String> {
        let text = |error: Error| error.to_string();
        let lenience = super::process::lenience(arguments).map_err(text)?;
        let (program, objection) = if lenience.again {
            settings::program_again(arguments, &TAGS).map_err(text)?
        } else {
            (settings::program(arguments, &TAGS).map_err(text)?, None)
        };
        let sample = settings::sample(arguments).map_err(text)?;
        let esi = arguments.flag("esi").map_err(text)?;
        super::process::drain_at_exit();
        let whereto = Arc::new(Whereto::given(arguments));
        let outlet = super::process::open(arguments, lenience, &whereto)?;
        if let Some(objection) = &objection {
            super::process::object(objection);
        }
        let reads_response = program.reads_response_headers();
        let reads_reason = program.reads_reason();
        let mask = Watch::new(arguments.stream(), &program, esi);
        let program = PROGRAMS.of(program);
        Ok(Self { program, sample, esi, reads_response, reads_reason, mask, outlet, whereto })
    }

    /// What a task's value is found by: several VCLs' streams may feed one pipeline, in which a task has
    /// one line.
    pub(super) fn key(&self) -> *const c_void {
        self.whereto.key()
    }

    /// Runs `body` so that a panic in it costs one record and nothing else.
    pub(super) fn guard<T: Default>(&self, body: impl FnOnce() -> T) -> T {
        guarded(body).unwrap_or_else(|| {
            stats::add(&self.outlet.stats().dropped_panic, 1);
            T::default()
        })
    }
}

/// The streams of one VCL, in the order of their making.
#[derive(Default)]
#[allow(unreachable_pub, reason = "the constructor of the VCL object names it")]
pub struct Streams(Vec<Weak<Stream>>);

impl Streams {
    /// Notes a stream, which its VCL object owns.
    pub(super) fn note(&mut self, stream: &Arc<Stream>) {
        self.0.push(Arc::downgrade(stream));
    }

    /// The whole VCL has loaded.
    pub(super) fn loaded(&self) {
        for stream in self.0.iter().filter_map(Weak::upgrade) {
            stream.guard(|| stream.outlet.loaded());
            stream.guard(|| stream.mask.loaded());
        }
    }
}

unsafe extern "C" {
    /// The running Varnish's tag names by number, null for numbers without a tag
    /// (`include/vapi/vsl.h`).
    static VSL_tags: [*const c_char; 256];
}

/// The running Varnish's log tags.
static TAGS: LazyLock<TagTable> = LazyLock::new(|| {
    // SAFETY: a constant table of libvarnishapi.
    let names = unsafe { &VSL_tags };
    TagTable::new((0u8..=255).zip(names).filter_map(|(number, name)| {
        if name.is_null() {
            return None;
        }
        // SAFETY: a constant C string of libvarnishapi.
        let name = unsafe { CStr::from_ptr(*name) };
        Some((number, name.to_str().ok()?))
    }))
});
