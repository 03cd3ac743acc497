//! Jobs with calibration: layers are judged by their output over time.

use super::harness::{Bench, layer, warnings};
use aq_core::report::{Measure, QuantizeReport};
use aq_engine::QuantError;
use aq_engine::error::{ShapeSubject, WorkFailure};
use aq_testkit::{SafetensorsFile, gauss, heavy};
use serde_json::json;
use std::path::PathBuf;

const FIRST: &str = "transformer_blocks.0.attn1.to_q";
const SECOND: &str = "transformer_blocks.1.attn1.to_q";

fn weights() -> SafetensorsFile {
    SafetensorsFile::new().f32(&format!("{FIRST}.weight"), &[64, 96], &heavy(64, 96, 1)).f32(
        &format!("{SECOND}.weight"),
        &[96, 128],
        &heavy(96, 128, 2),
    )
}

/// Rows of a layer whose direction turns over four steps.
fn rows(file: SafetensorsFile, layer: &str, inputs: usize) -> SafetensorsFile {
    [0, 250, 500, 900].iter().enumerate().fold(file, |file, (i, step)| {
        let mut data = gauss(8, inputs, 10 + i as u64);
        data.iter_mut().for_each(|v| *v *= (1 + i) as f32);
        file.f32(&format!("{layer}@{step}"), &[8, inputs], &data)
    })
}

fn header() -> SafetensorsFile {
    SafetensorsFile::new().metadata("format", "arrow-quant-calibration").metadata("version", "1").metadata("axis", "timestep")
}

fn bench(calibration: &SafetensorsFile) -> (Bench, PathBuf) {
    let bench = Bench::new(&weights());
    let path = bench.root().join("calibration.safetensors");
    std::fs::write(&path, calibration.bytes()).expect("a file can be written");
    (bench, path)
}

fn run(calibration: &SafetensorsFile, more: &serde_json::Value) -> Result<QuantizeReport, QuantError> {
    let (bench, path) = bench(calibration);
    let mut options = json!({"calibration": path, "bitWidth": 2, "protectBlocks": "none", "numTimeGroups": 3});
    for (key, value) in more.as_object().expect("an object") {
        options[key] = value.clone();
    }
    bench.run("out", &options)
}

#[test]
fn output_cosine_in_the_worst_group_judges_layers_that_have_rows() {
    let report = run(&rows(header(), FIRST, 96), &json!({})).unwrap();
    let with = layer(&report, FIRST);
    assert_eq!((with.measure, with.time_groups.len()), (Measure::Output, 3));
    let worst = with.time_groups.iter().map(|g| g.cosine).fold(1.0, f64::min);
    assert!(with.similarity == worst && worst != with.figures.cosine && worst < 1.0);
    assert_eq!(with.time_groups[0].first, 0);
    assert_eq!(with.time_groups[2].last, 900);
    let without = layer(&report, SECOND);
    assert_eq!((without.measure, without.similarity), (Measure::Weights, without.figures.cosine));
    assert!(warnings(&report).contains(&"AQ_WARN_WEIGHT_ONLY"), "{:?}", warnings(&report));
}

#[test]
fn figures_are_those_of_the_decoded_weights_and_do_not_depend_on_threads_or_blocks() {
    let (bench, path) = bench(&rows(rows(header(), FIRST, 96), SECOND, 128));
    let options = |threads, limit| json!({"calibration": path, "bitWidth": 2, "numThreads": threads, "maxMemoryLimitMb": limit});
    let one = bench.run("one", &options(1, 256)).unwrap();
    let many = bench.run("many", &options(3, 16)).unwrap();
    assert_eq!(one.layers, many.layers);
    assert!(bench.tree("one") == bench.tree("many"));
    // A naive second opinion on the first step of the first layer.
    let (_, decoded, _) = &super::harness::decoded(&bench.out("one"))[FIRST];
    let original = heavy(64, 96, 1);
    let inputs = gauss(8, 96, 10);
    let (mut yy, mut vv, mut yv) = (0.0, 0.0, 0.0);
    for x in inputs.chunks(96) {
        for (w, q) in original.chunks(96).zip(decoded.chunks(96)) {
            let dot = |a: &[f32]| a.iter().zip(x).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
            let (y, v) = (dot(w), dot(q));
            yy += y * y;
            vv += v * v;
            yv += y * v;
        }
    }
    let group = layer(&one, FIRST).time_groups[0];
    assert_eq!((group.first, group.last), (0, 0));
    assert!((group.cosine - yv / (yy.sqrt() * vv.sqrt())).abs() < 1e-6, "{}", group.cosine);
}

#[test]
fn the_gate_tells_the_group() {
    let error = run(&rows(header(), FIRST, 96), &json!({"minAccuracy": 0.9999, "failFast": true, "skipLayers": [SECOND]})).unwrap_err();
    let QuantError::ValidationFailed(q) = &error else { unreachable!("{error:?}") };
    assert_eq!((q.measure, q.layer.as_str()), (Measure::Output, FIRST));
    let sentence = error.texts().sentence;
    assert!(sentence.contains(&format!("INT2, output in time group {};", q.time_group.unwrap())), "{sentence}");
    assert!(q.advice.iter().any(|a| a == "raise calibrationSamples above 128"), "{:?}", q.advice);
}

#[test]
fn more_groups_than_steps_and_no_time() {
    let report = run(&rows(header(), FIRST, 96), &json!({"numTimeGroups": 50})).unwrap();
    assert_eq!(layer(&report, FIRST).time_groups.len(), 4);
    assert!(warnings(&report).contains(&"AQ_WARN_TIME_GROUPS"));
    let report = run(&rows(header(), FIRST, 96), &json!({"enableTimeAware": false})).unwrap();
    assert_eq!(layer(&report, FIRST).time_groups.len(), 1);
}

#[test]
fn wrong_calibration_is_told_before_anything_is_written() {
    let shape = run(&rows(header(), FIRST, 95), &json!({})).unwrap_err();
    assert!(
        matches!(&shape, QuantError::ShapeMismatch { subject: ShapeSubject::Calibration, name, expected, actual }
            if name == FIRST && expected == &[96] && actual == &[95]),
        "{shape:?}"
    );
    let stranger = run(&rows(header(), "somebody.else", 96), &json!({})).unwrap_err();
    assert!(matches!(stranger, QuantError::QuantizationFailed { failure: WorkFailure::BadCalibration { .. }, .. }), "{stranger:?}");
    let absent = run(&rows(header(), FIRST, 96), &json!({"calibration": "/nowhere/c.parquet"})).unwrap_err();
    assert!(matches!(&absent, QuantError::InvalidConfig(issues) if issues[0].path == "calibration"), "{absent:?}");
}
