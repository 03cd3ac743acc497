//! The computed time path of a model as a calibration file: `time_inputs MODEL OUT.safetensors [EVERY]`. One tensor `layer@step` for each
//! layer on the path and every so many steps (100), F32: what another implementation's hooks should have seen.
#![expect(clippy::print_stdout, reason = "a command for developers")]

use aq_core::progress::Silent;
use aq_core::{CancelToken, GivenConfig, Mode};
use aq_engine::time_path::TimePath;
use aq_engine::{Control, QuantError, modality, plan};
use aq_io::layout::layout;
use aq_io::source;
use safetensors::{Dtype, View};
use serde_json::json;
use std::borrow::Cow;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

/// Rows of one layer at one step.
struct Rows {
    shape: [usize; 2],
    bytes: Vec<u8>,
}

impl View for Rows {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }
    fn shape(&self) -> &[usize] {
        &self.shape
    }
    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.bytes)
    }
    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}

fn main() -> Result<(), String> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [model, out, more @ ..] = args.as_slice() else { return Err("usage: time_inputs MODEL OUT.safetensors [EVERY]".into()) };
    let every = more.first().map_or(Ok(100), |e| e.parse::<usize>()).map_err(|e| e.to_string())?;
    let tensors = computed(Path::new(model), every.max(1)).map_err(|e| e.texts().message())?;
    println!("{} tensors", tensors.len());
    let metadata = [("format", "arrow-quant-calibration"), ("version", "1"), ("axis", "timestep")];
    let metadata: HashMap<String, String> = metadata.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
    safetensors::serialize_to_file(tensors, Some(metadata), Path::new(out)).map_err(|e| e.to_string())
}

fn computed(model: &Path, every: usize) -> Result<Vec<(String, Rows)>, QuantError> {
    let config = GivenConfig::from_value(json!({})).and_then(|c| c.resolve(Mode::Diffusion)).map_err(QuantError::InvalidConfig)?;
    let disk = Arc::new(Control::new(CancelToken::default(), Arc::new(Silent))).disk(0);
    let source = source::open(&disk, model)?;
    let found = modality::detect(&source, None)?;
    let plan = plan::plan(&source, &config, &found, layout(config.layout))?;
    let mut list = Vec::new();
    let Some(path) = TimePath::find(&source, &plan) else { return Ok(list) };
    for (i, layer) in plan.layers.iter().enumerate() {
        let Some(inputs) = path.inputs(&source, i)? else { continue };
        for step in inputs.iter().step_by(every) {
            let shape = [step.rows, step.data.len() / step.rows];
            let bytes = step.data.iter().flat_map(|v| v.to_le_bytes()).collect();
            list.push((format!("{}@{}", layer.name, step.step), Rows { shape, bytes }));
        }
    }
    Ok(list)
}
