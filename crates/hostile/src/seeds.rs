//! Sound files: made by the testkit where it can, by a job of ours where the format is ours, and by others where they were recorded.

use aq_core::progress::Silent;
use aq_core::{CancelToken, GivenConfig, Mode};
use aq_engine::Control;
use aq_engine::job::{QuantizeRequest, quantize};
use aq_engine::tuning::Tuning;
use aq_testkit::{GgufFile, SafetensorsFile, gauss, model};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A class whose layers are known, with a time path.
pub const CLASS: &str = "DiTTransformer2DModel";

/// A few small layers.
pub fn weights() -> SafetensorsFile {
    SafetensorsFile::new()
        .metadata("format", "pt")
        .f32("transformer_blocks.0.attn1.to_q.weight", &[16, 32], &gauss(16, 32, 1))
        .f32("transformer_blocks.1.attn1.to_q.weight", &[8, 64], &gauss(8, 64, 2))
        .f32("transformer_blocks.1.attn1.to_q.bias", &[8], &gauss(1, 8, 3))
        .f32("proj_out.weight", &[4, 32], &gauss(4, 32, 4))
}

/// A folder of it.
pub fn write_model(folder: &Path) {
    std::fs::create_dir_all(folder).expect("a folder can be made");
    model::component(folder, CLASS, &weights());
}

/// What a job writes with some options, by its name in the output.
fn written(options: &Value, name: &str) -> Vec<u8> {
    let folder = tempfile::TempDir::new().expect("a temporary folder");
    write_model(&folder.path().join("model"));
    let mut config = json!({"minAccuracy": 0, "numThreads": 1, "protectBlocks": "none"});
    options.as_object().into_iter().flatten().for_each(|(key, value)| config[key] = value.clone());
    let request = QuantizeRequest {
        model_path: folder.path().join("model"),
        output_path: folder.path().join("out"),
        mode: Mode::Diffusion,
        config: GivenConfig::from_value(config).expect("the options are right"),
        tuning: Tuning::default(),
    };
    quantize(&request, &control()).expect("the job succeeds");
    read(&folder.path().join("out").join(name))
}

/// A job that nobody watches.
pub fn control() -> Arc<Control> {
    Arc::new(Control::new(CancelToken::default(), Arc::new(Silent)))
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|e| unreachable!("{}: {e}", path.display()))
}

pub fn safetensors() -> Vec<Vec<u8>> {
    let name = "diffusion_pytorch_model.safetensors";
    let half = SafetensorsFile::new().tensor("b", "F16", &[4], [0x3c; 8]).tensor("c", "U8", &[5], [1, 2, 3, 4, 5]);
    vec![weights().bytes(), half.bytes(), written(&json!({"bitWidth": 4}), name), written(&json!({"layout": "compressed-tensors"}), name)]
}

pub fn gguf() -> Vec<Vec<u8>> {
    let block = |bytes: usize| (0..bytes).map(|i| (i * 37 % 251) as u8).collect::<Vec<_>>();
    let file = GgufFile::new()
        .text("general.architecture", "llada")
        .tensor("blk.0.attn_q.weight", 12, &[2, 256], &block(288))
        .tensor("blk.0.attn_k.weight", 8, &[4, 32], &block(136))
        .tensor("output_norm.weight", 0, &[8], &block(32));
    vec![file.bytes(), written(&json!({"layout": "gguf"}), "diffusion_pytorch_model.gguf")]
}

pub fn archive() -> Vec<Vec<u8>> {
    vec![written(&json!({"layout": "parquet"}), "model.arrow-quant.parquet")]
}

pub fn share() -> Vec<Vec<u8>> {
    vec![written(&json!({"partition": "1/1"}), "arrow-quant-share.jsonl")]
}

pub fn index() -> Vec<Vec<u8>> {
    let map = json!({"a.weight": "model-00001-of-00002.safetensors", "b.weight": "model-00002-of-00002.safetensors"});
    vec![json!({"metadata": {"total_size": 64}, "weight_map": map}).to_string().into_bytes()]
}

pub fn config() -> Vec<Vec<u8>> {
    let quantized = json!({"quant_method": "sdnq", "weights_dtype": "uint4", "group_size": 64, "modules_to_not_convert": ["proj_out"]});
    [
        json!({"_class_name": CLASS, "norm_type": "ada_norm_zero", "num_layers": 2, "sample_size": [8, 8]}),
        json!({"_class_name": CLASS, "quantization_config": quantized}),
        json!({"architectures": ["LLaDAModelLM"], "model_type": "llada", "modality": "text"}),
    ]
    .iter()
    .map(|v| v.to_string().into_bytes())
    .collect()
}

pub fn pipeline() -> Vec<Vec<u8>> {
    let value = json!({"_class_name": "DiTPipeline", "transformer": ["diffusers", CLASS], "vae": [null, null], "text": ["x", "../y"]});
    vec![value.to_string().into_bytes()]
}

fn recorded(name: &str) -> Vec<u8> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../testdata/calibration");
    read(&folder.join(name))
}

pub fn calibration_parquet() -> Vec<Vec<u8>> {
    vec![recorded("pyarrow.parquet")]
}

pub fn calibration_arrow() -> Vec<Vec<u8>> {
    vec![recorded("pyarrow.arrow")]
}

pub fn calibration_lines() -> Vec<Vec<u8>> {
    let line =
        |layer: &str, step: i32| json!({"layer": layer, "timestep": step, "shape": [2, 2], "data": [0.5, -1.25, 2.0, 3.0]}).to_string();
    let weighted =
        json!({"layer": "a", "timestep": 3, "shape": [1, 4], "data": [1.0, 2.0, 3.0, 4.0], "weight": 2.5, "more": null}).to_string();
    vec![[line("a", 0), line("a", 500), line("b", 500)].join("\n").into_bytes(), weighted.into_bytes()]
}

pub fn calibration_tensors() -> Vec<Vec<u8>> {
    let header = SafetensorsFile::new().metadata("format", "arrow-quant-calibration").metadata("version", "1").metadata("axis", "timestep");
    vec![header.f32("a@0", &[2, 4], &gauss(2, 4, 1)).f32("a@500", &[2, 4], &gauss(2, 4, 2)).bytes()]
}
