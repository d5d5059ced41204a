//! A file in the making: lines in, row groups out.

use std::io::{self, Write};
use std::sync::Arc;

use parquet::data_type::{ByteArray, ByteArrayType, DataType, DoubleType, Int32Type, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};

use super::layout::{Kind, Layout};
use super::row::Row;
use super::schema::{OWN, properties, schema};
use super::table::{Column, Table, Texts, Values};
use super::text::from_bytes;
use super::{FOOTER_BYTES, GROUP_BYTES, GROUP_ROWS};

/// Values that are given to the encoder at a time.
const BATCH: usize = 4_096;

/// Bytes, at most, that a file says of a column of a row group, without the column's name.
const CHUNK_BYTES: usize = 320;

/// Writes lines as a Parquet file.
pub(in crate::cli) struct ColumnWriter<W: Write + Send> {
    file: SerializedFileWriter<W>,
    layout: Arc<Layout>,
    table: Table,
    /// Of each block so far.
    hosts: Vec<ByteArray>,
    /// The start of a line whose end has not come yet.
    begun: Vec<u8>,
    /// Of the line under way.
    row: Row,
    again: Vec<u8>,
    line: i32,
    /// Microseconds since 1970, of the line before.
    time: i64,
    unparsed: u64,
    /// Bytes of a row group.
    pub(super) most: usize,
    /// Bytes of what it says of itself.
    pub(super) most_footer: usize,
}

fn failed(error: ParquetError) -> io::Error {
    match error {
        ParquetError::External(inner) => match inner.downcast::<io::Error>() {
            Ok(error) => *error,
            Err(inner) => io::Error::other(inner),
        },
        other => io::Error::other(other),
    }
}

impl<W: Write + Send> ColumnWriter<W> {
    /// A file without lines, into `out`; zstd of this level.
    ///
    /// # Errors
    /// That of `out`, or a column that Parquet cannot have.
    pub(in crate::cli) fn new(out: W, layout: &Arc<Layout>, level: u8) -> io::Result<Self> {
        let schema = schema(layout).map_err(failed)?;
        let properties = Arc::new(properties(layout, level).map_err(failed)?);
        Ok(Self {
            file: SerializedFileWriter::new(out, schema, properties).map_err(failed)?,
            layout: Arc::clone(layout),
            table: Table::new(layout),
            hosts: Vec::new(),
            begun: Vec::new(),
            row: Row::default(),
            again: Vec::new(),
            line: 0,
            time: 0,
            unparsed: 0,
            most: GROUP_BYTES,
            most_footer: FOOTER_BYTES,
        })
    }

    /// Begins a block of `host` whose first record is of this time, ns since 1970.
    pub(in crate::cli) fn start(&mut self, host: &str, first: u64) {
        let mut text = Vec::with_capacity(host.len());
        from_bytes(host.as_bytes(), &mut text);
        self.hosts.push(text.into());
        self.line = 0;
        self.time = i64::try_from(first / 1_000).unwrap_or(i64::MAX);
        self.begun.clear();
    }

    /// Adds lines of the block, which may end anywhere.
    ///
    /// # Errors
    /// Those of the file.
    pub(in crate::cli) fn add(&mut self, mut lines: &[u8]) -> io::Result<()> {
        while let Some(end) = memchr::memchr(b'\n', lines) {
            let (line, rest) = lines.split_at_checked(end).unwrap_or((lines, &[]));
            if self.begun.is_empty() {
                self.push(line)?;
            } else {
                let mut whole = std::mem::take(&mut self.begun);
                whole.extend_from_slice(line);
                self.push(&whole)?;
                whole.clear();
                self.begun = whole;
            }
            lines = rest.get(1..).unwrap_or_default();
        }
        self.begun.extend_from_slice(lines);
        Ok(())
    }

    /// Ends the block, all of whose lines end with a newline.
    ///
    /// # Errors
    /// Those of the file.
    pub(in crate::cli) fn end(&mut self) -> io::Result<()> {
        // Room for one more block of this size: a row group that ends with a block is read by itself.
        let most = self.most / 4 * 3;
        if self.table.bytes() > most || self.table.len() > GROUP_ROWS / 4 * 3 {
            self.flush()
        } else {
            Ok(())
        }
    }

    /// Bytes of the file so far, without the row group under way.
    pub(in crate::cli) fn written(&self) -> u64 {
        self.file.bytes_written() as u64
    }

    /// Whether it says so much of itself that it is to have no more blocks.
    pub(in crate::cli) fn is_full(&self) -> bool {
        let of_column = |name: &str| CHUNK_BYTES + name.len();
        let own = OWN.iter().map(|name| of_column(name)).sum::<usize>();
        let group = own + self.layout.fields().map(|field| of_column(&field.name)).sum::<usize>();
        self.file.flushed_row_groups().len().saturating_mul(group) >= self.most_footer
    }

    /// Ends the file: what it was written into, and how many lines were not taken apart.
    ///
    /// # Errors
    /// Those of the file.
    pub(in crate::cli) fn finish(mut self) -> io::Result<(W, u64)> {
        self.flush()?;
        let out = self.file.into_inner().map_err(failed)?;
        Ok((out, self.unparsed))
    }

    fn push(&mut self, line: &[u8]) -> io::Result<()> {
        self.again.clear();
        let known = self.layout.parse_line(line, &mut self.row) && {
            self.layout.render(&self.row, &mut self.again);
            self.again == line
        };
        let block = i32::try_from(self.hosts.len().saturating_sub(1)).map_err(io::Error::other)?;
        let place = (block, self.line);
        if known {
            if let Some(time) = self.layout.moment(&self.row) {
                self.time = time;
            }
            self.table.push(self.time, place, &self.row, None);
        } else {
            self.unparsed += 1;
            self.again.clear();
            from_bytes(line, &mut self.again);
            self.table.push(self.time, place, &self.row, Some(&self.again));
        }
        self.line =
            self.line.checked_add(1).ok_or_else(|| io::Error::other("more than 2^31 lines"))?;
        let full = self.table.bytes() >= self.most || self.table.len() >= GROUP_ROWS;
        if full { self.flush() } else { Ok(()) }
    }

    /// Writes the rows that are held as a row group, sorted by time.
    fn flush(&mut self) -> io::Result<()> {
        if self.table.len() == 0 {
            return Ok(());
        }
        let mut order: Vec<(i64, u32)> = self.table.times.iter().copied().zip(0..).collect();
        // Stable: lines of one time stay in their order.
        order.sort_by_key(|(time, _)| *time);
        let order: Vec<usize> = order.into_iter().map(|(_, at)| at as usize).collect();
        let mut group = self.file.next_row_group().map_err(failed)?;
        let Table { times, blocks, lines, columns, raw, .. } = &mut self.table;
        for (column, field) in columns.iter_mut().zip(self.layout.fields()) {
            optional(&mut group, column, &field.kind, &order).map_err(failed)?;
        }
        let hosts = &self.hosts;
        let host = |at: usize| {
            let block = blocks.get(at).and_then(|block| usize::try_from(*block).ok());
            block.and_then(|block| hosts.get(block)).cloned().unwrap_or_default()
        };
        let get = |values: &[i32], at: usize| values.get(at).copied().unwrap_or_default();
        required::<Int64Type>(&mut group, &order, |at| times.get(at).copied().unwrap_or_default())
            .and_then(|()| required::<ByteArrayType>(&mut group, &order, host))
            .and_then(|()| required::<Int32Type>(&mut group, &order, |at| get(blocks, at)))
            .and_then(|()| required::<Int32Type>(&mut group, &order, |at| get(lines, at)))
            .and_then(|()| optional(&mut group, raw, &Kind::Text, &order))
            .and_then(|()| group.close().map(drop))
            .map_err(failed)?;
        self.table.clear();
        Ok(())
    }
}

type Group<'a, W> = SerializedRowGroupWriter<'a, W>;

/// Writes a column that each row has.
fn required<T: DataType>(
    group: &mut Group<'_, impl Write + Send>,
    order: &[usize],
    value: impl Fn(usize) -> T::T,
) -> Result<(), ParquetError> {
    let Some(mut writer) = group.next_column()? else {
        return Err(ParquetError::General("the schema has fewer columns".to_owned()));
    };
    let mut values = Vec::with_capacity(BATCH);
    for batch in order.chunks(BATCH) {
        values.clear();
        values.extend(batch.iter().map(|at| value(*at)));
        writer.typed::<T>().write_batch(&values, None, None)?;
    }
    writer.close()
}

/// Writes a column that a row may be without.
fn present<T: DataType>(
    group: &mut Group<'_, impl Write + Send>,
    order: &[usize],
    valid: &[bool],
    value: impl Fn(usize) -> T::T,
) -> Result<(), ParquetError> {
    let Some(mut writer) = group.next_column()? else {
        return Err(ParquetError::General("the schema has fewer columns".to_owned()));
    };
    let is_valid = |at: &usize| valid.get(*at).copied().unwrap_or_default();
    let mut values = Vec::with_capacity(BATCH);
    let mut levels = Vec::with_capacity(BATCH);
    for batch in order.chunks(BATCH) {
        values.clear();
        levels.clear();
        levels.extend(batch.iter().map(|at| i16::from(is_valid(at))));
        values.extend(batch.iter().copied().filter(is_valid).map(&value));
        writer.typed::<T>().write_batch(&values, Some(&levels), None)?;
    }
    writer.close()
}

fn optional(
    group: &mut Group<'_, impl Write + Send>,
    column: &mut Column,
    kind: &Kind,
    order: &[usize],
) -> Result<(), ParquetError> {
    let valid = &column.valid;
    match &mut column.values {
        Values::Int(values) if matches!(kind, Kind::Int32) => {
            // Looked at when they were read.
            let get = |at: usize| values.get(at).map_or(0, |value| *value as i32);
            present::<Int32Type>(group, order, valid, get)
        }
        Values::Int(values) => {
            let get = |at: usize| values.get(at).copied().unwrap_or_default();
            present::<Int64Type>(group, order, valid, get)
        }
        Values::Real(values) => {
            let get = |at: usize| values.get(at).copied().unwrap_or_default();
            present::<DoubleType>(group, order, valid, get)
        }
        Values::Text(texts) => {
            let shared = shared(texts);
            let get = |at: usize| {
                let range = texts.range(at);
                shared.slice(range.start, range.len())
            };
            present::<ByteArrayType>(group, order, valid, get)
        }
    }
}

/// The bytes of texts, which then have none of their own, to be referred to from many values.
fn shared(texts: &mut Texts) -> ByteArray {
    std::mem::take(&mut texts.bytes).into()
}
