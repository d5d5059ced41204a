//! Lines as columns: what `s3log compact --to parquet` writes, and the lines of it again, byte for byte.
//!
//! | file | what |
//! |---|---|
//! | `layout` | the parts of a format's lines, kept in each file: lines of old formats can be written again |
//! | `parse` | a line to values |
//! | `render` | values to a line |
//! | `text` | a value's bytes as text, and the escapes of lines |
//! | `moment` | times as text, and as microseconds |
//! | `table` | the rows of a row group, in memory |
//! | `schema` | the columns of a file, and how they are encoded |
//! | `write` | a file in the making |
//! | `read` | a file's lines, block by block |
//!
//! A line is taken apart, written again, and compared: one that is not the same is kept whole in the column
//! `s3log_raw`, and has no other values. So no line is lost, and the lines of each block can be hashed when
//! the block is gone.
//!
//! Rows are sorted by time within a row group. `s3log_block` and `s3log_line` say where each row's line was:
//! the place of the block among those of the manifest's part, and of the line in the block. Row groups follow
//! the order of the blocks, and end with a block where they can.
//!
//! Non-goals: queries, other files than ours. The crate checks what it reads; what it does not check and
//! panics about is an error here (`read`).
//!
//! A file says of each row group and column where it is and what its least and greatest values are: 100 to 220
//! bytes, at its end, which a reader fetches whole. Lines that compress 20 times are 4,500 row groups in 4 GiB: with
//! 30 columns that were 30 MB. So a file takes no more blocks when that is 8 MiB, and a reader takes 16 MiB.
//!
//! Memory: a row group, 24 MiB of values at most, once more as it is encoded. A
//! reader holds one as well.

mod layout;
mod moment;
mod parse;
mod read;
mod render;
mod row;
mod schema;
mod table;
mod text;
mod write;

pub(in crate::cli) use self::layout::Layout;
pub(in crate::cli) use self::read::lines;
pub(in crate::cli) use self::write::ColumnWriter;

/// Values of a row group, bytes.
const GROUP_BYTES: usize = 24 << 20;
/// Bytes that a file says of itself, at which no block is added to it.
const FOOTER_BYTES: usize = 8 << 20;
/// Rows of a row group.
const GROUP_ROWS: usize = 1 << 20;

#[cfg(test)]
mod tests;
