//! The columns of a file, and how they are encoded.
//!
//! | column | type |
//! |---|---|
//! | those of the format | see `layout`; each may be null |
//! | `s3log_time` | timestamp, microseconds in UTC: what rows are sorted by |
//! | `s3log_host` | the node's name |
//! | `s3log_block` | int32: place of the block among those that the manifest names for the object, from 0 |
//! | `s3log_line` | int32: place of the line in the block, from 0 |
//! | `s3log_raw` | the line, where it could not be taken apart |

use std::sync::Arc;

use parquet::basic::{
    Compression, Encoding, LogicalType, Repetition, TimeUnit, Type as Physical, ZstdLevel,
};
use parquet::errors::ParquetError;
use parquet::file::metadata::{KeyValue, SortingColumn};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::{ColumnPath, Type, TypePtr};

use super::layout::{Kind, Layout};

pub(super) const TIME: &str = "s3log_time";
pub(super) const HOST: &str = "s3log_host";
pub(super) const BLOCK: &str = "s3log_block";
pub(super) const LINE: &str = "s3log_line";
pub(super) const RAW: &str = "s3log_raw";

/// The columns that each file has, behind those of the format.
pub(super) const OWN: [&str; 5] = [TIME, HOST, BLOCK, LINE, RAW];

/// The key of a file's own metadata that the layout is under.
pub(super) const LAYOUT: &str = "s3log.layout";

/// Rows of a page: what an engine reads at least, when the index says that the rest cannot match.
const PAGE_ROWS: usize = 20_000;
/// Bytes of a value that statistics keep.
const STATISTICS_BYTES: usize = 64;

/// The schema of the files of a layout.
///
/// # Errors
/// A name that Parquet does not take.
pub(super) fn schema(layout: &Layout) -> Result<TypePtr, ParquetError> {
    let column = |name: &str, physical, logical, repetition| {
        let builder = Type::primitive_type_builder(name, physical).with_logical_type(logical);
        builder.with_repetition(repetition).build().map(Arc::new)
    };
    let time = || Some(LogicalType::timestamp(true, TimeUnit::MICROS));
    let (may, must) = (Repetition::OPTIONAL, Repetition::REQUIRED);
    let mut columns = Vec::new();
    for field in layout.fields() {
        let (physical, logical) = match field.kind {
            Kind::Text => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
            Kind::Int32 => (Physical::INT32, None),
            Kind::Int64 => (Physical::INT64, None),
            Kind::Seconds => (Physical::DOUBLE, None),
            Kind::Time(_) | Kind::Epoch(_) => (Physical::INT64, time()),
        };
        columns.push(column(&field.name, physical, logical, may)?);
    }
    columns.push(column(TIME, Physical::INT64, time(), must)?);
    columns.push(column(HOST, Physical::BYTE_ARRAY, Some(LogicalType::String), must)?);
    columns.push(column(BLOCK, Physical::INT32, None, must)?);
    columns.push(column(LINE, Physical::INT32, None, must)?);
    columns.push(column(RAW, Physical::BYTE_ARRAY, Some(LogicalType::String), may)?);
    Type::group_type_builder("line").with_fields(columns).build().map(Arc::new)
}

/// How the files of a layout are written: zstd of this level.
///
/// # Errors
/// A level that zstd does not have.
pub(super) fn properties(layout: &Layout, level: u8) -> Result<WriterProperties, ParquetError> {
    let zstd = Compression::ZSTD(ZstdLevel::try_new(i32::from(level))?);
    let time = layout.fields().count();
    let sorted = SortingColumn {
        column_idx: i32::try_from(time).unwrap_or_default(),
        descending: false,
        nulls_first: false,
    };
    let kept = KeyValue::new(LAYOUT.to_owned(), layout.json().to_owned());
    let mut builder = WriterProperties::builder()
        .set_compression(zstd)
        .set_created_by(format!("s3log version {}", env!("CARGO_PKG_VERSION")))
        .set_key_value_metadata(Some(vec![kept]))
        .set_sorting_columns(Some(vec![sorted]))
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_statistics_truncate_length(Some(STATISTICS_BYTES))
        .set_column_index_truncate_length(Some(STATISTICS_BYTES))
        .set_data_page_row_count_limit(PAGE_ROWS)
        .set_max_row_group_row_count(None)
        .set_max_row_group_bytes(None);
    // Numbers that grow, or are all different: their differences are small, and a dictionary is none.
    let times =
        layout.fields().filter(|field| matches!(field.kind, Kind::Time(_) | Kind::Epoch(_)));
    for name in times.map(|field| field.name.as_str()).chain([TIME, BLOCK, LINE]) {
        let path = ColumnPath::from(name);
        builder = builder
            .set_column_dictionary_enabled(path.clone(), false)
            .set_column_encoding(path, Encoding::DELTA_BINARY_PACKED);
    }
    Ok(builder.build())
}
