//! The Parquet form. When a record is asked for, those of its layer that stand in its row group are decoded with it, in one pass over the
//! group, and kept until another layer is asked for: a capture is written step after step and read layer after layer.

use super::columns::{self, Columns, DATA};
use super::index::{Builder, StepRows, problem_of};
use super::{Axis, CalibrationError, Form, Opened, reserve};
use crate::disk::InputFile;
use crate::parquet::{ChunkError, Chunks};
use arrow_array::RecordBatch;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder, RowSelection, RowSelector};
use parquet::errors::ParquetError;
use parquet::file::metadata::PageIndexPolicy;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

/// Records of the index decoded at a time. Each may have the longest name of a page: few bytes can repeat it.
const BATCH_RECORDS: usize = 16;
/// The largest page of the index.
const MOST_PAGE: u64 = 4 << 20;
/// What a value of the index takes until all are read, about.
const VALUE_BYTES: u64 = 64;

/// The file as the library reads it.
struct Source(Chunks);

impl Source {
    fn of(file: &Arc<InputFile>) -> Self {
        Self(Chunks::of(file))
    }

    fn told(&self, error: ChunkError) -> CalibrationError {
        match error {
            ChunkError::Io(error) => error.into(),
            ChunkError::Parquet(source) => CalibrationError::Parquet { path: self.0.path().into(), source },
        }
    }

    fn failed(&self, source: ParquetError) -> CalibrationError {
        self.told(self.0.failed(source))
    }

    fn call<T>(&self, call: impl FnOnce() -> Result<T, ParquetError>) -> Result<T, CalibrationError> {
        self.0.call(call).map_err(|e| self.told(e))
    }
}

/// Records of a layer that were decoded together, each as a batch of one row.
type Decoded = Vec<(usize, RecordBatch)>;

struct Parquet {
    file: Arc<InputFile>,
    metadata: ArrowReaderMetadata,
    data: ProjectionMask,
    /// Number of the first record of every row group, and the number of all records.
    starts: Vec<u64>,
    /// Records of every layer, ascending, and the layer of every record.
    layers: Vec<Vec<usize>>,
    layer_of: Vec<usize>,
    decoded: Mutex<Decoded>,
}

pub(super) fn open(file: &Arc<InputFile>) -> Result<Opened, CalibrationError> {
    let source = Source(Chunks::of(file).of_small(MOST_PAGE, VALUE_BYTES));
    let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Optional);
    let metadata = source.0.metadata().map_err(|e| source.told(e))?;
    let metadata = source.call(|| ArrowReaderMetadata::try_new(Arc::new(metadata), options))?;
    let found = Columns::of(metadata.schema()).map_err(|problem| source.failed(ParquetError::ArrowError(problem)))?;
    let axis = Axis::stated(file.path(), metadata.schema().metadata().get("axis").map(String::as_str))?;
    let mask = |columns: Vec<usize>| source.call(|| Ok(ProjectionMask::roots(metadata.parquet_schema(), columns)));
    let (index, data) = (mask(found.index)?, mask(vec![found.data])?);

    let mut starts = vec![0u64];
    for group in metadata.metadata().row_groups() {
        let before = starts.last().copied().unwrap_or(0);
        let after = u64::try_from(group.num_rows()).ok().and_then(|n| before.checked_add(n));
        starts.push(after.ok_or_else(|| source.failed(ParquetError::General("a row group states its rows wrongly".into())))?);
    }
    let mut builder = Builder::new(file.path());
    let mut number = 0;
    let mut reader = source.call(|| {
        let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(source.0.clone(), metadata.clone());
        builder.with_projection(index).with_batch_size(BATCH_RECORDS).build()
    })?;
    while let Some(batch) = source.call(|| reader.next().transpose().map_err(ParquetError::from))? {
        for record in source.call(|| Ok(columns::records(&batch)))? {
            builder.add(number, record, None)?;
            number += 1;
        }
    }
    if starts.last().is_none_or(|&stated| stated != number as u64) {
        return Err(source.failed(ParquetError::General(format!("{number} records, not as many as the row groups state"))));
    }
    let index = builder.finish();
    let mut layer_of = vec![0; number];
    let mut layers = Vec::with_capacity(index.len());
    for (i, layer) in index.values().enumerate() {
        layer.records.iter().for_each(|&record| layer_of[record] = i);
        let mut records = layer.records.clone();
        records.sort_unstable();
        layers.push(records);
    }
    let form = Parquet { file: file.clone(), metadata, data, starts, layers, layer_of, decoded: Mutex::default() };
    Ok(Opened { axis, index, summarised: BTreeSet::new(), form: Box::new(form) })
}

impl Parquet {
    /// The batch of a record. Decoding holds the lock: two layers at once would only put out each other's records.
    fn batch(&self, record: usize) -> Result<RecordBatch, CalibrationError> {
        let mut decoded = self.decoded.lock().unwrap_or_else(PoisonError::into_inner);
        if !decoded.iter().any(|(r, _)| *r == record) {
            decoded.clear(); // before others are decoded: never two layers
            *decoded = self.decode(record)?;
        }
        let found = decoded.iter().find(|(r, _)| *r == record).map(|(_, batch)| batch.clone());
        found.ok_or_else(|| Source::of(&self.file).failed(ParquetError::General(format!("record {record} has no data"))))
    }

    /// Decodes a record and those of its layer in the same row group.
    fn decode(&self, record: usize) -> Result<Decoded, CalibrationError> {
        let source = Source::of(&self.file);
        let group = self.starts.partition_point(|&start| start <= record as u64) - 1;
        let (first, end) = (self.starts[group] as usize, self.starts[group + 1] as usize);
        let records: Vec<usize> = self.layers[self.layer_of[record]].iter().copied().filter(|r| (first..end).contains(r)).collect();
        let mut selection = Vec::with_capacity(2 * records.len());
        let mut at = first;
        for &record in &records {
            selection.extend([RowSelector::skip(record - at), RowSelector::select(1)]);
            at = record + 1;
        }
        let reader = source.call(|| {
            let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(source.0.clone(), self.metadata.clone());
            let builder = builder.with_row_groups(vec![group]).with_projection(self.data.clone());
            // Batches of one row, or the values of a record would have to be cut out of a common array.
            builder.with_row_selection(RowSelection::from(selection)).with_batch_size(1).build()
        })?;
        let batches = source.call(|| reader.collect::<Result<Vec<_>, _>>().map_err(ParquetError::from))?;
        if batches.len() != records.len() || batches.iter().any(|b| b.num_rows() != 1) {
            return Err(source.failed(ParquetError::General(format!("{} of {} records have data", batches.len(), records.len()))));
        }
        Ok(records.into_iter().zip(batches).collect())
    }
}

impl Form for Parquet {
    fn read(&self, record: usize, step: &StepRows, wanted: usize, out: &mut Vec<f32>) -> Result<(), CalibrationError> {
        let batch = self.batch(record)?;
        let source = Source::of(&self.file);
        let missing = || source.failed(ParquetError::General(format!("there is no column {DATA}")));
        let column = batch.column_by_name(DATA).ok_or_else(missing)?;
        let checked = source.call(|| Ok(columns::check_values(column, 0, (step.rows, step.in_features))))?;
        checked.map_err(|problem| problem_of(self.file.path(), record, problem))?;
        reserve(out, wanted)?;
        source.call(|| {
            columns::append_values(column, 0, wanted, out);
            Ok(())
        })
    }
}
