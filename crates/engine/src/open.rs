//! A quantized model that stays open: its weights listed, any rows of any of them decoded when they are asked for.

use crate::control::Control;
use crate::error::{MemoryCause, Pool, QuantError};
use crate::memory::resize;
use aq_core::Phase;
use aq_core::error::ConfigIssue;
use aq_io::disk::DEFAULT_RETRIES;
use aq_io::source::{self, Component, Source};
use aq_io::weights::{Weight, weights};
use serde::Serialize;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

/// A model with its weight files open; nothing but headers is held.
#[derive(Debug)]
pub struct OpenModel {
    source: Source,
    weights: Vec<(usize, Weight)>,
    by_name: HashMap<String, usize>,
}

/// A weight as it is listed.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OpenLayer {
    name: String,
    shape: Vec<usize>,
    /// Of the tensor that holds its codes, or its values.
    dtype: &'static str,
    /// The layout that decodes it; none: floats.
    layout: Option<&'static str>,
    bits: Option<u32>,
    group_size: Option<usize>,
    symmetric: Option<bool>,
    rotation: Option<usize>,
    bits_per_weight: f64,
}

impl OpenModel {
    /// Opens a model in any readable layout.
    pub fn open(path: &Path, control: &Arc<Control>) -> Result<Self, QuantError> {
        control.enter(Phase::Open)?;
        let source = source::open(&control.disk(DEFAULT_RETRIES), path)?;
        let several = source.components.len() > 1;
        let (mut list, mut by_name) = (Vec::new(), HashMap::new());
        for (index, component) in source.components.iter().enumerate() {
            for weight in weights(component)? {
                let module = weight.name.strip_suffix(".weight").unwrap_or(&weight.name);
                let name = if several { format!("{}/{module}", component.name) } else { module.to_owned() };
                by_name.insert(name, list.len());
                list.push((index, weight));
            }
        }
        Ok(Self { source, weights: list, by_name })
    }

    /// All weights of two dimensions or more, in file order; `component/layer` where there are several components.
    pub fn layers(&self) -> Vec<OpenLayer> {
        let mut names: Vec<&str> = vec![""; self.weights.len()];
        self.by_name.iter().for_each(|(name, &at)| names[at] = name);
        let one = |(name, (index, weight)): (&str, &(usize, Weight))| {
            let tensors: Vec<_> = weight.tensors(&self.source.components[*index]).map(|(_, t)| t).collect();
            let scheme = weight.coded().map(|c| c.spec.scheme);
            let numel: usize = weight.shape.iter().product();
            OpenLayer {
                name: name.to_owned(),
                shape: weight.shape.clone(),
                dtype: tensors.first().map_or("", |t| t.dtype.name()),
                layout: weight.coded().map(|c| c.layout.name()),
                bits: weight.bits(),
                group_size: weight.coded().map(|c| c.spec.geometry.group),
                symmetric: scheme.map(|s| s.symmetric()),
                rotation: scheme.and_then(|s| s.rotation),
                bits_per_weight: tensors.iter().map(|t| t.len).sum::<u64>() as f64 * 8.0 / numel.max(1) as f64,
            }
        };
        names.into_iter().zip(&self.weights).map(one).collect()
    }

    /// A weight by the name that reports have; a bare one means that of the denoiser.
    pub(crate) fn weight(&self, name: &str) -> Option<(&Component, &Weight)> {
        let denoisers = self.source.components.iter().filter(|c| c.is_denoiser());
        let named = |c: &Component| self.by_name.get(&format!("{}/{name}", c.name));
        let (index, weight) = &self.weights[*self.by_name.get(name).or_else(|| denoisers.take(1).find_map(named))?];
        Some((&self.source.components[*index], weight))
    }

    /// Values of rows `first..first + rows` of a weight; `rows` of `None`: to the last one.
    pub fn rows(&self, name: &str, first: usize, rows: Option<usize>) -> Result<Vec<f32>, QuantError> {
        let refuse =
            |path: &str, expected: &str, received: &str| QuantError::InvalidConfig(vec![ConfigIssue::text(path, expected, received)]);
        let found = self.by_name.get(name.strip_suffix(".weight").unwrap_or(name));
        let &at = found.ok_or_else(|| refuse("name", "the name of a layer of the model", name))?;
        let (index, weight) = &self.weights[at];
        let out = weight.shape.first().copied().unwrap_or(0);
        let rows = rows.unwrap_or_else(|| out.saturating_sub(first));
        if first.checked_add(rows).is_none_or(|end| end > out) {
            return Err(refuse("rows", &format!("rows within the {out} of the layer"), &format!("{rows} from row {first} on")));
        }
        let count = rows * weight.row();
        let mut values = Vec::new();
        resize(&mut values, count).map_err(|_| {
            let (pool, cause, tensor) = (Pool::Host, MemoryCause::Refused, Some(name.to_owned()));
            QuantError::OutOfMemory { pool, cause, requested: 4 * count as u64, limit: 0, tensor }
        })?;
        weight.read_rows(&self.source.components[*index], first, &mut values)?;
        Ok(values)
    }
}
