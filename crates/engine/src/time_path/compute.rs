//! A path's inputs, from its weights as they stand in the file.

use super::family::Kind;
use super::sinusoid::Sinusoid;
use super::{Linear, Path, STEPS, tensor};
use crate::time::StepInputs;
use aq_io::IoError;
use aq_io::source::Component;
use aq_io::weights::read_float_rows;
use aq_kernels::Level;
use aq_kernels::second::{Inputs, linear};
use rayon::prelude::*;
use std::sync::Arc;

/// Rows of weights that are held at a time.
const BLOCK: usize = 256;
/// Rows of inputs that a worker takes.
const ROWS: usize = 64;
/// Sums a step, where something besides the step is in them.
const VARIANTS: usize = 2;
/// Pooled vectors: a prime, so that they meet every step in turn.
const POOLED: usize = 61;
/// Strengths of guidance that people use.
const GUIDANCE: [f32; 4] = [3.5, 2.5, 5.0, 4.0];
/// Original size, crop and target size, as SDXL is asked for them.
const SIZES: [f32; 6] = [1024.0, 1024.0, 0.0, 0.0, 1024.0, 1024.0];

/// Inputs of the layers of a path, at every step.
#[derive(Debug)]
pub struct Computed {
    /// The sinusoid.
    pub embedding: Arc<Vec<StepInputs>>,
    /// The first layer's output, activated.
    pub hidden: Arc<Vec<StepInputs>>,
    /// The sum, activated.
    pub driven: Arc<Vec<StepInputs>>,
}

/// Width of the pooled text vector that SDXL's models take.
const REFINER_TEXT: usize = 1280;

impl Path {
    /// Computes them.
    pub fn compute(&self, component: &Component) -> Result<Computed, IoError> {
        let mut embedding = Vec::with_capacity(STEPS as usize * self.sinusoid.width);
        (0..STEPS).for_each(|step| self.sinusoid.push(step as f32, &mut embedding));
        let hidden = activated(apply(component, &self.embedder[0], &embedding)?);
        let time = apply(component, &self.embedder[1], &hidden)?;
        let width = self.embedder[1].out;
        let mut terms = Vec::new();
        if let Some(labels) = &self.labels {
            terms.push(rows(component, labels)?);
        }
        for (added, layers) in &self.added {
            let inputs = self.sampled(added.kind, added.rms, layers[0].inputs);
            terms.push(apply(component, &layers[1], &activated(apply(component, &layers[0], &inputs)?))?);
        }
        let variants = if terms.is_empty() { 1 } else { VARIANTS };
        let mut driven = Vec::with_capacity(time.len() * variants);
        for (step, time) in time.chunks_exact(width).enumerate() {
            for variant in 0..variants {
                let at = driven.len();
                driven.extend_from_slice(time);
                for (i, term) in terms.iter().enumerate() {
                    // Steps go round the rows of each term at a pace of its own, variants half a round apart.
                    let count = term.len() / width;
                    let row = (step * (2 * i + 1) + variant * count.div_ceil(2)) % count;
                    driven[at..].iter_mut().zip(&term[row * width..]).for_each(|(sum, t)| *sum += t);
                }
            }
        }
        Ok(Computed {
            embedding: by_step(&embedding, self.sinusoid.width),
            hidden: by_step(&hidden, self.embedder[0].out),
            driven: by_step(&activated(driven), width),
        })
    }

    /// What stands in for an input that is not in the file.
    fn sampled(&self, kind: Kind, rms: f32, width: usize) -> Vec<f32> {
        let mut random = Random(0x5eed);
        let mut rows = Vec::new();
        match kind {
            Kind::Guidance => {
                let sinusoid = Sinusoid { width, ..self.sinusoid };
                GUIDANCE.iter().for_each(|g| sinusoid.push(g * STEPS as f32, &mut rows));
            }
            Kind::Pooled => rows.extend((0..POOLED * width).map(|_| rms * random.normal())),
            Kind::TextTime => {
                let sinusoid = Sinusoid { width: self.size_width, ..self.sinusoid };
                // SDXL's refiner is asked for five numbers beside the same text vector.
                let sizes = if width == REFINER_TEXT + 5 * self.size_width { &SIZES[..5] } else { &SIZES[..] };
                let pooled = width.saturating_sub(sizes.len() * self.size_width);
                for _ in 0..POOLED {
                    rows.extend((0..pooled).map(|_| rms * random.normal()));
                    sizes.iter().filter(|_| pooled > 0).for_each(|s| sinusoid.push(*s, &mut rows));
                }
                rows.resize(POOLED * width, 0.0);
            }
        }
        rows
    }
}

/// `x w' + bias` for rows of inputs.
fn apply(component: &Component, layer: &Linear, x: &[f32]) -> Result<Vec<f32>, IoError> {
    let level = Level::current();
    let n = x.len() / layer.inputs;
    let bias = match layer.bias {
        None => vec![0.0; layer.out],
        Some(place) => {
            let (shard, info) = tensor(component, place);
            let mut bias = vec![0.0; layer.out];
            read_float_rows(shard, info, 0, &mut bias, 1, &mut Vec::new())?;
            bias
        }
    };
    let mut out = vec![0.0; n * layer.out];
    let (mut bytes, mut part) = (Vec::new(), Vec::new());
    for first in (0..layer.out).step_by(BLOCK) {
        let count = BLOCK.min(layer.out - first);
        let (shard, info) = tensor(component, layer.weight);
        let mut data = vec![0.0; count * layer.inputs];
        read_float_rows(shard, info, first, &mut data, layer.inputs, &mut bytes)?;
        let transposed = Inputs { rows: count, row: layer.inputs, data }.transposed();
        part.clear();
        part.resize(n * count, 0.0);
        let parts = x.par_chunks(ROWS * layer.inputs).zip(part.par_chunks_mut(ROWS * count));
        parts.for_each(|(x, out)| linear(level, x, &transposed, &bias[first..first + count], out));
        for (out, part) in out.chunks_exact_mut(layer.out).zip(part.chunks_exact(count)) {
            out[first..first + count].copy_from_slice(part);
        }
    }
    Ok(out)
}

/// All rows of a table.
fn rows(component: &Component, table: &Linear) -> Result<Vec<f32>, IoError> {
    let (shard, info) = tensor(component, table.weight);
    let mut data = vec![0.0; table.out * table.inputs];
    read_float_rows(shard, info, 0, &mut data, table.inputs, &mut Vec::new())?;
    Ok(data)
}

/// `x / (1 + exp(-x))`
fn activated(mut x: Vec<f32>) -> Vec<f32> {
    x.iter_mut().for_each(|v| *v /= 1.0 + (-*v).exp());
    x
}

fn by_step(rows: &[f32], width: usize) -> Arc<Vec<StepInputs>> {
    let each = rows.len() / STEPS as usize;
    let of = |(step, data): (usize, &[f32])| StepInputs { step: step as i32, weight: 1.0, rows: each / width, data: data.to_vec() };
    Arc::new(rows.chunks_exact(each).enumerate().map(of).collect())
}

/// Numbers near a normal distribution: twelve uniform ones of a linear congruential generator together, less their mean.
struct Random(u64);

impl Random {
    fn normal(&mut self) -> f32 {
        let mut uniform = || {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 40) as f32 / (1u64 << 24) as f32
        };
        (0..12).map(|_| uniform()).sum::<f32>() - 6.0
    }
}
