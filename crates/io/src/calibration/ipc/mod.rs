//! The Arrow form, in Arrow's file and stream format. Values are read straight from the file where a batch is stored plainly; a batch with
//! compression, dictionaries or views is decoded as a whole by Arrow's own reader, and the last one is kept.

mod blocks;
mod plain;

use super::columns::{self, Columns, DATA, check_bytes, check_count};
use super::index::{Builder, StepRows, problem_of};
use super::{Axis, CalibrationError, Form, Opened, read_floats, reserve};
use crate::disk::{InputFile, buffer};
use crate::error::{IoError, keeps_its_kind};
use crate::guard::caught;
use arrow_array::RecordBatch;
use arrow_buffer::Buffer;
use arrow_ipc::reader::FileDecoder;
use arrow_ipc::{Block, MetadataVersion};
use arrow_schema::{ArrowError, SchemaRef};
use blocks::{Blocks, Kind};
use plain::{Batch, Place};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

/// What the compressed buffers of a batch may become together: as much in any case, and so many times the file. Zeros compress without bound,
/// so the ratio of a buffer says nothing.
const LEAST_ROOM: u64 = 64 << 20;
const MOST_RATIO: u64 = 100;

/// A file, and the errors of this form.
struct Bytes {
    file: Arc<InputFile>,
}

impl Bytes {
    fn len(&self) -> u64 {
        self.file.len()
    }

    /// A part of the file.
    fn get(&self, offset: u64, len: usize) -> Result<Vec<u8>, CalibrationError> {
        if offset.checked_add(len as u64).is_none_or(|end| end > self.len()) {
            return Err(self.bad("the file ends too early"));
        }
        let mut bytes = buffer(len)?;
        self.file.read(&mut bytes, offset).map_err(|e| self.disk(e))?;
        Ok(bytes)
    }

    fn disk(&self, error: IoError) -> CalibrationError {
        if keeps_its_kind(&error) { error.into() } else { self.failed(ArrowError::ExternalError(Box::new(error))) }
    }

    fn failed(&self, source: ArrowError) -> CalibrationError {
        CalibrationError::Arrow { path: self.file.path().into(), source }
    }

    fn bad(&self, text: &str) -> CalibrationError {
        self.failed(ArrowError::ParseError(text.into()))
    }

    /// Calls into the library.
    fn call<T>(&self, call: impl FnOnce() -> Result<T, ArrowError>) -> Result<T, CalibrationError> {
        caught(call, ArrowError::IpcError).map_err(|e| self.failed(e))
    }

    /// A message and its body.
    fn block(&self, block: &Block) -> Result<Buffer, CalibrationError> {
        // Not negative, and within the file: checked when the blocks were found.
        let len = block.metaDataLength() as u64 + block.bodyLength() as u64;
        let len = usize::try_from(len).map_err(|_| IoError::OutOfMemory { requested: len })?;
        let bytes = self.get(block.offset() as u64, len)?;
        self.check_compression(&bytes, block)?;
        Ok(Buffer::from_vec(bytes))
    }

    /// Compressed buffers state what they become; the decoder makes room for as much without asking.
    fn check_compression(&self, bytes: &[u8], block: &Block) -> Result<(), CalibrationError> {
        let (head, body) = bytes.split_at(block.metaDataLength() as usize);
        self.call(|| {
            let message = arrow_ipc::root_as_message(&head[8..]).map_err(|e| ArrowError::ParseError(format!("message: {e}")))?;
            let dictionary = message.header_as_dictionary_batch().and_then(|d| d.data());
            let Some(batch) = message.header_as_record_batch().or(dictionary) else { return Ok(()) };
            if batch.compression().is_none() {
                return Ok(());
            }
            let (room, mut total) = (LEAST_ROOM.max(self.len().saturating_mul(MOST_RATIO)), 0u64);
            for buffer in batch.buffers().iter().flatten() {
                let stated = usize::try_from(buffer.offset()).ok().and_then(|at| body.get(at..)?.first_chunk::<8>());
                let stated = stated.map_or(0, |b| i64::from_le_bytes(*b));
                if buffer.length() > 0 && stated > 0 {
                    total = total.saturating_add(stated as u64);
                }
            }
            let refused = || ArrowError::MemoryError(format!("the buffers of a batch would become {total} bytes"));
            let len = usize::try_from(total).ok().filter(|_| total <= room).ok_or_else(refused)?;
            Vec::<u8>::new().try_reserve_exact(len).map_err(|_| refused())?;
            Ok(())
        })
    }
}

/// Where a record is.
#[derive(Clone, Copy)]
enum Where {
    Plain(Place),
    /// In a row of a batch that has to be decoded as a whole.
    Batch(Block, usize),
    /// Nowhere: null.
    Nowhere,
}

struct Ipc {
    bytes: Bytes,
    schema: SchemaRef,
    version: MetadataVersion,
    data: usize,
    places: Vec<Where>,
    /// The last batch that was decoded, with its place.
    last: Mutex<Option<(i64, RecordBatch)>>,
}

pub(super) fn open(file: &Arc<InputFile>) -> Result<Opened, CalibrationError> {
    let bytes = Bytes { file: file.clone() };
    let Blocks { schema, version, list } = Blocks::of(&bytes)?;
    let found = Columns::of(&schema).map_err(|problem| bytes.failed(ArrowError::SchemaError(problem)))?;
    let axis = Axis::stated(file.path(), schema.metadata().get("axis").map(String::as_str))?;
    let mut builder = Builder::new(file.path());
    let mut decoder = FileDecoder::new(schema.clone(), version).with_projection(found.index.clone());
    let mut places = Vec::new();
    for (kind, block) in list {
        if kind == Kind::Dictionary {
            let buffer = bytes.block(&block)?;
            bytes.call(|| decoder.read_dictionary(&block, &buffer))?;
            continue;
        }
        let head = bytes.get(block.offset() as u64, block.metaDataLength() as usize)?;
        let message = bytes.call(|| {
            let damaged = |e| ArrowError::ParseError(format!("message: {e}"));
            let message = arrow_ipc::root_as_message(&head[8..]).map_err(damaged)?;
            message.header_as_record_batch().ok_or_else(|| ArrowError::ParseError("a message holds no records".into()))
        })?;
        let body = (block.offset() as u64 + head.len() as u64, block.bodyLength() as u64);
        if let Some(records) = (Batch { message, schema: &schema, body }).records(&bytes, &found)? {
            for (record, place) in records {
                // List lengths and whole floats; bytes that are none are told when they are read, as in the other forms.
                let values = place.filter(|p| !p.binary || p.len.is_multiple_of(4)).map(|p| (p.len / p.dtype.size() as u64) as usize);
                builder.add(places.len(), record, values)?;
                places.push(place.map_or(Where::Nowhere, Where::Plain));
            }
        } else {
            let buffer = bytes.block(&block)?;
            let batch = bytes.call(|| decoder.read_record_batch(&block, &buffer))?;
            let batch = batch.ok_or_else(|| bytes.bad("a message holds no records"))?;
            for (row, record) in bytes.call(|| Ok(columns::records(&batch)))?.into_iter().enumerate() {
                builder.add(places.len(), record, None)?;
                places.push(Where::Batch(block, row));
            }
        }
    }
    let form = Ipc { bytes, schema, version, data: found.data, places, last: Mutex::new(None) };
    Ok(Opened { axis, index: builder.finish(), summarised: BTreeSet::new(), form: Box::new(form) })
}

impl Ipc {
    /// Only the column of values: it is never a dictionary, so none has to be kept.
    fn batch(&self, block: &Block) -> Result<RecordBatch, CalibrationError> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, batch)) = last.as_ref().filter(|(offset, _)| *offset == block.offset()) {
            return Ok(batch.clone());
        }
        *last = None; // before the next is read: never two
        let buffer = self.bytes.block(block)?;
        let decoder = FileDecoder::new(self.schema.clone(), self.version).with_projection(vec![self.data]);
        let batch = self.bytes.call(|| decoder.read_record_batch(block, &buffer))?;
        let batch = batch.ok_or_else(|| self.bytes.bad("a message holds no records"))?;
        *last = Some((block.offset(), batch.clone()));
        Ok(batch)
    }
}

impl Form for Ipc {
    fn read(&self, record: usize, step: &StepRows, wanted: usize, out: &mut Vec<f32>) -> Result<(), CalibrationError> {
        let shape = (step.rows, step.in_features);
        let problem = |text: String| problem_of(self.bytes.file.path(), record, text);
        match self.places[record] {
            Where::Nowhere => Err(problem("has no data".into())),
            Where::Plain(place) => {
                let values = (place.len / place.dtype.size() as u64) as usize;
                let checked = if place.binary { check_bytes(place.len, shape) } else { check_count(values, shape) };
                checked.map_err(problem)?;
                read_floats(&self.bytes.file, place.offset, place.dtype, wanted, out).map_err(|e| self.bytes.disk(e))
            }
            Where::Batch(block, row) => {
                let batch = self.batch(&block)?;
                let column = batch.column_by_name(DATA).ok_or_else(|| self.bytes.bad("there is no column of values"))?;
                self.bytes.call(|| Ok(columns::check_values(column, row, shape)))?.map_err(problem)?;
                reserve(out, wanted)?;
                self.bytes.call(|| {
                    columns::append_values(column, row, wanted, out);
                    Ok(())
                })
            }
        }
    }
}
