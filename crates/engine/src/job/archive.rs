//! What a Parquet archive says of its tensors beside their bytes: names and schemes, the figures of the report, the table over time.

use super::files::Written;
use super::tables::{self, Table};
use crate::error::QuantError;
use crate::plan::{FilePlan, Plan, TensorPlan};
use aq_core::{Dtype, ScaleDtype};
use aq_io::IoError;
use aq_io::layout::{LayerSpec, OutTensor};
use aq_io::parquet::{Closing, Row, json_cell};
use aq_io::source::Source;
use serde_json::{Map, Value, json};
use std::collections::HashMap;

/// Where a layer's table is found, by its index in the plan.
pub type TableOf<'a> = dyn Fn(usize) -> Result<Option<Table>, IoError> + Sync + 'a;

/// What is known of a job's output besides its tensors.
pub struct Archive<'a> {
    /// The model that it is made of.
    pub source: &'a Source,
    /// The plan.
    pub plan: &'a Plan,
    /// The configuration, as the manifest has it.
    pub config: Value,
    /// Of each layer that was measured, by its name: what the report says.
    pub reports: HashMap<String, Value>,
    /// Its table.
    pub tables: Box<TableOf<'a>>,
}

impl Archive<'_> {
    /// What is told at the end of a file.
    pub fn closing<'c>(&'c self, file: &'c FilePlan<'_>, layers: &'c [Written]) -> Result<Closing<'c>, QuantError> {
        let count = |plan: TensorPlan| if let TensorPlan::Quantize(i) = plan { layers[i].placed.len() } else { 1 };
        Ok(Closing {
            tensors: file.tensors.iter().map(|t| count(t.plan)).collect(),
            tell: Box::new(|at| self.row(file, layers, at)),
            metadata: self.metadata(file)?,
        })
    }

    fn metadata(&self, file: &FilePlan<'_>) -> Result<Vec<(String, String)>, QuantError> {
        let one = |shard: &aq_io::source::Shard| {
            let hash = shard.header_hash()?;
            Ok(json!({"name": shard.file_name, "bytes": shard.len, "headerBlake3": hash}))
        };
        let component = self.source.components.get(file.component);
        let source = component.into_iter().flat_map(|c| &c.shards).map(one).collect::<Result<Vec<_>, QuantError>>()?;
        let of = |(key, value): (&str, String)| (format!("arrow_quant.{key}"), value);
        let keys = [("version", crate::VERSION.to_owned()), ("config", self.config.to_string()), ("source", json!(source).to_string())];
        Ok(keys.map(of).into())
    }

    /// Everything that is the same in all rows of a tensor.
    fn row(&self, file: &FilePlan<'_>, layers: &[Written], at: usize) -> Result<Row, IoError> {
        let tensor = &file.tensors[at];
        let mut row = Row::default();
        match tensor.plan {
            TensorPlan::Quantize(i) => match &layers[i].spec {
                Some(spec) => {
                    row.values = coded(spec, self.dtype(file.component, spec).unwrap_or(tensor.source.info.dtype));
                    self.figures(i, &mut row)?;
                }
                None => row.values = float(&layers[i].placed[0].tensor),
            },
            TensorPlan::Carry => row.values = float(&tensor.out[0]),
        }
        // A job whose mode is `base` has no time axis; its model is what it is.
        row.values.insert("is_diffusion_model".into(), json!(self.config.get("mode").is_none_or(|m| m == "diffusion")));
        row.values.insert("modality".into(), json!(self.plan.modality.as_str()));
        Ok(row)
    }

    /// The type that a layer's weights have in the model; `None` where that model is not this one's source.
    fn dtype(&self, component: usize, spec: &LayerSpec) -> Option<Dtype> {
        let shards = &self.source.components.get(component)?.shards;
        shards.iter().find_map(|s| s.header.tensor(&spec.tensor)).map(|t| t.dtype)
    }

    fn figures(&self, i: usize, row: &mut Row) -> Result<(), IoError> {
        let report = self.reports.get(&self.plan.layers[i].name);
        let figure = |name: &str| report.and_then(|r| r.get(name)).cloned().unwrap_or_default();
        // Codes do not tell how they were chosen.
        row.values.insert("method".into(), figure("scheme")["method"].clone());
        for (column, name) in
            [("cosine", "cosine"), ("sqnr_db", "sqnrDb"), ("worst_row_cosine", "worstRowCosine"), ("bits_per_weight", "bitsPerWeight")]
        {
            row.values.insert(column.into(), figure(name));
        }
        let Some(table) = (self.tables)(i)? else { return Ok(()) };
        let (min, max) = (table.min.iter().copied().reduce(f32::min), table.max.iter().copied().reduce(f32::max));
        row.values.insert("activation_stats_json".into(), json_cell(&json!({"min": min, "max": max})));
        let judged = figure("timeGroups");
        let group = |(at, index): (usize, &i32)| {
            let judged = judged.as_array().into_iter().flatten().find(|g| g["index"] == *index).cloned().unwrap_or_default();
            json!({
                "index": index, "first": judged["first"], "last": judged["last"], "cosine": judged["cosine"], "sqnrDb": judged["sqnrDb"],
                "min": table.min[at], "max": table.max[at], "percentiles": table.percentiles[at],
            })
        };
        let groups: Vec<Value> = table.index.iter().enumerate().map(group).collect();
        let time =
            json!({"percentiles": tables::PERCENTILES, "biasShift": "bias_correction: bf16, a row for each group", "groups": groups});
        row.values.insert("time_aware_quant_json".into(), json_cell(&time));
        row.bias_correction = Some(table.shifts);
        Ok(())
    }
}

/// A name without what says that it is a weight.
fn module(tensor: &str) -> &str {
    tensor.strip_suffix(".weight").unwrap_or(tensor)
}

fn object(value: Value) -> Map<String, Value> {
    if let Value::Object(map) = value { map } else { Map::new() }
}

/// A layer in codes.
fn coded(spec: &LayerSpec, dtype: Dtype) -> Map<String, Value> {
    let (s, g) = (spec.scheme, spec.geometry);
    let meta = match s.scale_dtype {
        ScaleDtype::Bf16 => "bf16",
        ScaleDtype::F16 => "f16",
        ScaleDtype::F32 => "f32",
    };
    // Codes of an earlier output come without the type that their weights had.
    let dtype = if dtype.is_float() { dtype } else { spec.dtype };
    object(json!({
        "layer_name": module(&spec.written),
        "tensor_name": spec.written,
        "shape": spec.model_shape(),
        "dtype": dtype.name(),
        "num_params": g.numel(),
        "quant_type": format!("int{}", s.bits),
        "symmetric": s.symmetric(),
        "meta_dtype": meta,
        "quant_axis": 1,
        "group_size": g.group,
        "rotation": s.rotation.map_or("none".into(), |block| format!("hadamard{block}")),
        "spatial_quant_json": s.rotation.map(|block| json_cell(&json!({"rotation": "hadamard", "block": block}))),
    }))
}

/// A tensor as it is.
fn float(tensor: &OutTensor) -> Map<String, Value> {
    let numel = tensor.shape.iter().product::<usize>();
    object(json!({
        "layer_name": module(&tensor.name),
        "tensor_name": tensor.name,
        "shape": tensor.shape,
        "dtype": tensor.dtype.name(),
        "num_params": numel,
        "quant_type": "none",
        "bits_per_weight": tensor.dtype.size() * 8,
    }))
}
