//! The header of an archive: what its rows say, held against what the file has. Pages of bytes must be as they are written here: one value,
//! uncompressed, parts of a tensor in one piece. A file that another program has written anew is refused.

use super::{BYTES, COLUMNS, CREATED_BY, ChunkError, Chunks, FORMAT_VERSION, MAGIC, Row, Sums, VERSION_KEY, schema_of, told};
use crate::disk::{InputFile, buffer};
use crate::error::{Defect, IoError, MetadataProblem};
use crate::header::{Header, MOST_TENSORS, TensorInfo};
use crate::layout::{LayerSpec, Layout, OutTensor, Parquet, Placing};
use aq_core::{BitWidth, Dtype, Method, ScaleDtype, Scheme, ZeroKind};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::basic::Compression;
use parquet::errors::ParquetError;
use parquet::file::metadata::{ColumnChunkMetaData, RowGroupMetaData};
use serde_json::Value;
use std::path::Path;
use std::sync::Arc;

/// Columns with JSON inside.
const JSON: [&str; 3] = ["time_aware_quant_json", "spatial_quant_json", "activation_stats_json"];
/// For runtimes; nothing here needs it.
const UNREAD: &str = "bias_correction";
const REWRITTEN: &str = "an archive of arrow-quant that another program has written anew: its bytes are compressed or cut in another way";

/// Whether a file begins as Parquet does.
pub fn begins(file: &InputFile) -> Result<bool, IoError> {
    let mut first = [0; MAGIC.len()];
    if file.len() < first.len() as u64 {
        return Ok(false);
    }
    file.read(&mut first, 0)?;
    Ok(&first == MAGIC)
}

/// Reads and checks the header of an open file.
pub fn read(file: &Arc<InputFile>) -> Result<Header, IoError> {
    let path = file.path();
    let chunks = Chunks::of(file);
    let failed = |e: ChunkError| match e {
        ChunkError::Io(error) => error,
        ChunkError::Parquet(_) => IoError::damaged(path, None, Defect::ParquetFooter),
    };
    let metadata = Arc::new(chunks.metadata().map_err(failed)?);
    check_version(
        path,
        metadata.file_metadata().key_value_metadata().into_iter().flatten().find(|k| k.key == VERSION_KEY).map(|k| &k.value),
    )?;
    let unsupported = |what: &str| IoError::Unsupported { path: path.into(), detected: what.into() };
    if !metadata.file_metadata().created_by().is_some_and(|by| by.starts_with(CREATED_BY)) {
        return Err(unsupported(REWRITTEN));
    }
    if metadata.num_row_groups() > MOST_TENSORS {
        return Err(IoError::damaged_by(path, None, Defect::TooManyTensors, metadata.num_row_groups() as u64, MOST_TENSORS as u64));
    }
    let options = ArrowReaderOptions::new().with_schema(Arc::new(schema_of(COLUMNS.into_iter())));
    let mut reader = chunks
        .call(|| {
            let loaded = ArrowReaderMetadata::try_new(metadata.clone(), options)?;
            let mask = ProjectionMask::columns(loaded.parquet_schema(), told().map(|(name, ..)| name).filter(|name| *name != UNREAD));
            let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(chunks.clone(), loaded);
            builder.with_projection(mask).with_batch_size(1).build()
        })
        .map_err(failed)?;
    let mut header = Header::default();
    let mut open: Option<Part> = None;
    for group in metadata.row_groups() {
        // The library makes room for what a compressed page says that it becomes; pages that are not compressed are in the file.
        let plain = group.columns().iter().all(|c| c.compression() == Compression::UNCOMPRESSED);
        if group.num_rows() != 1 || !plain {
            return Err(unsupported(REWRITTEN));
        }
        let batch = chunks.call(|| reader.next().transpose().map_err(ParquetError::from)).map_err(failed)?;
        let row = batch.map(|b| Row::of(&b)).ok_or_else(|| IoError::damaged(path, None, Defect::ParquetFooter))?;
        let part = match open.take() {
            Some(part) => part,
            None => Part::begin(path, &row)?,
        };
        open = part.add(file, &row, group)?.close(&mut header)?;
    }
    match open {
        Some(part) => Err(part.field("parts", "as many rows as it says")),
        None => Ok(header),
    }
}

fn check_version(path: &Path, version: Option<&Option<String>>) -> Result<(), IoError> {
    let Some(version) = version else {
        return Err(IoError::Unsupported { path: path.into(), detected: "a Parquet file that is no archive of arrow-quant".into() });
    };
    let major = version.as_deref().and_then(|v| v.split('.').next()?.parse().ok());
    match major {
        Some(FORMAT_VERSION) => Ok(()),
        Some(found) if found > FORMAT_VERSION => {
            let problem = MetadataProblem::Version { found, newest: FORMAT_VERSION };
            Err(IoError::Metadata { path: path.into(), field: Some(VERSION_KEY.into()), problem })
        }
        _ => Err(IoError::Unsupported { path: path.into(), detected: "an archive of an earlier format of arrow-quant".into() }),
    }
}

/// A tensor whose rows are being read.
struct Part<'a> {
    path: &'a Path,
    name: String,
    shape: Vec<usize>,
    spec: Option<LayerSpec>,
    /// What it must be in the file: codes or values, scales, zeros.
    wanted: Vec<OutTensor>,
    /// Where each of these begins.
    starts: Vec<u64>,
    sums: Sums,
    done: usize,
    parts: usize,
}

impl<'a> Part<'a> {
    /// By the first row of a tensor.
    fn begin(path: &'a Path, row: &Row) -> Result<Self, IoError> {
        let name = row.text("tensor_name").unwrap_or_default().to_owned();
        let mut part = Self {
            path,
            name,
            shape: vec![],
            spec: None,
            wanted: vec![],
            starts: vec![],
            sums: Sums::default(),
            done: 0,
            parts: row.number("parts").unwrap_or(0) as usize,
        };
        let shape = row.numbers("shape").ok_or_else(|| part.field("shape", "dimensions"))?;
        let product = shape.iter().try_fold(1u64, |a, &d| a.checked_mul(d));
        let numel = product.filter(|n| *n <= i64::MAX as u64 / 8).ok_or_else(|| part.damaged(Defect::ArithmeticOverflow))?;
        part.shape = shape.iter().map(|&d| d as usize).collect();
        let stated = row.text("dtype").unwrap_or_default();
        let Some(dtype) = Dtype::parse(stated) else {
            return Err(IoError::Dtype { path: path.into(), tensor: part.name, dtype: stated.into() });
        };
        for column in JSON {
            if row.text(column).is_some_and(|text| serde_json::from_str::<Value>(text).is_err()) {
                return Err(part.field(column, "JSON"));
            }
        }
        let layout = part.layout(row)?;
        if row.text("quant_type") == Some("none") {
            let len = dtype.bytes(numel).ok_or_else(|| part.damaged(Defect::ArithmeticOverflow))?;
            let info = TensorInfo { dtype, shape: part.shape.clone(), len, ..TensorInfo::named(&part.name) };
            let carried = layout.carry(&info).map_err(|_| part.damaged(Defect::SizeMismatch))?;
            // As it stands: what is carried may be wider than its source, what is read is what there is.
            part.wanted = vec![carried];
        } else {
            let spec = part.spec(row, dtype)?;
            part.wanted = layout.tensors(&spec);
            part.spec = Some(spec);
        }
        Ok(part)
    }

    /// The layout with as many bytes to a value as this tensor's first has.
    fn layout(&self, row: &Row) -> Result<Parquet, IoError> {
        let (parts, here) = (self.parts as u64, row.number("num_params").unwrap_or(0));
        let numel = self.shape.iter().product::<usize>() as u64;
        // So many parts bound the pages that are planned, and are bound by the rows of the file.
        if parts == 0
            || parts > MOST_TENSORS as u64
            || here > numel
            || (parts == 1 && here != numel)
            || (parts > 1 && numel.div_ceil(here.max(1)) != parts)
        {
            return Err(self.field("num_params", "those of the shape"));
        }
        let bits = self.element_bits(row)?;
        Ok(Parquet { most: if parts == 1 { u64::MAX / 8 } else { (u128::from(here) * u128::from(bits) / 8) as u64 } })
    }

    fn element_bits(&self, row: &Row) -> Result<u64, IoError> {
        match row.text("quant_type") {
            Some("none") => Ok(row.text("dtype").and_then(Dtype::parse).map_or(8, |d| d.size() as u64 * 8)),
            _ => Ok(u64::from(self.bits(row)?.bits())),
        }
    }

    fn bits(&self, row: &Row) -> Result<BitWidth, IoError> {
        let digits = row.text("quant_type").and_then(|t| t.strip_prefix("int")).and_then(|d| d.parse::<u64>().ok());
        digits.and_then(|d| BitWidth::try_from(d).ok()).ok_or_else(|| self.field("quant_type", "none, int2, int4 or int8"))
    }

    fn spec(&self, row: &Row, dtype: Dtype) -> Result<LayerSpec, IoError> {
        let scale_dtype = match row.text("meta_dtype") {
            Some("bf16") => ScaleDtype::Bf16,
            Some("f16") => ScaleDtype::F16,
            Some("f32") => ScaleDtype::F32,
            _ => return Err(self.field("meta_dtype", "bf16, f16 or f32")),
        };
        let method = match row.text("method") {
            Some("gptq") => Method::Gptq,
            Some("mse") => Method::Mse,
            _ => Method::Rtn,
        };
        let rotation = match row.text("rotation") {
            None | Some("none") => None,
            Some(text) => {
                let block = text.strip_prefix("hadamard").and_then(|d| d.parse::<usize>().ok());
                let row: usize = self.shape.get(1..).unwrap_or_default().iter().product();
                let fits = |b: &usize| (4..=256).contains(b) && b.is_power_of_two() && row.is_multiple_of(*b);
                Some(block.filter(fits).ok_or_else(|| self.field("rotation", "none, or hadamard with a block that divides the rows"))?)
            }
        };
        let symmetric = row.values.get("symmetric").and_then(Value::as_bool).ok_or_else(|| self.field("symmetric", "a flag"))?;
        let zero = if symmetric { ZeroKind::None } else { ZeroKind::Float };
        let group_size =
            row.number("group_size").filter(|g| *g > 0).ok_or_else(|| self.field("group_size", "weights of a group"))? as usize;
        let scheme = Scheme { bits: self.bits(row)?, group_size, zero, method, scale_dtype, rotation, blocks: None };
        let spec = LayerSpec::new(&self.name, &self.shape, dtype, scheme).ok_or_else(|| self.field("shape", "rows and input channels"))?;
        if spec.geometry.group != group_size || row.number("quant_axis") != Some(1) {
            return Err(self.field("group_size", "a part of the input channels"));
        }
        Ok(spec)
    }

    /// The next row.
    fn add(mut self, file: &InputFile, row: &Row, group: &RowGroupMetaData) -> Result<Self, IoError> {
        let same = |column: &str, value: usize| row.number(column) == Some(value as u64);
        let shape: Vec<u64> = self.shape.iter().map(|&d| d as u64).collect();
        if row.text("tensor_name") != Some(&self.name) || row.numbers("shape") != Some(shape) {
            return Err(self.field("tensor_name", "the rows of a tensor together"));
        }
        if !same("part", self.done) || !same("parts", self.parts) {
            return Err(self.field("part", "the parts in order"));
        }
        let pages = self.wanted.iter().map(|t| if let Placing::Pages(p) = &t.placing { p.leads.len() } else { 0 });
        if pages.into_iter().any(|n| n != self.parts) {
            return Err(self.field("parts", "those that its size has"));
        }
        let mut places = Vec::with_capacity(self.wanted.len());
        for (i, tensor) in self.wanted.iter().enumerate() {
            let Placing::Pages(pages) = &tensor.placing else { continue };
            let chunk = column(group, BYTES[i]).ok_or_else(|| self.field(BYTES[i], "a column"))?;
            let len = (tensor.body() - self.done as u64 * pages.each).min(pages.each);
            let (at, lead) = (chunk.data_page_offset() as u64, &pages.leads[self.done]);
            let size = lead.len() as u64 + len;
            if chunk.compressed_size() as u64 != size {
                return Err(IoError::damaged_by(self.path, Some(&self.name), Defect::SizeMismatch, size, chunk.compressed_size() as u64));
            }
            if at.checked_add(size).is_none_or(|end| end > file.len()) {
                return Err(IoError::damaged_by(self.path, Some(&self.name), Defect::OffsetRange, at, file.len()));
            }
            let before = pages.starts().nth(self.done).map_or(0, |(start, _)| start);
            let start = *self.starts.get(i).unwrap_or(&at);
            let mut found = buffer(lead.len())?;
            file.read(&mut found, at)?;
            if chunk.dictionary_page_offset().is_some() || start + before != at || found != *lead {
                return Err(IoError::Unsupported { path: self.path.into(), detected: REWRITTEN.into() });
            }
            if self.done == 0 {
                self.starts.push(at);
            }
            places.push((at + lead.len() as u64, len));
        }
        let crc = row.number("crc32c").and_then(|c| u32::try_from(c).ok()).ok_or_else(|| self.field("crc32c", "a checksum"))?;
        self.sums.push(places, crc);
        self.done += 1;
        Ok(self)
    }

    /// Gives the tensor to the header once all its rows are there.
    fn close(self, header: &mut Header) -> Result<Option<Self>, IoError> {
        if self.done < self.parts {
            return Ok(Some(self));
        }
        if self.name.is_empty() || header.archive.contains_key(&self.name) {
            return Err(self.damaged(Defect::DuplicateName));
        }
        let sums = Arc::new(self.sums);
        for (tensor, offset) in self.wanted.into_iter().zip(self.starts) {
            let OutTensor { name, dtype, shape, placing, .. } = tensor.clone();
            let (len, sums) = (tensor.body(), Some(sums.clone()));
            header.tensors.push(TensorInfo { name, dtype, shape, offset, len, scale: None, placing, sums });
        }
        header.archive.insert(self.name, self.spec);
        Ok(None)
    }

    fn damaged(&self, defect: Defect) -> IoError {
        IoError::damaged(self.path, Some(&self.name), defect)
    }

    /// A column that says what cannot be.
    fn field(&self, column: &str, expected: &'static str) -> IoError {
        let problem = MetadataProblem::FieldType { expected, found: "something else".into() };
        IoError::Metadata { path: self.path.into(), field: Some(format!("{column} of {}", self.name)), problem }
    }
}

fn column<'g>(group: &'g RowGroupMetaData, name: &str) -> Option<&'g ColumnChunkMetaData> {
    group.columns().iter().find(|c| c.column_path().parts().first().is_some_and(|p| p == name))
}
