//! A file's lines: those of each block together, blocks and lines in their order.
//!
//! A row group is fetched and decoded whole, and its lines are written one after the other. A block that is
//! larger than a row group has the rest of its lines at the beginning of the next ones. Where only some blocks are
//! wanted, row groups whose least and greatest place of a block leave all of these out are not fetched.
//!
//! Whoever can write to the bucket may have put anything there. The crate returns errors for what it checks
//! and panics about some of the rest, which is caught here. Values that the writer cannot have made are refused
//! before they are copied: a value of a dictionary may stand in each of a million rows. A page is decompressed
//! here, because the crate makes room for the 2 GiB that a page's header may say.

use std::io::{self, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::{Buf as _, Bytes};
use parquet::basic::{Compression, Encoding};
use parquet::column::page::{Page, PageMetadata, PageReader};
use parquet::column::reader::{ColumnReader, ColumnReaderImpl, get_column_reader};
use parquet::data_type::{ByteArray, DataType};
use parquet::errors::{ParquetError, Result as Parsed};
use parquet::file::metadata::{
    FooterTail, ParquetMetaData, ParquetMetaDataReader, RowGroupMetaData,
};
use parquet::file::reader::{ChunkReader, Length};
use parquet::file::serialized_reader::SerializedPageReader;
use parquet::file::statistics::Statistics;
use zstd::zstd_safe::get_frame_content_size;

use super::layout::{Layout, bad};
use super::row::Row;
use super::schema::{LAYOUT, schema};
use super::table::{Column, Table, Texts, Values};

/// Gives so many bytes of a file from a place on.
pub(in crate::cli) type Fetch<'f> = Box<dyn FnMut(u64, u64) -> io::Result<Vec<u8>> + Send + 'f>;

/// Bytes at the end of a file that are fetched at first: mostly all that it says of itself.
const TAIL: u64 = 256 * 1024;
/// Bytes of a file's footer.
const FOOTER: u64 = 8;
/// The most that a file may say of itself: the writer's has 8 MiB and the row groups of a block.
const META_MAX: u64 = 2 * super::FOOTER_BYTES as u64;
/// Bytes of a row group as it is stored.
const GROUP_MAX: u64 = 256 << 20;
/// Bytes of a row group's values, as [`Table::bytes`] counts them: the writer ends it at half of that.
pub(super) const VALUES_MAX: usize = 2 * super::GROUP_BYTES;
/// Most rows of a row group.
const ROWS_MAX: usize = 4 * super::GROUP_ROWS;
/// Values that are decoded at a time.
const BATCH: usize = 8_192;
/// Bytes of lines that are written at a time.
const PIECE: usize = 64 * 1024;

fn failed(error: ParquetError) -> io::Error {
    bad(&error.to_string())
}

/// What `work` gives, with a panic as an error.
fn guarded<T>(work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(bad("it cannot be decoded")))
}

/// The lines of a file of `size` bytes: of all blocks, or of those in the places `blocks`.
///
/// # Errors
/// Those of `fetch`; [`io::ErrorKind::InvalidData`]: the file is none of ours;
/// [`io::ErrorKind::Unsupported`]: it is of a newer release.
pub(in crate::cli) fn lines(
    size: u64,
    mut fetch: Fetch<'_>,
    blocks: Option<Vec<u32>>,
) -> io::Result<impl Read + Send> {
    let meta = guarded(|| metadata(size, &mut fetch))?;
    let known = meta.file_metadata().key_value_metadata();
    let kept = known.and_then(|pairs| pairs.iter().find(|pair| pair.key == LAYOUT));
    let kept =
        kept.and_then(|pair| pair.value.as_deref()).ok_or_else(|| bad("it has no layout"))?;
    let layout = Layout::parse(kept)?;
    if *meta.file_metadata().schema() != *schema(&layout).map_err(failed)? {
        return Err(bad("its columns are not those of its layout"));
    }
    Ok(Lines {
        table: Table::new(&layout),
        wanted: blocks.map(Wanted::new),
        size,
        fetch,
        meta,
        layout,
        group: 0,
        order: Vec::new(),
        next: 0,
        row: Row::default(),
        piece: Vec::new(),
        given: 0,
    })
}

fn metadata(size: u64, fetch: &mut Fetch<'_>) -> io::Result<ParquetMetaData> {
    let from = size.saturating_sub(TAIL);
    let mut tail = fetch(from, size - from)?;
    let footer = tail.last_chunk().ok_or_else(|| bad("it is too short"))?;
    let length = FooterTail::try_new(footer).map_err(failed)?.metadata_length() as u64;
    if length > META_MAX || length + FOOTER > size {
        return Err(bad("what it says of itself is too long"));
    }
    if length + FOOTER > tail.len() as u64 {
        tail = fetch(size - length - FOOTER, length + FOOTER)?;
    }
    let end = tail.len().saturating_sub(FOOTER as usize);
    let start = end.saturating_sub(length as usize);
    let meta = tail.get(start..end).unwrap_or_default();
    ParquetMetaDataReader::decode_metadata(meta).map_err(failed)
}

struct Lines<'f> {
    size: u64,
    fetch: Fetch<'f>,
    meta: ParquetMetaData,
    layout: Layout,
    /// Of which blocks the lines are wanted, where it is not of all.
    wanted: Option<Wanted>,
    /// The row group that comes next.
    group: usize,
    table: Table,
    /// Rows of the table in the order of their lines.
    order: Vec<usize>,
    /// The place in `order` of the line that comes next.
    next: usize,
    row: Row,
    /// Lines, and how much of them was given.
    piece: Vec<u8>,
    given: usize,
}

impl Read for Lines<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.given == self.piece.len() {
            if self.next == self.order.len() && !self.load()? {
                return Ok(0);
            }
            self.piece.clear();
            self.given = 0;
            while let Some(at) = self.order.get(self.next).filter(|_| self.piece.len() < PIECE) {
                self.table.line(*at, &self.layout, &mut self.row, &mut self.piece);
                self.next += 1;
            }
        }
        let mut rest = self.piece.get(self.given..).unwrap_or_default();
        let read = rest.read(buffer)?;
        self.given += read;
        Ok(read)
    }
}

impl Lines<'_> {
    /// Decodes the next row group with lines that are wanted; `false` when there is none.
    fn load(&mut self) -> io::Result<bool> {
        let own = self.table.columns.len();
        let group = loop {
            let Some(group) = self.meta.row_groups().get(self.group) else { return Ok(false) };
            self.group += 1;
            if self.wanted.as_ref().is_none_or(|wanted| wanted.may_be_in(group, own + 2)) {
                break group;
            }
        };
        self.table.clear();
        self.next = 0;
        self.order.clear();
        guarded(|| {
            let (start, length) = extent(group, self.size)?;
            let bytes = Bytes::from((self.fetch)(start, length)?);
            let window = Arc::new(Window { start, bytes, size: self.size });
            decode(group, &window, &mut self.table).map_err(failed)
        })?;
        let rows = 0..self.table.len();
        match &self.wanted {
            Some(wanted) => {
                let block = |at: &usize| self.table.blocks.get(*at);
                let is_wanted = |at: &usize| block(at).is_some_and(|block| wanted.has(*block));
                self.order.extend(rows.filter(is_wanted));
            }
            None => self.order.extend(rows),
        }
        let place = |at: &usize| (self.table.blocks.get(*at), self.table.lines.get(*at));
        self.order.sort_unstable_by_key(place);
        Ok(true)
    }
}

/// Places of blocks, in their order.
struct Wanted(Vec<i32>);

impl Wanted {
    fn new(blocks: Vec<u32>) -> Self {
        let mut places: Vec<i32> =
            blocks.into_iter().filter_map(|block| i32::try_from(block).ok()).collect();
        places.sort_unstable();
        Self(places)
    }

    fn has(&self, block: i32) -> bool {
        self.0.binary_search(&block).is_ok()
    }

    /// Whether a row group may have lines of them, by what it says of its column `at`.
    fn may_be_in(&self, group: &RowGroupMetaData, at: usize) -> bool {
        let said = group.columns().get(at).and_then(|column| column.statistics());
        let Some(Statistics::Int32(said)) = said else { return true };
        let (Some(least), Some(greatest)) = (said.min_opt(), said.max_opt()) else { return true };
        let first = self.0.partition_point(|block| block < least);
        self.0.get(first).is_some_and(|block| block <= greatest)
    }
}

/// Where in a file of `size` bytes a row group is.
fn extent(group: &RowGroupMetaData, size: u64) -> io::Result<(u64, u64)> {
    let (mut start, mut end) = (u64::MAX, 0);
    for column in group.columns() {
        let (from, length) = column.byte_range();
        start = start.min(from);
        end = end.max(from.saturating_add(length));
    }
    let rows = usize::try_from(group.num_rows()).unwrap_or(usize::MAX);
    if start > end || end > size || end - start > GROUP_MAX || rows > ROWS_MAX {
        return Err(bad("a row group is larger than any that is written"));
    }
    Ok((start, end - start))
}

/// The bytes of a row group, whose pages are given decompressed.
struct Window {
    start: u64,
    bytes: Bytes,
    size: u64,
}

impl Length for Window {
    fn len(&self) -> u64 {
        self.size
    }
}

impl Window {
    fn from(&self, start: u64) -> Parsed<Bytes> {
        let at = start.checked_sub(self.start).and_then(|at| usize::try_from(at).ok());
        let at = at.filter(|at| *at <= self.bytes.len());
        let outside = || ParquetError::EOF("a page is outside its row group".to_owned());
        Ok(self.bytes.slice(at.ok_or_else(outside)?..))
    }
}

impl ChunkReader for Window {
    type T = bytes::buf::Reader<Bytes>;

    fn get_read(&self, start: u64) -> Parsed<Self::T> {
        Ok(self.from(start)?.reader())
    }

    fn get_bytes(&self, start: u64, length: usize) -> Parsed<Bytes> {
        let bytes = self.from(start)?;
        let page = bytes.get(..length);
        plain(page.ok_or_else(|| ParquetError::EOF("a page is outside its row group".to_owned()))?)
    }
}

/// A page's bytes, decompressed: at most [`VALUES_MAX`].
pub(super) fn plain(page: &[u8]) -> Parsed<Bytes> {
    let size = get_frame_content_size(page);
    let size = size.map_err(|_| ParquetError::General("a page is no zstd frame".to_owned()))?;
    // A frame need not say its size. One that is longer than it says is an error.
    let room = size.map_or(Some(VALUES_MAX), |size| usize::try_from(size).ok());
    let room = room.filter(|room| *room <= VALUES_MAX).ok_or_else(too_large)?;
    let mut plain = zstd::bulk::decompress(page, room)?;
    plain.shrink_to_fit();
    Ok(plain.into())
}

/// Reads a row group of our schema into an empty table.
fn decode(group: &RowGroupMetaData, window: &Arc<Window>, table: &mut Table) -> Parsed<()> {
    let rows = usize::try_from(group.num_rows()).unwrap_or_default();
    let mut left =
        rows.checked_mul(table.row_bytes()).and_then(|bytes| VALUES_MAX.checked_sub(bytes));
    if left.is_none() {
        return Err(too_large());
    }
    let open = |at: usize| -> Parsed<ColumnReader> {
        let column = group.columns().get(at);
        let column =
            column.ok_or_else(|| ParquetError::General("a column is missing".to_owned()))?;
        // As the window gives its pages.
        let column = column.clone().into_builder().set_compression(Compression::UNCOMPRESSED);
        let column = column.build()?;
        let pages = SerializedPageReader::new(Arc::clone(window), &column, rows, None)?;
        Ok(get_column_reader(column.column_descr_ptr(), Box::new(Pages(pages))))
    };
    let own = table.columns.len();
    for (at, column) in table.columns.iter_mut().enumerate() {
        values(open(at)?, rows, column, &mut left)?;
    }
    values(open(own + 4)?, rows, &mut table.raw, &mut left)?;
    if let ColumnReader::Int64ColumnReader(reader) = open(own)? {
        each(reader, rows, |value| table.times.push(value.unwrap_or_default()))?;
    }
    if let ColumnReader::Int32ColumnReader(reader) = open(own + 2)? {
        each(reader, rows, |value| table.blocks.push(value.unwrap_or_default()))?;
    }
    if let ColumnReader::Int32ColumnReader(reader) = open(own + 3)? {
        each(reader, rows, |value| table.lines.push(value.unwrap_or_default()))?;
    }
    Ok(())
}

fn too_large() -> ParquetError {
    ParquetError::General("a row group has more values than any that is written".to_owned())
}

/// The pages of a column.
struct Pages(SerializedPageReader<Window>);

impl Iterator for Pages {
    type Item = Parsed<Page>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}

impl PageReader for Pages {
    fn get_next_page(&mut self) -> Parsed<Option<Page>> {
        let page = self.0.get_next_page()?;
        let Some(known) = &page else { return Ok(None) };
        // Not those that make a value of the one before: the reader decodes a batch before we see a value.
        match known.encoding() {
            Encoding::PLAIN
            | Encoding::RLE
            | Encoding::RLE_DICTIONARY
            | Encoding::DELTA_BINARY_PACKED => Ok(page),
            other => Err(ParquetError::General(format!("a page has the encoding {other}"))),
        }
    }

    fn peek_next_page(&mut self) -> Parsed<Option<PageMetadata>> {
        self.0.peek_next_page()
    }

    fn skip_next_page(&mut self) -> Parsed<()> {
        self.0.skip_next_page()
    }

    fn at_record_boundary(&mut self) -> Parsed<bool> {
        self.0.at_record_boundary()
    }
}

/// Reads a column; `left` are the bytes that texts may still have, `None` when they had more.
fn values(
    reader: ColumnReader,
    rows: usize,
    column: &mut Column,
    left: &mut Option<usize>,
) -> Parsed<()> {
    let Column { values, valid } = column;
    let mut note = |is: bool| valid.push(is);
    match (reader, values) {
        (ColumnReader::Int32ColumnReader(reader), Values::Int(into)) => {
            each(reader, rows, |value| {
                note(value.is_some());
                into.push(value.map_or(0, i64::from));
            })
        }
        (ColumnReader::Int64ColumnReader(reader), Values::Int(into)) => {
            each(reader, rows, |value| {
                note(value.is_some());
                into.push(value.unwrap_or_default());
            })
        }
        (ColumnReader::DoubleColumnReader(reader), Values::Real(into)) => {
            each(reader, rows, |value| {
                note(value.is_some());
                into.push(value.unwrap_or_default());
            })
        }
        (ColumnReader::ByteArrayColumnReader(reader), Values::Text(into)) => {
            each(reader, rows, |value: Option<ByteArray>| {
                note(value.is_some());
                text(into, value.as_ref(), left);
            })?;
            left.map(drop).ok_or_else(too_large)
        }
        _ => Err(ParquetError::General("a column is of another type".to_owned())),
    }
}

fn text(texts: &mut Texts, value: Option<&ByteArray>, left: &mut Option<usize>) {
    let value = value.map(ByteArray::data).unwrap_or_default();
    *left = left.and_then(|left| left.checked_sub(value.len()));
    if left.is_some() {
        texts.push(value);
    }
}

/// Calls `take` for each row of a column.
fn each<T: DataType>(
    mut reader: ColumnReaderImpl<T>,
    rows: usize,
    mut take: impl FnMut(Option<T::T>),
) -> Parsed<()> {
    let (mut values, mut levels) = (Vec::with_capacity(BATCH), Vec::with_capacity(BATCH));
    let mut left = rows;
    while left > 0 {
        values.clear();
        levels.clear();
        let most = left.min(BATCH);
        let (read, _, _) = reader.read_records(most, Some(&mut levels), None, &mut values)?;
        if read == 0 {
            return Err(ParquetError::EOF("a column has fewer values than rows".to_owned()));
        }
        left -= read;
        let mut values = values.drain(..);
        if levels.is_empty() {
            values.for_each(|value| take(Some(value)));
        } else {
            levels.iter().for_each(|level| take(if *level > 0 { values.next() } else { None }));
        }
    }
    Ok(())
}
