//! Each way a job ends without an output: the right error with its data, and nothing left behind.

use super::harness::{Bench, CLASS, FILE, decoded, layer, tensors, varied, warnings, why};
use aq_core::{Phase, ScaleDtype};
use aq_engine::QuantError;
use aq_engine::error::WorkFailure;
use aq_io::error::{Defect, Missing};
use aq_testkit::{Float, SafetensorsFile, Tree, gauss, model};
use serde_json::json;

fn work(error: QuantError) -> (Option<String>, WorkFailure) {
    match error {
        QuantError::QuantizationFailed { layer, failure, .. } => (layer, failure),
        other => unreachable!("{other:?}"),
    }
}

/// A layer with a NaN at [3, 5] and an infinity at [7, 0].
fn with_holes() -> Vec<f32> {
    let mut values = gauss(8, 64, 1);
    values[3 * 64 + 5] = f32::NAN;
    values[7 * 64] = f32::NEG_INFINITY;
    values
}

#[test]
fn values_that_are_not_finite() {
    for float in Float::ALL {
        let file = SafetensorsFile::new().f32("a.weight", &[8, 64], &gauss(8, 64, 2)).floats("b.weight", float, &[8, 64], &with_holes());
        match Bench::new(&file).fails(&json!({})) {
            QuantError::NonFiniteWeights { path, tensor, index, value, count } => {
                assert!(path.ends_with(FILE) && value.is_nan());
                assert_eq!((tensor.as_str(), index, count), ("b.weight", vec![3, 5], 2), "{float:?}");
            }
            other => unreachable!("{float:?}: {other:?}"),
        }
    }
    // in a tensor that is only carried, too
    let file = SafetensorsFile::new().f32("a.weight", &[8, 64], &gauss(8, 64, 2)).f32("a.bias", &[2], &[1.0, f32::INFINITY]);
    match Bench::new(&file).fails(&json!({})) {
        QuantError::NonFiniteWeights { tensor, index, value, count, .. } => {
            assert_eq!((tensor.as_str(), index, value, count), ("a.bias", vec![1], f32::INFINITY, 1));
        }
        other => unreachable!("{other:?}"),
    }
}

#[test]
fn of_several_failures_the_first_in_the_file_is_told() {
    let mut file = SafetensorsFile::new();
    for i in 0..8 {
        file = file.f32(&format!("l{i}.weight"), &[8, 64], &if i < 3 { gauss(8, 64, i) } else { with_holes() });
    }
    let bench = Bench::new(&file);
    for threads in [1, 2, 5, 5, 5] {
        match bench.fails(&json!({"numThreads": threads})) {
            QuantError::NonFiniteWeights { tensor, .. } => assert_eq!(tensor, "l3.weight"),
            other => unreachable!("{other:?}"),
        }
    }
}

#[test]
fn values_that_are_not_finite_can_be_kept() {
    let file = SafetensorsFile::new().f32("a.weight", &[8, 64], &gauss(8, 64, 2)).f32("b.weight", &[8, 64], &with_holes());
    let bench = Bench::new(&file.f32("b.bias", &[1], &[f32::NAN]));
    let report = bench.run("out", &json!({"nonFinite": "keep"})).unwrap();
    assert_eq!(report.layers.iter().map(|l| l.name.as_str()).collect::<Vec<_>>(), ["a"]);
    assert!(why(&report, "b").contains("not finite"));
    assert_eq!(warnings(&report), ["AQ_WARN_NON_FINITE_KEPT"]);
    let (before, after) = (tensors(&bench.model().join(FILE)), tensors(&bench.out("out").join(FILE)));
    assert!(before["b.weight"] == after["b.weight"] && before["b.bias"] == after["b.bias"]);
    assert_eq!(after.len(), 5, "no scale is left of the layer that was planned");
    let config = bench.json("out/config.json");
    assert_eq!(config["quantization_config"]["modules_to_not_convert"], json!(["b.weight"]));
}

#[test]
fn scales_too_small_for_f16_are_stored_as_f32() {
    let small: Vec<f32> = gauss(8, 64, 1).iter().map(|v| v * 1e-4).collect();
    let bench = Bench::new(&SafetensorsFile::new().f32("small.weight", &[8, 64], &small).f32("usual.weight", &[8, 64], &gauss(8, 64, 2)));
    let report = bench.run("out", &json!({"bitWidth": 8})).unwrap();
    assert_eq!(layer(&report, "small").scheme.scale_dtype, ScaleDtype::F32);
    assert_eq!(layer(&report, "usual").scheme.scale_dtype, ScaleDtype::F16);
    assert_eq!(layer(&report, "small").attempts.len(), 1, "the same width, so one attempt");
    assert!(layer(&report, "small").figures.sqnr_db > 40.0);
    let tensors = tensors(&bench.out("out").join(FILE));
    assert_eq!((tensors["small.scale"].0.as_str(), tensors["usual.scale"].0.as_str()), ("F32", "F16"));
    let (before, after) = (decoded(&bench.model()), decoded(&bench.out("out")));
    let worst = before["small"].1.iter().zip(&after["small"].1).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst < 1e-7, "{worst}");
}

#[test]
fn scales_that_no_type_holds() {
    let mut values = gauss(8, 128, 1);
    (values[5 * 128 + 70], values[5 * 128 + 71]) = (3e38, -3e38);
    let bench = Bench::new(&SafetensorsFile::new().f32("a.weight", &[8, 128], &gauss(8, 128, 2)).f32("b.weight", &[8, 128], &values));
    for (bits, dtype) in [(2, "BF16"), (4, "BF16"), (8, "F32")] {
        let (layer, failure) = work(bench.fails(&json!({"bitWidth": bits, "method": "rtn"})));
        assert_eq!(layer.as_deref(), Some("b"));
        assert_eq!(failure, WorkFailure::ScaleOverflow { group: 1, dtype }, "{bits}");
    }
    // The remedy that the message names works.
    let report = bench.run("kept", &json!({"layerBitWidths": {"b": 16}})).unwrap();
    assert_eq!(report.layers.len(), 1);
}

#[test]
fn two_tensors_of_one_name() {
    let file = SafetensorsFile::new().f32("w.weight", &[8, 64], &gauss(8, 64, 1)).f32("w.scale", &[8], &gauss(1, 8, 2));
    let bench = Bench::new(&file);
    let (_, failure) = work(bench.fails(&json!({})));
    let WorkFailure::NameCollision { a, b, name } = failure else { unreachable!("{failure:?}") };
    assert_eq!(([a.as_str(), b.as_str()], name.as_str()), (["w.weight", "w.scale"], "w.scale"));
    assert!(bench.run("plain", &json!({"layout": "plain"})).is_ok(), "another layout has no such name");
}

#[test]
fn models_that_are_quantized_already() {
    let bench = Bench::new(&varied());
    bench.run("out", &json!({})).unwrap();
    let again = |model: &std::path::Path| work(bench.fails_on(model, &json!({}))).1;
    assert_eq!(again(&bench.out("out")), WorkFailure::AlreadyQuantized { scheme: "sdnq".into() });
    // without the config the tensors tell
    std::fs::write(bench.out("out").join("config.json"), format!("{{\"_class_name\": \"{CLASS}\"}}")).unwrap();
    assert!(matches!(again(&bench.out("out")), WorkFailure::AlreadyQuantized { .. }));
    let packed = SafetensorsFile::new().tensor("a.qweight", "I32", &[1, 2], [0; 8]).f32("b.weight", &[8, 64], &gauss(8, 64, 1));
    assert!(matches!(work(Bench::new(&packed).fails(&json!({}))).1, WorkFailure::AlreadyQuantized { .. }));
}

#[test]
fn nothing_to_quantize() {
    let bench = Bench::new(&SafetensorsFile::new().f32("norm.weight", &[8], &gauss(1, 8, 1)).tensor("ids", "I64", &[2, 2], [0; 32]));
    assert_eq!(work(bench.fails(&json!({}))).1, WorkFailure::NothingToQuantize { tensors: 2 });
    let bench = Bench::new(&varied());
    assert!(matches!(work(bench.fails(&json!({"skipLayers": ["*"]}))).1, WorkFailure::NothingToQuantize { .. }));
}

#[test]
fn damaged_and_missing_files() {
    let bench = Bench::new(&varied());
    let path = bench.model().join(FILE);
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
    match bench.fails(&json!({})) {
        QuantError::CorruptModel(damage) => assert_eq!((damage.path, damage.defect), (path.clone(), Defect::OffsetRange)),
        other => unreachable!("{other:?}"),
    }
    std::fs::remove_file(&path).unwrap();
    assert!(matches!(bench.fails(&json!({})), QuantError::ModelNotFound { what: Missing::Weights, .. }));
    let absent = bench.out("absent");
    assert!(matches!(bench.fails_on(&absent, &json!({})), QuantError::ModelNotFound { what: Missing::Model, .. }));
    let file = SafetensorsFile::new().tensor("w.weight", "F8_E8M0", &[2, 2], [0; 4]);
    model::component(&bench.model(), CLASS, &file);
    assert!(matches!(bench.fails(&json!({})), QuantError::UnsupportedDtype { dtype, .. } if dtype == "F8_E8M0"));
}

#[test]
fn an_existing_output_is_not_touched() {
    let bench = Bench::new(&varied());
    model::text(&bench.out("out/precious"), "kept");
    let before = bench.tree("out");
    assert!(matches!(bench.run("out", &json!({})), Err(QuantError::OutputExists { path }) if path == bench.out("out")));
    assert_eq!(bench.tree("out"), before);
    // a failure with overwrite leaves it, too
    let failed = bench.run("out", &json!({"overwrite": true, "minAccuracy": 1.0}));
    assert!(matches!(failed, Err(QuantError::ValidationFailed(_))));
    assert_eq!(bench.tree("out"), before);
    bench.run("out", &json!({"overwrite": true})).unwrap();
    bench.run("fresh", &json!({})).unwrap();
    let tree = |name: &str| -> Tree { bench.tree(name) };
    assert!(tree("out") == tree("fresh"), "what was there before has no influence");
}

#[test]
fn an_output_that_cannot_be_written() {
    let bench = Bench::new(&varied());
    model::text(&bench.out("file"), "x");
    match bench.run("file/out", &json!({})) {
        Err(QuantError::Io { op, path, .. }) => assert!(op.as_str() == "mkdir" && path.starts_with(bench.out("file"))),
        other => unreachable!("{other:?}"),
    }
}

#[test]
fn a_stop_before_the_start_touches_nothing() {
    let bench = Bench::empty();
    let cancel = aq_core::CancelToken::default();
    cancel.cancel();
    let silent = std::sync::Arc::new(aq_core::progress::Silent);
    let stopped = bench.run_watched(&bench.out("absent"), "out", &json!({}), cancel, silent);
    assert!(matches!(stopped, Err(QuantError::Cancelled { phase: Phase::Config, .. })));
}
