//! Cutting a layer into blocks of neighbouring rows, and encoding one block: read, search, pack, decode what was packed, compare, write.

use super::context::JobContext;
use crate::error::QuantError;
use aq_core::Geometry;
use aq_io::TensorInfo;
use aq_io::layout::{EncodedRows, LayerSpec};
use aq_io::output::{Placed, ShardWriter};
use aq_io::source::Shard;
use aq_io::weights::read_float_rows;
use aq_kernels::convert::first_non_finite;
use aq_kernels::{RowCodec, RowFlags, RowSums, Scratch};

/// Weights in one block: large enough to keep reads long, small enough that a worker needs a few MB and notices an abort at once.
const BLOCK_WEIGHTS: usize = 1 << 18;
/// Rows of a block are a multiple of this, so that it starts on a byte of packed codes.
const ROW_STEP: usize = 4;

/// Neighbouring rows of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block {
    /// First row.
    pub first: usize,
    /// Number of rows.
    pub rows: usize,
}

/// The blocks of a layer, in order.
pub fn row_blocks(g: Geometry) -> Vec<Block> {
    let rows = (BLOCK_WEIGHTS / g.row().max(1)).max(1).next_multiple_of(ROW_STEP);
    (0..g.out).step_by(rows).map(|first| Block { first, rows: rows.min(g.out - first) }).collect()
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

/// Where a layer comes from and goes to.
pub struct LayerFiles<'a> {
    /// Source file.
    pub shard: &'a Shard,
    /// Source tensor.
    pub tensor: &'a TensorInfo,
    /// Output file.
    pub writer: &'a ShardWriter,
}

/// What became of a block.
pub enum BlockEnd {
    /// Encoded and written: sums of each row, and what the rows ask for.
    Encoded(Vec<RowSums>, RowFlags),
    /// A value is not finite; nothing was written.
    NonFinite,
}

/// Encodes one block of a layer and writes it.
pub fn encode(
    job: &JobContext<'_>,
    spec: &LayerSpec,
    files: &LayerFiles<'_>,
    placed: &[Placed],
    block: Block,
    b: &mut Buffers,
) -> Result<BlockEnd, QuantError> {
    job.control.check()?;
    let g = spec.geometry;
    b.weights.resize(block.rows * g.row(), 0.0);
    read_float_rows(files.shard, files.tensor, block.first, &mut b.weights, g.row(), &mut b.source)?;
    if first_non_finite(&b.weights).is_some() {
        return Ok(BlockEnd::NonFinite);
    }
    let flags = encode_rows(spec, job, block.rows, b);
    b.out.resize_with(placed.len(), Vec::new);
    b.out.iter_mut().for_each(Vec::clear);
    job.layout.write_rows(spec, &b.encoded, &mut b.out);

    // What is judged are the bytes that go to the file, decoded by the layout's own definition.
    let bytes: Vec<&[u8]> = b.out.iter().map(Vec::as_slice).collect();
    b.decoded.resize(b.weights.len(), 0.0);
    job.layout.read_rows(spec, &bytes, block.rows, &mut b.decoded);
    let rows = b.weights.chunks_exact(g.row()).zip(b.decoded.chunks_exact(g.row()));
    let sums = rows.map(|(w, v)| RowSums::of(w, v)).collect();

    for (placed, bytes) in placed.iter().zip(&b.out) {
        files.writer.write(placed, placed.tensor.row_offset(block.first), bytes)?;
    }
    Ok(BlockEnd::Encoded(sums, flags))
}

fn encode_rows(spec: &LayerSpec, job: &JobContext<'_>, rows: usize, b: &mut Buffers) -> RowFlags {
    let (row, scales) = (spec.geometry.row(), spec.geometry.scales_per_row());
    let codec = RowCodec::new(spec.geometry, spec.scheme, job.tuning);
    let e = &mut b.encoded;
    e.rows = rows;
    e.codes.resize(rows * row, 0);
    e.scales.resize(rows * scales, 0.0);
    e.zeros.resize(rows * scales, 0.0);
    let mut flags = RowFlags::default();
    for i in 0..rows {
        let (r, s) = (i * row..(i + 1) * row, i * scales..(i + 1) * scales);
        let got = codec.encode(&b.weights[r.clone()], &mut b.scratch, &mut e.codes[r], &mut e.scales[s.clone()], &mut e.zeros[s]);
        flags.needs_f32 |= got.needs_f32;
        flags.overflow = flags.overflow.or(got.overflow);
    }
    flags
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_cover_every_row_once_and_start_on_bytes() {
        for shape in [[1, 7], [5, 100], [3072, 3072], [3, 1 << 20], [10_000, 33]] {
            let g = Geometry::of(&shape, 64).unwrap();
            let blocks = row_blocks(g);
            assert!(blocks.iter().all(|b| b.first % ROW_STEP == 0 && b.rows > 0));
            assert_eq!(blocks.iter().map(|b| b.rows).sum::<usize>(), g.out);
            assert!(blocks.windows(2).all(|w| w[0].first + w[0].rows == w[1].first));
        }
    }
}
