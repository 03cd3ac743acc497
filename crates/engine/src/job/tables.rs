//! `arrow-quant/time-groups.safetensors`: for each layer whose inputs are known, what they are in each time group and what its output loses
//! there. Runtimes may quantize activations or shift biases by it; loaders of models do not look there.
//!
//! A layer's table is laid aside in the staging folder as the layer ends, with a checksum in the journal, so that memory holds one at a time
//! and a job that resumes has them all. In the end they are put together in the order of the plan.

use super::judge::Judge;
use super::layer::LayerEnd;
use super::manifest::WrittenFile;
use crate::control::Control;
use crate::error::QuantError;
use crate::plan::Plan;
use crate::time::activations::activations;
use crate::time::{OutputSums, StepInputs};
use aq_core::Dtype;
use aq_core::report::TimeGroup;
use aq_io::layout::OutTensor;
use aq_io::output::{Container, Placed, ShardWriter, Staging};
use aq_io::source::Shard;
use aq_io::{Disk, IoError, TensorInfo};
use aq_kernels::convert::from_f32;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;
use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use xxhash_rust::xxh3::xxh3_64;

pub use crate::time::activations::PERCENTILES;

/// Its name in the output folder.
pub const FILE: &str = "arrow-quant/time-groups.safetensors";
const FORMAT: &str = "arrow-quant-time-groups";
const VERSION: &str = "1";

/// A layer's table, laid aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Aside {
    position: u64,
    groups: usize,
    len: usize,
    checksum: u64,
}

impl Aside {
    /// Time groups that it has figures of.
    pub const fn groups(&self) -> usize {
        self.groups
    }
}

/// What a layer's table holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    /// Numbers of the groups.
    pub index: Vec<i32>,
    /// Least input of each.
    pub min: Vec<f32>,
    /// Largest.
    pub max: Vec<f32>,
    /// Inputs at [`PERCENTILES`].
    pub percentiles: Vec<Vec<f32>>,
    /// What outputs lack on average, bf16, a row for each group.
    pub shifts: Vec<u8>,
}

impl Table {
    /// From the bytes of a table with so many groups; `None` where they are too few.
    fn of(groups: usize, bytes: &[u8]) -> Option<Self> {
        let words = |first: usize, count: usize| bytes.get(4 * first..4 * (first + count)).map(|b| b.as_chunks::<4>().0.to_vec());
        let floats = |first, count| words(first, count).map(|w| w.into_iter().map(f32::from_le_bytes).collect::<Vec<_>>());
        let p = PERCENTILES.len();
        Some(Self {
            index: words(0, groups)?.into_iter().map(i32::from_le_bytes).collect(),
            min: floats(groups, groups)?,
            max: floats(2 * groups, groups)?,
            percentiles: floats(3 * groups, p * groups)?.chunks_exact(p).map(<[f32]>::to_vec).collect(),
            shifts: bytes.get(4 * (4 + p) * groups..)?.to_vec(),
        })
    }

    /// A layer's, from the file that an earlier job wrote.
    pub fn read(shard: &Shard, layer: &str) -> Result<Option<Self>, IoError> {
        let Some(groups) = shard.header.tensor(&format!("{layer}#groups")).map(TensorInfo::numel) else { return Ok(None) };
        let mut bytes = Vec::new();
        for part in parts(layer, groups, 0) {
            let Some(tensor) = shard.header.tensor(&part.name) else { return Ok(None) };
            let at = bytes.len();
            bytes.resize(at + tensor.len as usize, 0);
            shard.read(&mut bytes[at..], tensor.offset)?;
        }
        Ok(Self::of(groups, &bytes))
    }
}

/// The tables of a job.
pub struct Tables {
    disk: Disk,
    path: PathBuf,
    file: File,
    end: Mutex<u64>,
}

impl Tables {
    /// Opens the place where they are laid aside.
    pub fn open(disk: &Disk, staging: &Staging) -> Result<Self, QuantError> {
        let path = staging.tables();
        let file = disk.open_or_create(&path)?;
        let end = Mutex::new(disk.metadata_of(&file, &path)?.len());
        Ok(Self { disk: disk.clone(), path, file, end })
    }

    /// Those that a share has laid aside; `None` where it has none.
    pub fn of_share(disk: &Disk, path: &Path) -> Result<Option<Self>, QuantError> {
        if !disk.is_file(path)? {
            return Ok(None);
        }
        let file = disk.open(path)?;
        let end = Mutex::new(disk.metadata_of(&file, path)?.len());
        Ok(Some(Self { disk: disk.clone(), path: path.into(), file, end }))
    }

    /// Lays a table aside.
    pub fn lay(&self, groups: usize, table: &[u8]) -> Result<Aside, IoError> {
        let mut end = self.end.lock().unwrap_or_else(PoisonError::into_inner);
        self.disk.write_at(&self.file, &self.path, table, *end)?;
        let aside = Aside { position: *end, groups, len: table.len(), checksum: xxh3_64(table) };
        *end += table.len() as u64;
        Ok(aside)
    }

    /// A table that was laid aside; `None` where it is not there any more.
    pub fn read(&self, aside: &Aside) -> Result<Option<Vec<u8>>, IoError> {
        let there = self.disk.metadata_of(&self.file, &self.path)?.len();
        if aside.position.checked_add(aside.len as u64).is_none_or(|end| end > there) {
            return Ok(None);
        }
        let mut table = vec![0; aside.len];
        let n = self.disk.read_some(&self.file, &self.path, &mut table, aside.position)?;
        Ok((n == table.len() && xxh3_64(&table) == aside.checksum).then_some(table))
    }

    /// What a table that was laid aside holds.
    pub fn table(&self, aside: &Aside) -> Result<Option<Table>, IoError> {
        Ok(self.read(aside)?.and_then(|bytes| Table::of(aside.groups, &bytes)))
    }

    /// Puts the tables of all layers into one file; `None` where there are none.
    pub fn write(
        &self,
        staging: &Staging,
        plan: &Plan,
        ends: &[LayerEnd],
        judge: &Judge,
        control: &Control,
    ) -> Result<Option<WrittenFile>, QuantError> {
        let mut tables: Vec<(Aside, usize)> = Vec::new();
        let mut tensors = Vec::new();
        for (planned, end) in plan.layers.iter().zip(ends) {
            let LayerEnd::Done(done) = end else { continue };
            let Some(aside) = done.table else { continue };
            let parts = parts(&planned.name, aside.groups, done.spec.geometry.out);
            tables.push((aside, parts.len()));
            tensors.extend(parts);
        }
        if tables.is_empty() {
            return Ok(None);
        }
        let ranges: Vec<u8> = judge.ranges().iter().flatten().flat_map(|step| step.to_le_bytes()).collect();
        tensors.push(tensor("time_groups", I32, &[ranges.len() / 8, 2]));
        let path = staging.path(Path::new(FILE))?;
        self.disk.remove(&path)?; // an interrupted job may have left one
        let (writer, placed) = ShardWriter::create(&self.disk, &path, &Container::Safetensors(metadata(judge)), &tensors)?;
        let mut left = placed.as_slice();
        for (aside, count) in tables {
            control.check()?;
            let lost = || QuantError::Internal { message: "a table was laid aside and is not there".into(), location: None, panic: false };
            let table = self.read(&aside)?.ok_or_else(lost)?;
            let (parts, rest) = left.split_at(count);
            write_parts(&writer, parts, &table)?;
            left = rest;
        }
        write_parts(&writer, left, &ranges)?;
        let file = writer.finish(&placed, None, || control.check())?;
        Ok(Some(WrittenFile { name: FILE.into(), bytes: file.len, blake3: file.hash }))
    }
}

fn write_parts(writer: &ShardWriter, parts: &[Placed], bytes: &[u8]) -> Result<(), IoError> {
    let mut at = 0;
    for part in parts {
        let len = part.tensor.len as usize;
        writer.write(part, 0, &bytes[at..at + len])?;
        at += len;
    }
    Ok(())
}

fn metadata(judge: &Judge) -> BTreeMap<String, String> {
    let of = |(key, value): (&str, String)| (key.to_owned(), value);
    [
        ("format", FORMAT.to_owned()),
        ("version", VERSION.to_owned()),
        ("axis", judge.axis().as_str().to_owned()),
        ("percentiles", json!(PERCENTILES).to_string()),
    ]
    .map(of)
    .into()
}

const I32: Dtype = Dtype::Carried("I32", 4);

fn tensor(name: &str, dtype: Dtype, shape: &[usize]) -> OutTensor {
    OutTensor::carried(name, dtype, shape, (shape.iter().product::<usize>() * dtype.size()) as u64)
}

/// The tensors of a layer with `out` outputs and figures in some groups, in the order of its table.
fn parts(layer: &str, groups: usize, out: usize) -> Vec<OutTensor> {
    let of = |what: &str, dtype: Dtype, shape: &[usize]| tensor(&format!("{layer}#{what}"), dtype, shape);
    vec![
        of("groups", I32, &[groups]),
        of("min", Dtype::F32, &[groups]),
        of("max", Dtype::F32, &[groups]),
        of("percentiles", Dtype::F32, &[groups, PERCENTILES.len()]),
        of("sqnr_db", Dtype::F32, &[groups]),
        of("bias_shift", Dtype::Bf16, &[groups, out]),
    ]
}

/// A layer's table: figures of its inputs and of its output in the groups that it has steps of, which are these ranges of them. `outputs`:
/// sums of each row of weights, at each step.
pub fn table<'s>(
    inputs: &[StepInputs],
    ranges: &[Range<usize>],
    groups: &[TimeGroup],
    row: usize,
    outputs: impl Iterator<Item = &'s [OutputSums]>,
) -> Vec<u8> {
    let found: Vec<_> = ranges.iter().map(|range| activations(&inputs[range.clone()], row)).collect();
    let mut table: Vec<u8> = groups.iter().flat_map(|g| (g.index as i32).to_le_bytes()).collect();
    table.extend(found.iter().flat_map(|a| a.min.to_le_bytes()));
    table.extend(found.iter().flat_map(|a| a.max.to_le_bytes()));
    table.extend(found.iter().flat_map(|a| a.percentiles).flat_map(f32::to_le_bytes));
    table.extend(groups.iter().flat_map(|g| (g.sqnr_db as f32).to_le_bytes()));
    let mut shifts = vec![Vec::new(); ranges.len()];
    for sums in outputs {
        for (shifts, range) in shifts.iter_mut().zip(ranges) {
            shifts.push(shift(&inputs[range.clone()], &sums[range.clone()]));
        }
    }
    from_f32(&shifts.concat(), Dtype::Bf16, &mut table);
    table
}

/// What the output of a row lacks on average, every step counting alike; within what the stored type holds.
fn shift(inputs: &[StepInputs], sums: &[OutputSums]) -> f32 {
    const MOST: f64 = 3e38;
    let steps = inputs.iter().zip(sums).filter(|(i, _)| i.rows > 0);
    let (count, total) = steps.fold((0.0, 0.0), |(n, sum), (i, s)| (n + 1.0, sum + s.shift / i.rows as f64));
    let mean = if count > 0.0 { total / count } else { 0.0 };
    if mean.is_nan() { 0.0 } else { mean.clamp(-MOST, MOST) as f32 }
}
