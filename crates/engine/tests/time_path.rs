//! The computed time path against what was recorded while trained models sampled (`calibration.safetensors` beside them, stored as F16).
#![expect(clippy::unwrap_used, reason = "a test's own files are there")]

use aq_core::progress::Silent;
use aq_core::report::{InputOrigin, Measure, QuantizeReport};
use aq_core::{BitWidth, CancelToken, GivenConfig, Method, Mode};
use aq_engine::job::{QuantizeRequest, quantize};
use aq_engine::supervise::supervise;
use aq_engine::time_path::TimePath;
use aq_engine::tuning::Tuning;
use aq_engine::{Control, modality, plan};
use aq_io::calibration::Calibration;
use aq_io::layout::layout;
use aq_io::source;
use serde_json::json;
use std::path::Path;
use std::sync::Arc;

/// Layers whose inputs are computed, each held against every recorded step.
fn compared(model: &str) -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(model);
    let config = GivenConfig::from_value(json!({})).unwrap().resolve(Mode::Diffusion).unwrap();
    let disk = Arc::new(Control::new(CancelToken::default(), Arc::new(Silent))).disk(0);
    let source = source::open(&disk, &root).unwrap();
    let found = modality::detect(&source, None).unwrap();
    let plan = plan::plan(&source, &config, &found, layout(config.layout)).unwrap();
    let path = TimePath::find(&source, &plan).unwrap();
    let calibration = Calibration::open(&disk, &root.join("calibration.safetensors")).unwrap();
    let mut names = Vec::new();
    for (i, layer) in plan.layers.iter().enumerate() {
        let Some(computed) = path.inputs(&source, i).unwrap() else { continue };
        assert_eq!(computed.len(), 1000);
        let steps = calibration.steps(&layer.name);
        assert!(!steps.is_empty(), "{} was not recorded", layer.name);
        let (mut met, mut all) = (0, 0);
        for (s, step) in steps.iter().enumerate() {
            let mut rows = Vec::new();
            calibration.read(&layer.name, s, usize::MAX, &mut rows).unwrap();
            let (row, of_step) = (step.in_features, &computed[step.step as usize]);
            assert_eq!(of_step.step, step.step);
            for x in of_step.data.chunks_exact(row) {
                let near = |y: &[f32]| x.iter().zip(y).all(|(a, b)| (a - b).abs() <= a.abs() / 1024.0 + 2e-4);
                met += usize::from(rows.chunks_exact(row).any(near));
                all += 1;
            }
        }
        // Where labels are added, two of eleven are computed at a step, and the file holds eight of the eleven.
        let wanted = if computed[0].rows == 1 { all } else { all / 2 };
        assert!(met >= wanted, "{}: {met} of {all} rows", layer.name);
        names.push(layer.name.clone());
    }
    names
}

#[test]
fn a_unet_without_labels() {
    let names = compared("testdata/digits-unet");
    assert_eq!(names.len(), 10, "{names:?}");
    assert!(names.iter().any(|n| n == "time_embedding.linear_1") && names.iter().any(|n| n.ends_with("time_emb_proj")));
}

#[test]
fn a_dit_with_labels_in_every_block() {
    let names = compared("examples/digits-dit");
    assert_eq!(names.len(), 18, "{names:?}");
    assert!(names.iter().any(|n| n == "transformer_blocks.5.norm1.linear"));
}

/// A job on a trained model; its report and the bytes of its weights.
fn job(model: &str, weights: &str, threads: usize, tuning: Tuning) -> (QuantizeReport, Vec<u8>) {
    let dir = tempfile::tempdir().unwrap();
    let model_path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(model);
    let output_path = dir.path().join("out");
    let config = GivenConfig::from_value(json!({"numThreads": threads, "minAccuracy": 0})).unwrap();
    let request = QuantizeRequest { model_path, output_path: output_path.clone(), mode: Mode::Diffusion, config, tuning };
    let control = Arc::new(Control::new(CancelToken::default(), Arc::new(Silent)));
    let report = supervise(&control, move |control| quantize(&request, control)).unwrap();
    (report, std::fs::read(output_path.join(weights)).unwrap())
}

#[test]
fn a_job_without_calibration_knows_its_time_layers() {
    let weights = "transformer/diffusion_pytorch_model.safetensors";
    let (one, bytes) = job("examples/digits-dit", weights, 1, Tuning::default());
    let (many, same) = job("examples/digits-dit", weights, 3, Tuning::default());
    assert!(one.layers == many.layers && bytes == same);
    for layer in &one.layers {
        let modulation = layer.name.ends_with("norm1.linear");
        if modulation || layer.name.contains("timestep_embedder") {
            assert_eq!((layer.scheme.method, layer.measure), (Method::Gptq, Measure::Output), "{}", layer.name);
            assert_eq!(layer.scheme.bits, if modulation { BitWidth::Four } else { BitWidth::Eight }, "{}", layer.name);
            assert_eq!(layer.second_moments.unwrap().inputs, InputOrigin::Computed);
            assert_eq!(layer.time_groups.len(), 10);
        } else {
            assert_eq!((layer.scheme.method, layer.second_moments), (Method::Mse, None), "{}", layer.name);
        }
    }
    let (without, _) = job("examples/digits-dit", weights, 1, Tuning { time_path: false, ..Tuning::default() });
    assert!(without.layers.iter().all(|l| l.scheme.method == Method::Mse && l.measure == Measure::Weights));
}
