//! Batches that are neither compressed nor encoded: their values can be read straight from the file, however large the batch is.

use super::Bytes;
use crate::calibration::CalibrationError;
use crate::calibration::columns::Columns;
use crate::calibration::index::Record;
use aq_core::Dtype;
use arrow_schema::{ArrowError, DataType, Schema};

/// Where the values of a record stand.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    /// From the start of the file.
    pub offset: u64,
    /// Bytes.
    pub len: u64,
    pub dtype: Dtype,
    /// From the bytes of a binary column, which may be no whole number of floats.
    pub binary: bool,
}

/// A record and where its values stand; `None`: null.
pub type Placed = (Record, Option<Place>);

/// Places of a column's buffers in the file; those of a list's child follow its own.
struct Column<'a> {
    dtype: &'a DataType,
    /// Length and nulls.
    nodes: Vec<(i64, i64)>,
    /// Offset and length.
    buffers: Vec<(u64, u64)>,
}

/// A batch whose message was parsed.
pub struct Batch<'a> {
    pub message: arrow_ipc::RecordBatch<'a>,
    pub schema: &'a Schema,
    /// Place and length of the body in the file.
    pub body: (u64, u64),
}

impl Batch<'_> {
    /// Records with the places of their values; `None` where a column is stored in a way that needs the whole batch.
    pub fn records(&self, bytes: &Bytes, columns: &Columns) -> Result<Option<Vec<Placed>>, CalibrationError> {
        if self.message.compression().is_some() {
            return Ok(None);
        }
        let mut plain = Vec::new();
        for &i in columns.index.iter().chain([&columns.data]) {
            let Some(column) = self.column(i).map_err(|e| bytes.failed(e))? else { return Ok(None) };
            plain.push((self.schema.field(i).name().as_str(), column));
        }
        let count = usize::try_from(self.message.length()).map_err(|_| bytes.bad("a batch has a negative length"))?;
        if plain.iter().any(|(_, column)| column.nodes.first().is_none_or(|n| n.0 != self.message.length())) {
            return Err(bytes.bad("a column is not as long as its batch"));
        }
        let mut records: Vec<Record> = Vec::new();
        let mut places = Vec::new();
        for (name, column) in &plain {
            match *name {
                // Comes first. The offsets of the names are `count` numbers of the file, which bounds `count`.
                "layer_name" => records.extend(texts(bytes, column, count)?.into_iter().map(|layer| Record { layer, ..Record::default() })),
                "timestep" => integers(bytes, column, count)?.into_iter().zip(&mut records).for_each(|(v, r)| r.step = v),
                "rows" => integers(bytes, column, count)?.into_iter().zip(&mut records).for_each(|(v, r)| r.rows = v),
                "in_features" => integers(bytes, column, count)?.into_iter().zip(&mut records).for_each(|(v, r)| r.in_features = v),
                "weight" => floats(bytes, column, count)?.into_iter().zip(&mut records).for_each(|(v, r)| r.weight = v),
                _ => places = data(bytes, column, count)?,
            }
        }
        Ok(Some(records.into_iter().zip(places).collect()))
    }

    fn column(&self, index: usize) -> Result<Option<Column<'_>>, ArrowError> {
        let (mut nodes, mut buffers) = (0, 0);
        for field in &self.schema.fields()[..index] {
            let Some(counts) = counts(field.data_type()) else { return Ok(None) };
            (nodes, buffers) = (nodes + counts.0, buffers + counts.1);
        }
        let dtype = self.schema.field(index).data_type();
        let encoded = matches!(dtype, DataType::Dictionary(..));
        let Some(counts) = counts(dtype).filter(|_| !encoded) else { return Ok(None) };
        let missing = || ArrowError::IpcError("a batch lacks a buffer of its schema".into());
        let (all_nodes, all_buffers) = (self.message.nodes().ok_or_else(missing)?, self.message.buffers().ok_or_else(missing)?);
        if nodes + counts.0 > all_nodes.len() || buffers + counts.1 > all_buffers.len() {
            return Err(missing());
        }
        let nodes = (nodes..nodes + counts.0).map(|i| all_nodes.get(i)).map(|n| (n.length(), n.null_count())).collect();
        let place = |i| {
            let buffer = all_buffers.get(i);
            let (offset, len) = (u64::try_from(buffer.offset()).ok()?, u64::try_from(buffer.length()).ok()?);
            (offset.checked_add(len)? <= self.body.1).then_some((self.body.0 + offset, len))
        };
        let places: Option<Vec<_>> = (buffers..buffers + counts.1).map(place).collect();
        let buffers = places.ok_or_else(|| ArrowError::IpcError("a buffer lies outside its batch".into()))?;
        Ok(Some(Column { dtype, nodes, buffers }))
    }
}

/// Nodes and buffers of a column; `None` for types whose number of buffers is not fixed, or that no calibration file needs.
fn counts(dtype: &DataType) -> Option<(usize, usize)> {
    let with = |own: usize, mut children: &mut dyn Iterator<Item = &DataType>| {
        Iterator::try_fold(&mut children, (1, own), |sum, child| counts(child).map(|c| (sum.0 + c.0, sum.1 + c.1)))
    };
    match dtype {
        DataType::Null => Some((1, 0)),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Binary | DataType::LargeBinary => Some((1, 3)),
        DataType::List(child) | DataType::LargeList(child) | DataType::Map(child, _) => with(2, &mut [child.data_type()].into_iter()),
        DataType::FixedSizeList(child, _) => with(1, &mut [child.data_type()].into_iter()),
        DataType::Struct(fields) => with(1, &mut fields.iter().map(|f| f.data_type())),
        DataType::Dictionary(..) | DataType::Boolean | DataType::FixedSizeBinary(_) => Some((1, 2)),
        other if other.is_numeric() || other.is_temporal() => Some((1, 2)),
        _ => None,
    }
}

/// Whether each element is there.
fn validity(bytes: &Bytes, column: &Column<'_>, count: usize) -> Result<impl Fn(usize) -> bool + use<>, CalibrationError> {
    let bits = if column.nodes[0].1 == 0 { None } else { Some(first(bytes, column.buffers[0], count.div_ceil(8))?) };
    Ok(move |i: usize| bits.as_ref().is_none_or(|bits| bits[i / 8] >> (i % 8) & 1 == 1))
}

/// The first bytes of a buffer.
fn first(bytes: &Bytes, (offset, len): (u64, u64), wanted: usize) -> Result<Vec<u8>, CalibrationError> {
    if len < wanted as u64 {
        return Err(bytes.bad("a buffer is shorter than its column"));
    }
    bytes.get(offset, wanted)
}

/// `count` numbers of 4 or 8 bytes, widened.
fn numbers<T>(
    bytes: &Bytes,
    column: &Column<'_>,
    count: usize,
    narrow: impl Fn([u8; 4]) -> T,
    wide: impl Fn([u8; 8]) -> T,
) -> Result<Vec<Option<T>>, CalibrationError> {
    let present = validity(bytes, column, count)?;
    let whole = matches!(column.dtype, DataType::Int64 | DataType::Float64);
    let size = if whole { 8 } else { 4 };
    let raw = first(bytes, column.buffers[1], sized(bytes, count, size)?)?;
    let values: Vec<T> =
        if whole { raw.as_chunks().0.iter().map(|b| wide(*b)).collect() } else { raw.as_chunks().0.iter().map(|b| narrow(*b)).collect() };
    Ok(values.into_iter().enumerate().map(|(i, v)| present(i).then_some(v)).collect())
}

fn integers(bytes: &Bytes, column: &Column<'_>, count: usize) -> Result<Vec<Option<i64>>, CalibrationError> {
    numbers(bytes, column, count, |b| i32::from_le_bytes(b).into(), i64::from_le_bytes)
}

fn floats(bytes: &Bytes, column: &Column<'_>, count: usize) -> Result<Vec<Option<f64>>, CalibrationError> {
    numbers(bytes, column, count, |b| f32::from_le_bytes(b).into(), f64::from_le_bytes)
}

fn sized(bytes: &Bytes, count: usize, size: usize) -> Result<usize, CalibrationError> {
    count.checked_mul(size).ok_or_else(|| bytes.bad("a batch has more records than can be counted"))
}

/// Begin and end of every element of a column with offsets, ascending and below `limit`.
fn ranges(bytes: &Bytes, column: &Column<'_>, count: usize, limit: u64) -> Result<Vec<(u64, u64)>, CalibrationError> {
    if count == 0 {
        return Ok(Vec::new());
    }
    let large = matches!(column.dtype, DataType::LargeUtf8 | DataType::LargeBinary | DataType::LargeList(_));
    let raw = first(bytes, column.buffers[1], sized(bytes, count.saturating_add(1), if large { 8 } else { 4 })?)?;
    let offsets: Vec<i64> = if large {
        raw.as_chunks().0.iter().map(|b| i64::from_le_bytes(*b)).collect()
    } else {
        raw.as_chunks().0.iter().map(|b| i32::from_le_bytes(*b).into()).collect()
    };
    let range = |w: &[i64]| {
        let (begin, end) = (u64::try_from(w[0]).ok()?, u64::try_from(w[1]).ok()?);
        (begin <= end && end <= limit).then_some((begin, end))
    };
    let ranges: Option<Vec<_>> = offsets.windows(2).map(range).collect();
    ranges.ok_or_else(|| bytes.bad("the offsets of a column are wrong"))
}

fn texts(bytes: &Bytes, column: &Column<'_>, count: usize) -> Result<Vec<Option<String>>, CalibrationError> {
    let present = validity(bytes, column, count)?;
    let (offset, len) = column.buffers[2];
    let ranges = ranges(bytes, column, count, len)?;
    let text = bytes.get(offset, usize::try_from(len).map_err(|_| bytes.bad("the names are too long"))?)?;
    let name = |(i, &(begin, end)): (usize, &(u64, u64))| {
        if !present(i) {
            return Ok(None);
        }
        let name = std::str::from_utf8(&text[begin as usize..end as usize]);
        name.map(|n| Some(n.to_owned())).map_err(|_| bytes.bad("a name is not UTF-8"))
    };
    ranges.iter().enumerate().map(name).collect()
}

fn data(bytes: &Bytes, column: &Column<'_>, count: usize) -> Result<Vec<Option<Place>>, CalibrationError> {
    let present = validity(bytes, column, count)?;
    let (dtype, size, binary) = match column.dtype {
        DataType::List(child) | DataType::LargeList(child) if *child.data_type() == DataType::Float64 => (Dtype::F64, 8, false),
        DataType::List(_) | DataType::LargeList(_) => (Dtype::F32, 4, false),
        _ => (Dtype::F32, 1, true),
    };
    // A list: validity, offsets, validity of the child, values of the child. Binary: validity, offsets, bytes.
    let (offset, len) = column.buffers[if binary { 2 } else { 3 }];
    if !binary && column.nodes.get(1).is_some_and(|child| child.1 != 0) {
        return Err(bytes.failed(ArrowError::SchemaError("column data holds values that are null".into())));
    }
    let place = |(i, (begin, end)): (usize, (u64, u64))| {
        present(i).then_some(Place { offset: offset + begin * size, len: (end - begin) * size, dtype, binary })
    };
    Ok(ranges(bytes, column, count, len / size)?.into_iter().enumerate().map(place).collect())
}
