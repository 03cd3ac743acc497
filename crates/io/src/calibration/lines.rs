//! The JSON form: one object a line, `{"layer", "timestep", "shape", "data"}` and perhaps `"weight"`; other keys are left alone, blank lines
//! too. Opening parses every line, so everything is checked then, but keeps only where the lines are.

use super::index::{Builder, Record, StepRows, miscount, problem_of};
use super::{Axis, CalibrationError, Form, Opened, reserve};
use crate::disk::{InputFile, buffer};
use crate::error::IoError;
use serde::Deserialize;
use serde::de::{Deserializer, SeqAccess, Visitor};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

/// Of one line: 48 rows of 20,000 values have under 20 MB.
const MOST_LINE_BYTES: usize = 256_000_000;
const READ_BYTES: usize = 1 << 20;

/// A line as it is looked at when the file is opened.
#[derive(Deserialize)]
struct Line {
    layer: String,
    timestep: i64,
    shape: Vec<i64>,
    data: Count,
    #[serde(default)]
    weight: Option<f64>,
}

/// A line as it is read.
#[derive(Deserialize)]
struct Data {
    data: Vec<f32>,
}

/// How many numbers an array has: parsed, not kept.
struct Count(usize);

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Counting;
        impl<'de> Visitor<'de> for Counting {
            type Value = Count;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an array of numbers")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Count, A::Error> {
                let mut count = 0;
                while seq.next_element::<f32>()?.is_some() {
                    count += 1;
                }
                Ok(Count(count))
            }
        }
        deserializer.deserialize_seq(Counting)
    }
}

/// Where a line stands.
struct Place {
    /// From 1.
    line: usize,
    offset: u64,
    len: usize,
}

struct Lines {
    file: Arc<InputFile>,
    places: Vec<Place>,
}

impl Form for Lines {
    fn read(&self, record: usize, step: &StepRows, wanted: usize, out: &mut Vec<f32>) -> Result<(), CalibrationError> {
        let place = &self.places[record];
        let mut bytes = buffer(place.len)?;
        self.file.read(&mut bytes, place.offset)?;
        let Data { data } = serde_json::from_slice(&bytes).map_err(|e| json(self.file.path(), place.line, e))?;
        // Counted when the file was opened; a file that changed since then can still say something else.
        if data.len() != step.values() {
            return Err(problem_of(self.file.path(), record, miscount(data.len(), step.rows, step.in_features)));
        }
        reserve(out, wanted)?;
        out.extend_from_slice(&data[..wanted]);
        Ok(())
    }
}

fn json(path: &Path, line: usize, source: serde_json::Error) -> CalibrationError {
    CalibrationError::Json { path: path.into(), line, column: source.column().max(1), source }
}

pub(super) fn open(file: &Arc<InputFile>) -> Result<Opened, CalibrationError> {
    let path = file.path();
    let mut builder = Builder::new(path);
    let mut places: Vec<Place> = Vec::new();
    for_each_line(file, |number, offset, bytes| {
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Ok(());
        }
        let record = places.len();
        if bytes.len() > MOST_LINE_BYTES {
            return Err(problem_of(path, record, "is a line of over 256 MB"));
        }
        let line: Line = serde_json::from_slice(bytes).map_err(|e| json(path, number, e))?;
        let &[rows, in_features] = line.shape.as_slice() else {
            return Err(problem_of(path, record, format!("has the shape {:?}, not [rows, in_features]", line.shape)));
        };
        let (layer, step, weight) = (Some(line.layer), Some(line.timestep), line.weight);
        let found = Record { layer, step, rows: Some(rows), in_features: Some(in_features), weight };
        builder.add(record, found, Some(line.data.0))?;
        places.push(Place { line: number, offset, len: bytes.len() });
        Ok(())
    })?;
    let index = builder.finish();
    Ok(Opened { axis: Axis::default(), index, summarised: BTreeSet::new(), form: Box::new(Lines { file: file.clone(), places }) })
}

/// Calls `each` with a line's number from 1, its place and its bytes. A line over the bound comes cut behind the bound.
fn for_each_line(
    file: &InputFile,
    mut each: impl FnMut(usize, u64, &[u8]) -> Result<(), CalibrationError>,
) -> Result<(), CalibrationError> {
    let mut chunk = buffer(READ_BYTES)?;
    let mut line: Vec<u8> = Vec::new();
    let (mut number, mut start, mut at) = (1, 0, 0);
    while at < file.len() {
        let n = (file.len() - at).min(READ_BYTES as u64) as usize;
        file.read(&mut chunk[..n], at)?;
        let mut pieces = chunk[..n].split_inclusive(|&b| b == b'\n');
        for piece in &mut pieces {
            let (text, ends) = piece.strip_suffix(b"\n").map_or((piece, false), |text| (text, true));
            line.try_reserve(text.len()).map_err(|_| IoError::OutOfMemory { requested: (line.len() + text.len()) as u64 })?;
            line.extend_from_slice(text);
            at += piece.len() as u64;
            if ends || line.len() > MOST_LINE_BYTES {
                each(number, start, &line)?;
                line.clear();
                (number, start) = (number + 1, at);
            }
        }
    }
    each(number, start, &line)
}
