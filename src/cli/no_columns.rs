//! Stands for `columns` in a command that is built without the feature `parquet`.

use std::convert::Infallible;
use std::io::{self, Read, Write};
use std::marker::PhantomData;
use std::sync::Arc;

use crate::record::Program;

const WITHOUT: &str = "this s3log was built without Parquet (feature parquet)";

/// Gives so many bytes of a file from a place on.
pub(in crate::cli) type Fetch<'f> = Box<dyn FnMut(u64, u64) -> io::Result<Vec<u8>> + Send + 'f>;

/// There is none.
#[derive(Debug)]
pub(in crate::cli) struct Layout(Infallible);

impl Layout {
    /// Nobody has one.
    ///
    /// # Errors
    /// Always.
    pub(in crate::cli) fn of(_: &Program) -> Result<Self, String> {
        Err(WITHOUT.to_owned())
    }
}

/// There is none.
pub(in crate::cli) struct ColumnWriter<W> {
    never: Infallible,
    out: PhantomData<W>,
}

impl<W: Write + Send> ColumnWriter<W> {
    pub(in crate::cli) fn new(_: W, layout: &Arc<Layout>, _: u8) -> io::Result<Self> {
        match layout.0 {}
    }

    pub(in crate::cli) fn start(&mut self, _: &str, _: u64) {
        match self.never {}
    }

    pub(in crate::cli) fn add(&mut self, _: &[u8]) -> io::Result<()> {
        match self.never {}
    }

    pub(in crate::cli) fn end(&mut self) -> io::Result<()> {
        match self.never {}
    }

    pub(in crate::cli) fn written(&self) -> u64 {
        match self.never {}
    }

    pub(in crate::cli) fn is_full(&self) -> bool {
        match self.never {}
    }

    pub(in crate::cli) fn finish(self) -> io::Result<(W, u64)> {
        match self.never {}
    }
}

/// The lines of a file.
///
/// # Errors
/// Always.
pub(in crate::cli) fn lines(
    _: u64,
    _: Fetch<'_>,
    _: Option<Vec<u32>>,
) -> io::Result<impl Read + Send> {
    Err::<io::Empty, _>(io::Error::new(io::ErrorKind::Unsupported, WITHOUT))
}
