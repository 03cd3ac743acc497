//! What comes after the bytes of tensors: the other columns, row by row, and the footer.

use super::sums::checksum;
use super::{BYTES, COLUMNS, CREATED_BY, FORMAT_VERSION, Row, VERSION_KEY, page, schema_of, told};
use crate::error::{IoError, IoOp};
use crate::layout::Placing;
use crate::output::Placed;
use arrow_schema::Schema;
use parquet::arrow::arrow_writer::ArrowWriter;
use parquet::arrow::{ARROW_SCHEMA_META_KEY, ArrowSchemaConverter, encode_arrow_schema};
use parquet::basic::{Compression, Encoding};
use parquet::errors::ParquetError;
use parquet::file::metadata::{ColumnChunkMetaData, FileMetaData, KeyValue, ParquetMetaData, ParquetMetaDataWriter, RowGroupMetaData};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::{ColumnDescPtr, SchemaDescPtr};
use std::io;
use std::path::Path;
use std::sync::Arc;

/// What the library begins with stands in the file already.
const BEGINNING: u64 = super::MAGIC.len() as u64;

/// What is told of the tensors of a file once they are written.
pub struct Closing<'a> {
    /// For each row (or each layer that takes several): how many of the file's tensors it has, `data` first.
    pub tensors: Vec<usize>,
    /// The values of its columns.
    pub tell: Box<dyn Fn(usize) -> Result<Row, IoError> + Sync + 'a>,
    /// Keys of the file, besides the version of the format.
    pub metadata: Vec<(String, String)>,
}

/// The file that it is written to.
pub trait Below {
    /// For errors.
    fn path(&self) -> &Path;
    /// Reads bytes of the file.
    fn read(&self, buffer: &mut [u8], at: u64) -> Result<(), IoError>;
    /// Writes bytes of the file.
    fn write(&self, at: u64, bytes: &[u8]) -> Result<(), IoError>;
}

/// The pages that one row has in the columns of bytes: where, and bytes of the value.
#[derive(Debug, Clone, Copy)]
struct Page {
    at: u64,
    lead: u64,
    len: u64,
}

/// Writes the columns behind `end` and the footer behind them. `placed` are all tensors of the file.
pub fn write_tail<E: From<IoError>>(
    file: &dyn Below,
    closing: &Closing<'_>,
    placed: &[Placed],
    end: u64,
    check: &impl Fn() -> Result<(), E>,
) -> Result<(), E> {
    let failed = |e: ParquetError| {
        let source = io::Error::other(e.to_string());
        IoError::File { op: IoOp::Write, path: file.path().into(), offset: None, attempts: 1, source }
    };
    let properties = WriterProperties::builder().set_dictionary_enabled(false).set_statistics_enabled(EnabledStatistics::None).build();
    let told = Arc::new(schema_of(told()));
    let mut writer = ArrowWriter::try_new(Vec::new(), told, Some(properties)).map_err(failed)?;
    let (mut groups, mut at, mut first) = (Vec::new(), end, 0);
    for (i, &count) in closing.tensors.iter().enumerate() {
        let tensors = &placed[first..first + count];
        first += count;
        let parts = pages(tensors);
        let (whole, mut params) = ((closing.tell)(i)?, 0);
        let (numel, body) = (whole.number("num_params").unwrap_or(0), tensors[0].tensor.body().max(1));
        for (part, pages) in parts.iter().enumerate() {
            let mut row = whole.clone();
            let last = part + 1 == parts.len();
            let here = if last { numel - params } else { (u128::from(numel) * u128::from(pages[0].len) / u128::from(body)) as u64 };
            params += here;
            let crc = checksum(pages.iter().map(|p| (p.at + p.lead, p.len)), |buffer, at| {
                check()?;
                Ok::<(), E>(file.read(buffer, at)?)
            })?;
            for (column, value) in [("part", part as u64), ("parts", parts.len() as u64), ("num_params", here), ("crc32c", u64::from(crc))]
            {
                row.values.insert(column.into(), value.into());
            }
            let batch = row.batch().map_err(|e| failed(e.into()))?;
            writer.write(&batch).and_then(|()| writer.flush()).map_err(failed)?;
            writer.sync().map_err(|e| failed(e.into()))?;
            let mut bytes = std::mem::take(writer.inner_mut());
            if groups.is_empty() {
                bytes.drain(..BEGINNING as usize);
            }
            file.write(at, &bytes)?;
            at += bytes.len() as u64;
            groups.push(pages.clone());
        }
    }
    let absent = page::absent();
    for group in &mut groups {
        while group.len() < BYTES.len() {
            file.write(at, &absent)?;
            group.push(Page { at, lead: absent.len() as u64, len: 0 });
            at += absent.len() as u64;
        }
    }
    let footer = footer(&groups, writer.flushed_row_groups(), end - BEGINNING, &closing.metadata).map_err(failed)?;
    Ok(file.write(at, &footer)?)
}

/// For each part of a tensor and of those beside it: its pages.
fn pages(tensors: &[Placed]) -> Vec<Vec<Page>> {
    let mut parts: Vec<Vec<Page>> = Vec::new();
    for p in tensors {
        let Placing::Pages(pages) = &p.tensor.placing else { continue };
        let mut left = p.tensor.body();
        for (i, (start, lead)) in pages.starts().enumerate() {
            let len = left.min(pages.each);
            left -= len;
            if parts.len() <= i {
                parts.push(Vec::new());
            }
            parts[i].push(Page { at: p.position + start, lead: lead.len() as u64, len });
        }
    }
    parts
}

/// The footer: what the library says of its columns, moved by `shift`, and beside it the columns of bytes.
fn footer(groups: &[Vec<Page>], told: &[RowGroupMetaData], shift: u64, metadata: &[(String, String)]) -> Result<Vec<u8>, ParquetError> {
    let schema = schema_of(COLUMNS.into_iter());
    let descriptor: SchemaDescPtr = Arc::new(ArrowSchemaConverter::new().convert(&schema)?);
    let rows = groups.iter().zip(told);
    let list = rows.map(|(pages, told)| group(&descriptor, pages, told, shift as i64)).collect::<Result<Vec<_>, _>>()?;
    let keys = keys(&schema, metadata);
    let created_by = Some(format!("{CREATED_BY} version {}", env!("CARGO_PKG_VERSION")));
    let file = FileMetaData::new(2, list.len() as i64, created_by, Some(keys), descriptor, None);
    let metadata = ParquetMetaData::new(file, list);
    let mut bytes = Vec::new();
    ParquetMetaDataWriter::new(&mut bytes, &metadata).finish()?;
    Ok(bytes)
}

fn keys(schema: &Schema, metadata: &[(String, String)]) -> Vec<KeyValue> {
    let fixed = [(ARROW_SCHEMA_META_KEY.to_owned(), encode_arrow_schema(schema)), (VERSION_KEY.to_owned(), FORMAT_VERSION.to_string())];
    fixed.into_iter().chain(metadata.iter().cloned()).map(|(key, value)| KeyValue { key, value: Some(value) }).collect()
}

fn group(descriptor: &SchemaDescPtr, pages: &[Page], told: &RowGroupMetaData, shift: i64) -> Result<RowGroupMetaData, ParquetError> {
    let mut told = told.columns().iter().peekable();
    let mut columns = Vec::with_capacity(descriptor.num_columns());
    for column in descriptor.columns() {
        let name = column.path().parts().first().map_or("", String::as_str);
        if let Some(i) = BYTES.iter().position(|b| *b == name) {
            columns.push(bytes_chunk(column, pages[i])?);
            continue;
        }
        let chunk = told.next().ok_or_else(|| ParquetError::General(format!("column {name} was not written")))?;
        // Of the whole schema, not of the part of it that the library wrote.
        let moved = ColumnChunkMetaData::builder(column.clone())
            .set_encodings_mask(*chunk.encodings_mask())
            .set_num_values(chunk.num_values())
            .set_compression_codec(chunk.compression_codec())
            .set_total_compressed_size(chunk.compressed_size())
            .set_total_uncompressed_size(chunk.uncompressed_size())
            .set_data_page_offset(chunk.data_page_offset() + shift);
        columns.push(moved.build()?);
    }
    let bytes = columns.iter().map(ColumnChunkMetaData::uncompressed_size).sum();
    RowGroupMetaData::builder(descriptor.clone()).set_num_rows(1).set_total_byte_size(bytes).set_column_metadata(columns).build()
}

/// A chunk of one page that is not compressed.
fn bytes_chunk(column: &ColumnDescPtr, page: Page) -> Result<ColumnChunkMetaData, ParquetError> {
    let size = (page.lead + page.len) as i64;
    ColumnChunkMetaData::builder(column.clone())
        .set_encodings(vec![Encoding::PLAIN, Encoding::RLE])
        .set_num_values(1)
        .set_compression(Compression::UNCOMPRESSED)
        .set_total_compressed_size(size)
        .set_total_uncompressed_size(size)
        .set_data_page_offset(page.at as i64)
        .build()
}
