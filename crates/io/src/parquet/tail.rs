//! What comes after the bytes of tensors: the other columns, row by row, and the footer.

use super::sums::checksum;
use super::{BYTES, COLUMNS, CREATED_BY, Chunk, FORMAT_VERSION, Row, VERSION_KEY, page, schema_of};
use crate::error::{IoError, IoOp};
use crate::layout::Placing;
use crate::output::Placed;
use arrow_schema::Schema;
use parquet::arrow::{ARROW_SCHEMA_META_KEY, ArrowSchemaConverter, encode_arrow_schema};
use parquet::basic::{Compression, Encoding};
use parquet::errors::ParquetError;
use parquet::file::metadata::{ColumnChunkMetaData, FileMetaData, KeyValue, ParquetMetaData, ParquetMetaDataWriter, RowGroupMetaData};
use parquet::schema::types::SchemaDescPtr;
use std::io;
use std::path::Path;
use std::sync::Arc;

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
    let failed = |text: String| IoError::File {
        op: IoOp::Write,
        path: file.path().into(),
        offset: None,
        attempts: 1,
        source: io::Error::other(text),
    };
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
            let (bytes, chunks) = row_pages(&row, pages, at).map_err(failed)?;
            file.write(at, &bytes)?;
            at += bytes.len() as u64;
            groups.push(chunks);
        }
    }
    let footer = footer(&groups, &closing.metadata).map_err(|e| failed(e.to_string()))?;
    Ok(file.write(at, &footer)?)
}

/// The pages of a row that the tensors' own are not, to be written at `at`, and where every column's page stands.
fn row_pages(row: &Row, pages: &[Page], at: u64) -> Result<(Vec<u8>, Vec<Chunk>), String> {
    let mut bytes = Vec::new();
    let mut chunks = Vec::with_capacity(COLUMNS.len());
    for (name, kind, optional) in COLUMNS {
        let tensor = BYTES.iter().position(|b| *b == name);
        if let Some(page) = tensor.and_then(|i| pages.get(i)) {
            chunks.push(Chunk { at: page.at, size: page.lead + page.len, values: 1 });
            continue;
        }
        let value = if tensor.is_some() { None } else { row.plain(name, kind) };
        if value.is_none() && !optional {
            return Err(format!("column {name} has no value"));
        }
        chunks.push(page::append(&mut bytes, at, (kind, optional), value.as_ref()));
    }
    Ok((bytes, chunks))
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

/// The footer: every row a row group, with one page in each column.
fn footer(groups: &[Vec<Chunk>], metadata: &[(String, String)]) -> Result<Vec<u8>, ParquetError> {
    let schema = schema_of(COLUMNS.into_iter());
    let descriptor: SchemaDescPtr = Arc::new(ArrowSchemaConverter::new().convert(&schema)?);
    let list = groups.iter().map(|chunks| group(&descriptor, chunks)).collect::<Result<Vec<_>, _>>()?;
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

fn group(descriptor: &SchemaDescPtr, chunks: &[Chunk]) -> Result<RowGroupMetaData, ParquetError> {
    let columns = descriptor.columns().iter().zip(chunks).map(|(column, chunk)| {
        ColumnChunkMetaData::builder(column.clone())
            .set_encodings(vec![Encoding::PLAIN, Encoding::RLE])
            .set_num_values(chunk.values as i64)
            .set_compression(Compression::UNCOMPRESSED)
            .set_total_compressed_size(chunk.size as i64)
            .set_total_uncompressed_size(chunk.size as i64)
            .set_data_page_offset(chunk.at as i64)
            .build()
    });
    let columns = columns.collect::<Result<Vec<_>, _>>()?;
    let bytes = columns.iter().map(ColumnChunkMetaData::uncompressed_size).sum();
    RowGroupMetaData::builder(descriptor.clone()).set_num_rows(1).set_total_byte_size(bytes).set_column_metadata(columns).build()
}
