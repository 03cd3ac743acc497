//! Cutting a layer into blocks of neighbouring rows, and encoding one block: read, search, pack, decode what was packed, compare, write.

use super::checksum::BlockChecksum;
use super::context::JobContext;
use crate::device::Work;
use crate::error::QuantError;
use crate::memory::{LARGEST_BLOCK, Refused, resize, rows_of};
use crate::time::{OutputSums, StepInputs, row_sums};
use aq_core::Geometry;
use aq_io::fault::{self, Effect, Site};
use aq_io::layout::{EncodedRows, LayerSpec, OutTensor};
use aq_io::output::{Placed, ShardWriter};
use aq_io::source::SourceTensor;
use aq_kernels::convert::first_non_finite;
use aq_kernels::second::Second;
use aq_kernels::{RowFlags, RowSums, Scratch};
use std::sync::{Mutex, PoisonError};

/// Rows of a block are a multiple of this, so that it starts on a byte of packed codes.
pub const ROW_STEP: usize = 4;
/// How far ahead of the block that is worked on the system is asked to read: some blocks of every worker.
const READ_AHEAD: u64 = 4 << 20;
/// Bytes that one weight takes besides its own in the source: as f32, decoded, its code, its bytes in the output (4 at most), and in the
/// search's scratch.
const WORKING_BYTES: usize = 4 + 4 + 1 + 4 + 4;

/// Neighbouring rows of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block {
    /// First row.
    pub first: usize,
    /// Number of rows.
    pub rows: usize,
}

/// Bytes that a row takes while it is worked on.
pub const fn working_set(g: Geometry, source_bytes: usize) -> u64 {
    (g.row() * (source_bytes + WORKING_BYTES)) as u64
}

/// The blocks of a layer, in order.
pub fn row_blocks(g: Geometry, source_bytes: usize) -> Vec<Block> {
    // Whole panels for second moments, four of them or one, where that many rows fit.
    let wanted = |step: usize| rows_of(LARGEST_BLOCK, working_set(g, source_bytes), step);
    let step = [64, 16].into_iter().find(|&step| wanted(ROW_STEP) >= step).unwrap_or(ROW_STEP);
    let rows = wanted(step);
    (0..g.out).step_by(rows).map(|first| Block { first, rows: rows.min(g.out - first) }).collect()
}

/// Buffers of blocks that are worked on at the same time. A worker takes some where its work begins and puts them back where it ends, so that the
/// system clears their pages once a job and not once for every few blocks of a layer.
#[derive(Default)]
pub struct BufferPool(Mutex<Vec<Buffers>>);

impl BufferPool {
    /// Some that nobody uses.
    pub fn lend(&self) -> Lent<'_> {
        let buffers = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default();
        Lent { pool: self, buffers }
    }

    /// Gives the memory of those that nobody uses back.
    pub fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// Buffers that go back to their pool.
pub struct Lent<'p> {
    pool: &'p BufferPool,
    /// The buffers.
    pub buffers: Buffers,
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        let buffers = std::mem::take(&mut self.buffers);
        self.pool.0.lock().unwrap_or_else(PoisonError::into_inner).push(buffers);
    }
}

/// Buffers of one worker, reused from block to block.
#[derive(Default)]
pub struct Buffers {
    source: Vec<u8>,
    weights: Vec<f32>,
    decoded: Vec<f32>,
    encoded: EncodedRows,
    out: Vec<Vec<u8>>,
    scratch: Scratch,
}

impl Buffers {
    /// Squared error of the output of the rows that were last encoded, on recorded inputs.
    pub fn output_error(&self, inputs: &[StepInputs], row: usize) -> f64 {
        row_sums(inputs, &self.weights, &self.decoded, row).iter().map(|s| s.ee).sum()
    }

    /// Takes the memory that some rows need.
    fn prepare<'t>(
        &mut self,
        spec: &LayerSpec,
        tensors: impl ExactSizeIterator<Item = &'t OutTensor>,
        rows: usize,
        source_bytes: usize,
    ) -> Result<(), Refused> {
        let (weights, scales) = (rows * spec.geometry.row(), rows * spec.geometry.scales_per_row());
        resize(&mut self.source, weights * source_bytes)?;
        resize(&mut self.weights, weights)?;
        resize(&mut self.decoded, weights)?;
        if let Some(kind) = spec.scheme.blocks {
            resize(&mut self.encoded.blocks, weights / kind.weights() * kind.bytes())?;
        } else {
            resize(&mut self.encoded.codes, weights)?;
            resize(&mut self.encoded.scales, scales)?;
            resize(&mut self.encoded.zeros, scales)?;
        }
        self.out.resize_with(tensors.len(), Vec::new);
        for (out, tensor) in self.out.iter_mut().zip(tensors) {
            out.clear();
            out.try_reserve_exact(tensor.bytes_of(rows)).map_err(|_| Refused)?;
        }
        Ok(())
    }
}

/// How rows become codes.
#[derive(Clone, Copy)]
pub struct Encoding<'a> {
    /// The layer.
    pub spec: &'a LayerSpec,
    /// What is known of its inputs, where codes are chosen by that.
    pub second: Option<&'a Second>,
}

/// Where a layer comes from and goes to.
pub struct LayerFiles<'a> {
    /// What it is read from.
    pub source: &'a SourceTensor<'a>,
    /// Output file.
    pub writer: &'a ShardWriter,
}

/// What became of a block.
pub enum BlockEnd {
    /// Encoded and written.
    Encoded(Box<BlockSums>),
    /// A value is not finite; nothing was written.
    NonFinite,
}

/// What is known of a block that was written.
pub struct BlockSums {
    /// Of each row of weights.
    pub rows: Vec<RowSums>,
    /// Of the outputs, row after row, for each step of the calibration.
    pub outputs: Vec<OutputSums>,
    /// What the rows ask for.
    pub flags: RowFlags,
    /// Of what was written.
    pub checksum: u64,
}

/// What became of some rows, with what is known of them.
pub enum Part<T> {
    /// Encoded.
    Encoded(T),
    /// A value is not finite.
    NonFinite,
    /// There was no memory for them.
    Refused,
}

/// Sums of each row, and what the rows ask for.
pub type Coded = (Vec<RowSums>, RowFlags);

/// Encodes some rows to see their error; the buffers hold what became of them.
pub fn trial(
    job: &JobContext<'_>,
    encoding: &Encoding<'_>,
    files: &LayerFiles<'_>,
    part: Block,
    b: &mut Buffers,
) -> Result<Part<Coded>, QuantError> {
    code(job, encoding, files, job.layout.tensors(encoding.spec).iter(), part, b)
}

/// Encodes one block of a layer and writes it: at once, or in smaller parts where memory is short.
pub fn encode(
    job: &JobContext<'_>,
    encoding: &Encoding<'_>,
    files: &LayerFiles<'_>,
    placed: &[Placed],
    block: Block,
    inputs: &[StepInputs],
    b: &mut Buffers,
) -> Result<BlockEnd, QuantError> {
    let mut sums = BlockSums { rows: Vec::with_capacity(block.rows), outputs: vec![], flags: RowFlags::default(), checksum: 0 };
    let mut checksum = BlockChecksum::new(placed.len());
    let per_row = working_set(encoding.spec.geometry, files.source.info.dtype.size());
    let (mut first, end) = (block.first, block.first + block.rows);
    while first < end {
        job.control.check()?;
        let rows = job.memory.rows(per_row, ROW_STEP).min(end - first);
        let bytes = rows as u64 * per_row;
        let permit = job.memory.acquire(bytes, job.control)?;
        match encode_part(job, encoding, files, placed, Block { first, rows }, inputs, b, &mut sums, &mut checksum)? {
            Part::Encoded(got) => {
                sums.flags.join(got);
                first += rows;
            }
            Part::NonFinite => return Ok(BlockEnd::NonFinite),
            Part::Refused => {
                *b = Buffers::default(); // what it holds may be what others lack
                job.buffers.clear();
                drop(permit);
                job.memory.step_down(job.control, bytes)?;
            }
        }
    }
    sums.checksum = checksum.digest();
    Ok(BlockEnd::Encoded(Box::new(sums)))
}

#[expect(clippy::too_many_arguments, reason = "one step of `encode`, apart for its length")]
fn encode_part(
    job: &JobContext<'_>,
    encoding: &Encoding<'_>,
    files: &LayerFiles<'_>,
    placed: &[Placed],
    part: Block,
    inputs: &[StepInputs],
    b: &mut Buffers,
    sums: &mut BlockSums,
    checksum: &mut BlockChecksum,
) -> Result<Part<RowFlags>, QuantError> {
    if fault::hit(Site::Chunk) == Some(Effect::Alloc) {
        return Ok(Part::Refused);
    }
    read_ahead(encoding.spec, files, part);
    let flags = match code(job, encoding, files, placed.iter().map(|p| &p.tensor), part, b)? {
        Part::Encoded((rows, flags)) => {
            sums.rows.extend(rows);
            flags
        }
        Part::NonFinite => return Ok(Part::NonFinite),
        Part::Refused => return Ok(Part::Refused),
    };
    if !inputs.is_empty() {
        sums.outputs.extend(row_sums(inputs, &b.weights, &b.decoded, encoding.spec.geometry.row()));
    }
    for (i, (placed, bytes)) in placed.iter().zip(&b.out).enumerate() {
        checksum.update(i, bytes);
        files.writer.write(placed, placed.tensor.row_offset(part.first), bytes)?;
    }
    Ok(Part::Encoded(flags))
}

/// As many bytes as a part has, [`READ_AHEAD`] bytes behind it, in whatever tensor of the file: blocks are worked on in file order.
fn read_ahead(spec: &LayerSpec, files: &LayerFiles<'_>, part: Block) {
    let row = (spec.geometry.row() * files.source.info.dtype.size()) as u64;
    files.source.read_ahead(part.first as u64 * row, part.rows as u64 * row, READ_AHEAD);
}

/// Reads rows, encodes them and decodes what would be written.
fn code<'t>(
    job: &JobContext<'_>,
    &Encoding { spec, second }: &Encoding<'_>,
    files: &LayerFiles<'_>,
    tensors: impl ExactSizeIterator<Item = &'t OutTensor>,
    part: Block,
    b: &mut Buffers,
) -> Result<Part<Coded>, QuantError> {
    let g = spec.geometry;
    if b.prepare(spec, tensors, part.rows, files.source.info.dtype.size()).is_err() {
        return Ok(Part::Refused);
    }
    files.source.read_rows(part.first, &mut b.weights, g.row(), &mut b.source)?;
    if first_non_finite(&b.weights).is_some() {
        return Ok(Part::NonFinite);
    }
    let work = Work { geometry: g, scheme: spec.scheme, tuning: job.tuning.rows(), weights: &b.weights, second };
    let flags = job.compute.encode(job.control, &work, &mut b.encoded, &mut b.scratch)?;
    job.layout.write_rows(spec, &b.encoded, &mut b.out);

    // What is judged are the bytes that go to the file, decoded by the layout's own definition.
    let bytes: Vec<&[u8]> = b.out.iter().map(Vec::as_slice).collect();
    job.layout.read_rows(spec, &bytes, part.rows, &mut b.decoded);
    let rows = b.weights.chunks_exact(g.row()).zip(b.decoded.chunks_exact(g.row()));
    Ok(Part::Encoded((rows.map(|(w, v)| RowSums::of(w, v)).collect(), flags)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_cover_every_row_once_and_start_on_bytes() {
        for shape in [[1, 7], [5, 100], [3072, 3072], [3, 1 << 20], [10_000, 33]] {
            let g = Geometry::of(&shape, 64).unwrap();
            let blocks = row_blocks(g, 2);
            assert!(blocks.iter().all(|b| b.first % ROW_STEP == 0 && b.rows > 0));
            assert_eq!(blocks.iter().map(|b| b.rows).sum::<usize>(), g.out);
            assert!(blocks.windows(2).all(|w| w[0].first + w[0].rows == w[1].first));
        }
    }
}
