//! Comparing two models on disk, weight by weight, whatever layout each is stored in.

use crate::control::Control;
use crate::error::{QuantError, ShapeSubject};
use crate::job::{Block, manifest, pool, row_blocks};
use aq_core::report::{Figures, Warning, megabytes};
use aq_core::{BitWidth, Geometry, Phase};
use aq_io::disk::DEFAULT_RETRIES;
use aq_io::error::Missing;
use aq_io::source::{self, Component, Source};
use aq_io::weights::{Weight, weights};
use aq_kernels::RowSums;
use rayon::prelude::*;
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

/// Two models to compare.
#[derive(Debug, Clone)]
pub struct ValidateRequest {
    /// The original.
    pub original: PathBuf,
    /// What was made of it.
    pub quantized: PathBuf,
    /// Similarity every layer must reach; by the quantized model's own width where not given.
    pub min_accuracy: Option<f64>,
    /// Worker threads; 0: as many as cores.
    pub num_threads: usize,
}

/// One compared layer.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ComparedLayer {
    name: String,
    shape: Vec<usize>,
    bit_width: Option<u32>,
    #[serde(flatten)]
    figures: Figures,
    passed: bool,
}

/// The result of a comparison.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Validation {
    /// Whether every layer reaches the threshold.
    pub passed: bool,
    threshold: f64,
    cosine_similarity: f64,
    sqnr_db: f64,
    worst_layer: Option<Value>,
    original_size_mb: f64,
    model_size_mb: f64,
    compression_ratio: f64,
    layers: Vec<ComparedLayer>,
    failed: Vec<String>,
    unquantized: usize,
    warnings: Vec<Warning>,
}

struct Pair<'a> {
    name: String,
    original: (&'a Component, Weight),
    quantized: (&'a Component, Weight),
    geometry: Geometry,
}

/// Compares two models. A low similarity is a result, not an error; differing shapes or missing layers are errors.
pub fn validate(request: &ValidateRequest, control: &Arc<Control>) -> Result<Validation, QuantError> {
    control.enter(Phase::Open)?;
    let disk = control.disk(DEFAULT_RETRIES);
    let original = source::open(&disk, &request.original)?;
    let quantized = source::open(&disk, &request.quantized)?;
    control.enter(Phase::Plan)?;
    // A manifest that cannot be read tells nothing; the weights are compared all the same.
    let manifest = manifest::read(&disk, &quantized).unwrap_or_default();
    let (pairs, compared) = pairs(&original, &quantized, manifest.as_ref())?;
    let bytes: usize = pairs.iter().map(|p| 4 * p.geometry.numel()).sum();
    control.progress.plan(pairs.len() as u64, bytes as u64);
    control.enter(Phase::Validate)?;
    let sums =
        pool(request.num_threads)?.install(|| pairs.par_iter().map(|p| compare(p, control)).collect::<Result<Vec<_>, QuantError>>())?;
    let base = pairs.iter().filter_map(|p| p.quantized.1.bits()).min().and_then(|b| BitWidth::try_from(u64::from(b)).ok());
    let threshold = request.min_accuracy.unwrap_or_else(|| threshold(manifest.as_ref(), base));
    Ok(summary(&pairs, &sums, threshold, &original, &quantized, &compared))
}

/// The default threshold follows the job's width: the manifest knows it, else the narrowest layer tells.
fn threshold(manifest: Option<&Manifest>, narrowest: Option<BitWidth>) -> f64 {
    let stated = manifest.and_then(|m| m.get("bitWidth")?.as_u64());
    stated.and_then(|b| BitWidth::try_from(b).ok()).or(narrowest).unwrap_or(BitWidth::Eight).default_min_accuracy()
}

type Manifest = Map<String, Value>;

/// Components of the same name; weights of the same name and shape. Components compared, as (original, quantized).
type Compared<'a> = Vec<(&'a Component, &'a Component)>;

fn pairs<'a>(
    original: &'a Source,
    quantized: &'a Source,
    manifest: Option<&Manifest>,
) -> Result<(Vec<Pair<'a>>, Compared<'a>), QuantError> {
    let (mut pairs, mut compared) = (Vec::new(), Vec::new());
    let named = manifest.map(quantized_components).unwrap_or_default();
    let single = original.components.len() == 1 && quantized.components.len() == 1;
    let chosen: Vec<&Component> =
        quantized.components.iter().filter(|c| c.is_denoiser() || c.quantization.is_some() || named.contains(&c.name)).collect();
    for q in &chosen {
        let Some(o) = original.components.iter().find(|o| single || o.name == q.name || o.name.is_empty()) else {
            let (path, what) = (original.root.join(&q.name), Missing::Model);
            return Err(QuantError::ModelNotFound { path, what, referenced_by: Some(q.dir.clone()), source: None });
        };
        compared.push((o, *q));
        let mut theirs: HashMap<String, Weight> = weights(q)?.into_iter().map(|w| (w.name.clone(), w)).collect();
        for ours in weights(o)? {
            let module = ours.name.strip_suffix(".weight").unwrap_or(&ours.name);
            let name = if chosen.len() > 1 { format!("{}/{module}", q.name) } else { module.to_owned() };
            let sizes = |s: &[usize]| s.iter().map(|&d| d as u64).collect::<Vec<_>>();
            let mismatch = |actual| QuantError::ShapeMismatch {
                subject: ShapeSubject::Model,
                name: name.clone(),
                expected: sizes(&ours.shape),
                actual,
            };
            let Some(theirs) = theirs.remove(&ours.name) else { return Err(mismatch(vec![])) };
            if ours.shape != theirs.shape {
                return Err(mismatch(sizes(&theirs.shape)));
            }
            let geometry = Geometry::of(&ours.shape, 0).ok_or_else(|| mismatch(sizes(&theirs.shape)))?;
            pairs.push(Pair { name, original: (o, ours), quantized: (q, theirs), geometry });
        }
    }
    if pairs.is_empty() {
        let path = quantized.path.clone();
        let failure = crate::error::WorkFailure::NothingToQuantize { tensors: 0 };
        return Err(QuantError::QuantizationFailed { path, layer: None, failure });
    }
    Ok((pairs, compared))
}

/// Components that the manifest names as quantized: with layout `plain` nothing else tells.
fn quantized_components(manifest: &Manifest) -> Vec<String> {
    let list = manifest.get("components").and_then(Value::as_array).into_iter().flatten();
    list.filter(|c| c["quantized"] == true).filter_map(|c| Some(c.get("name")?.as_str()?.to_owned())).collect()
}

fn compare(pair: &Pair<'_>, control: &Control) -> Result<(RowSums, f64), QuantError> {
    let row = pair.geometry.row();
    let one = |&Block { first, rows }: &Block| {
        control.check()?;
        let (mut w, mut v) = (vec![0.0; rows * row], vec![0.0; rows * row]);
        pair.original.1.read_rows(pair.original.0, first, &mut w)?;
        pair.quantized.1.read_rows(pair.quantized.0, first, &mut v)?;
        control.progress.bytes(&pair.name, 4 * w.len() as u64);
        Ok(w.chunks_exact(row).zip(v.chunks_exact(row)).map(|(w, v)| RowSums::of(w, v)).collect())
    };
    let blocks: Vec<Vec<RowSums>> = row_blocks(pair.geometry, 4).par_iter().map(one).collect::<Result<_, QuantError>>()?;
    let (mut total, mut worst) = (RowSums::default(), 1.0);
    for sums in blocks.iter().flatten() {
        total.add(sums);
        worst = f64::min(worst, sums.cosine());
    }
    control.progress.layer(&pair.name);
    Ok((total, worst))
}

fn summary(
    pairs: &[Pair<'_>],
    sums: &[(RowSums, f64)],
    threshold: f64,
    original: &Source,
    quantized: &Source,
    compared: &Compared<'_>,
) -> Validation {
    let (mut layers, mut total, mut unquantized) = (Vec::new(), RowSums::default(), 0);
    let (mut weighted, mut weights) = (0.0, 0);
    for (pair, (sums, worst)) in pairs.iter().zip(sums) {
        let bit_width = pair.quantized.1.bits();
        // An equal float layer says nothing; one that differs was quantized and decoded.
        if bit_width.is_none() && sums.ee == 0.0 {
            unquantized += 1;
            continue;
        }
        let figures = Figures { cosine: sums.cosine(), sqnr_db: sums.sqnr_db(), worst_row_cosine: *worst, max_abs_error: sums.max_abs };
        total.add(sums);
        weighted += figures.cosine * pair.geometry.numel() as f64;
        weights += pair.geometry.numel();
        let passed = figures.cosine >= threshold;
        layers.push(ComparedLayer { name: pair.name.clone(), shape: pair.original.1.shape.clone(), bit_width, figures, passed });
    }
    let failed: Vec<String> = layers.iter().filter(|l| !l.passed).map(|l| l.name.clone()).collect();
    let worst = layers.iter().min_by(|a, b| a.figures.cosine.total_cmp(&b.figures.cosine));
    let worst_layer = worst.map(|l| json!({"name": l.name, "cosine": l.figures.cosine}));
    let (before, after) = compared.iter().fold((0, 0), |(a, b), (o, q)| (a + o.bytes(), b + q.bytes()));
    let mut warnings = Vec::new();
    if layers.is_empty() {
        let message = "No weight differs from the original: nothing was quantized.".into();
        warnings.push(Warning {
            code: "AQ_WARN_NOTHING_COMPARED",
            message,
            details: json!({"original": original.path, "quantized": quantized.path}),
        });
    }
    Validation {
        passed: failed.is_empty(),
        threshold,
        cosine_similarity: if weights == 0 { 1.0 } else { weighted / weights as f64 },
        sqnr_db: total.sqnr_db(),
        worst_layer,
        original_size_mb: megabytes(before),
        model_size_mb: megabytes(after),
        compression_ratio: before as f64 / after.max(1) as f64,
        layers,
        failed,
        unquantized,
        warnings,
    }
}
