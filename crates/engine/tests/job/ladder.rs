//! A layer that misses the threshold climbs 2 -> 4 -> 8, always against the user's own threshold.

use super::harness::{Bench, FILE, decoded, layer, tensors, warnings};
use aq_core::BitWidth;
use aq_core::report::{Fallback, LayerOutcome};
use aq_engine::QuantError;
use aq_engine::error::QualityFailure;
use aq_testkit::{SafetensorsFile, SplitMix, heavy};
use serde_json::json;

/// Values that a width holds exactly: multiples of 2^-6 with every level in every group.
fn levels(rows: usize, cols: usize, levels: usize) -> Vec<f32> {
    let mut random = SplitMix::new(levels as u64);
    let value = |level: usize| (level as f32 - (levels / 2) as f32) / 64.0;
    (0..rows * cols).map(|i| value(if i % 64 < levels { i % 64 } else { random.below(levels) })).collect()
}

/// Passes at 2, at 4, and at 8 bits, under a threshold of 0.9999.
fn three() -> SafetensorsFile {
    SafetensorsFile::new()
        .f32("blocks.1.easy.weight", &[64, 128], &levels(64, 128, 4))
        .f32("blocks.1.middle.weight", &[64, 128], &levels(64, 128, 16))
        .f32("blocks.1.hard.weight", &[64, 128], &heavy(64, 128, 7))
        .f32("blocks.1.bias", &[5], &[1.0, 2.0, 3.0, 4.0, 5.0])
}

fn quality(error: QuantError) -> QualityFailure {
    match error {
        QuantError::ValidationFailed(failure) => *failure,
        other => unreachable!("{other:?}"),
    }
}

#[test]
fn layers_end_at_the_least_width_that_passes() {
    let bench = Bench::new(&three());
    let report = bench.run("out", &json!({"bitWidth": 2, "minAccuracy": 0.9999})).unwrap();
    for (name, widths, outcome) in [
        ("blocks.1.easy", &[2][..], LayerOutcome::Quantized),
        ("blocks.1.middle", &[2, 4], LayerOutcome::Raised),
        ("blocks.1.hard", &[2, 4, 8], LayerOutcome::Raised),
    ] {
        let layer = layer(&report, name);
        let tried: Vec<u8> = layer.attempts.iter().map(|a| a.bit_width.into()).collect();
        assert_eq!((tried, layer.outcome), (widths.to_vec(), outcome), "{name}");
        let (last, earlier) = layer.attempts.split_last().unwrap();
        assert!(last.similarity >= 0.9999 && earlier.iter().all(|a| a.similarity < 0.9999), "{name}");
        assert_eq!(layer.scheme.bits, last.bit_width);
        let raised = earlier.first().map(|first| Fallback { from: first.bit_width, to: last.bit_width });
        assert_eq!(layer.fallback, raised);
    }
    let raised: Vec<_> = report.warnings.iter().map(|w| (w.code, w.details["layer"].as_str().unwrap())).collect();
    assert_eq!(raised, [("AQ_WARN_BITS_RAISED", "blocks.1.middle"), ("AQ_WARN_BITS_RAISED", "blocks.1.hard")]);
}

#[test]
fn a_rebuilt_file_is_complete_and_described() {
    let bench = Bench::new(&three());
    bench.run("out", &json!({"bitWidth": 2, "minAccuracy": 0.9999})).unwrap();
    let tensors = tensors(&bench.out("out").join(FILE));
    assert_eq!(tensors.len(), 3 * 3 + 1);
    assert_eq!(
        tensors["blocks.1.bias"].2,
        1f32.to_le_bytes().iter().copied().chain([2f32, 3.0, 4.0, 5.0].iter().flat_map(|v| v.to_le_bytes())).collect::<Vec<_>>()
    );
    for (name, bits, codes) in [("easy", 2, 2048), ("middle", 4, 4096), ("hard", 8, 8192)] {
        assert_eq!(tensors[&format!("blocks.1.{name}.weight")].2.len(), codes);
        assert_eq!(decoded(&bench.out("out"))[&format!("blocks.1.{name}")].2, Some(bits));
    }
    let before = decoded(&bench.model());
    for name in ["blocks.1.easy", "blocks.1.middle"] {
        assert!(decoded(&bench.out("out"))[name].1 == before[name].1, "{name} is exact");
    }
    let config = &bench.json("out/config.json")["quantization_config"];
    assert_eq!(config["weights_dtype"], "uint2");
    assert_eq!(config["modules_dtype_dict"], json!({"uint4": ["blocks.1.middle.weight"], "uint8": ["blocks.1.hard.weight"]}));
    assert_eq!(config["dequantize_fp32"], true, "f16 scales need it");
    let names = aq_testkit::tree::names(&bench.out("out"));
    assert_eq!(names, ["arrow-quant.json", "config.json", FILE]);
}

#[test]
fn the_plain_layout_climbs_in_place() {
    let bench = Bench::new(&three());
    let report = bench.run("out", &json!({"bitWidth": 2, "minAccuracy": 0.9999, "layout": "plain"})).unwrap();
    assert_eq!(layer(&report, "blocks.1.hard").attempts.len(), 3);
    let (before, after) = (decoded(&bench.model()), decoded(&bench.out("out")));
    assert!(after["blocks.1.middle"].1 == before["blocks.1.middle"].1 && after["blocks.1.hard"].1 != before["blocks.1.hard"].1);
}

#[test]
fn a_layer_that_no_width_saves() {
    let bench = Bench::new(&three());
    let failure = quality(bench.fails(&json!({"bitWidth": 2, "minAccuracy": 0.999_999_99})));
    assert_eq!((failure.failed_count, failure.layer_count, failure.failed.len()), (1, 3, 1));
    assert_eq!((failure.layer.as_str(), failure.bit_width), ("blocks.1.hard", BitWidth::Eight));
    assert!((failure.threshold - 0.999_999_99).abs() < 1e-15, "the user's own");
    let tried: Vec<u8> = failure.failed[0].attempts.iter().map(|a| a.0.into()).collect();
    assert_eq!(tried, [2, 4, 8]);
    assert!(failure.similarity < 1.0 && failure.similarity > 0.999 && failure.mean_similarity > failure.similarity);
    assert!(!failure.advice.iter().any(|a| a.contains("raise bitWidth")), "8 bits cannot be raised: {:?}", failure.advice);
}

#[test]
fn fail_fast_ends_with_the_first_failing_layer() {
    let bench = Bench::new(&three().f32("blocks.1.last.weight", &[64, 128], &heavy(64, 128, 8)));
    for threads in [1, 5] {
        let options = json!({"bitWidth": 2, "minAccuracy": 0.9999, "failFast": true, "numThreads": threads});
        let failure = quality(bench.fails(&options));
        assert_eq!((failure.layer.as_str(), failure.bit_width), ("blocks.1.middle", BitWidth::Two));
        assert_eq!((failure.failed_count, failure.layer_count), (1, 4));
        assert_eq!(failure.failed[0].attempts.len(), 1);
        assert!(failure.advice.iter().any(|a| a.contains("failFast: false")));
    }
}

#[test]
fn pinned_widths_are_tried_alone() {
    let bench = Bench::new(&three());
    let options = json!({"bitWidth": 2, "minAccuracy": 0.9999, "layerBitWidths": {"blocks.1.hard": 4}});
    let failure = quality(bench.fails(&options));
    assert_eq!((failure.layer.as_str(), failure.failed.len()), ("blocks.1.hard", 1));
    assert_eq!(failure.failed[0].attempts.iter().map(|a| a.0).collect::<Vec<_>>(), [BitWidth::Four]);
    let options = json!({"bitWidth": 2, "minAccuracy": 0.9999, "layerBitWidths": {"blocks.1.hard": 8, "*.middle": 8}});
    let report = bench.run("out", &options).unwrap();
    assert!(warnings(&report).is_empty() && layer(&report, "blocks.1.middle").outcome == LayerOutcome::Quantized);
}

#[test]
fn the_default_gate_follows_the_width() {
    let bench = Bench::new(&three());
    let config = aq_core::GivenConfig::from_value(json!({"bitWidth": 2})).unwrap();
    let request = aq_engine::job::QuantizeRequest {
        model_path: bench.model(),
        output_path: bench.out("out"),
        mode: aq_core::Mode::Diffusion,
        config,
        tuning: aq_engine::tuning::Tuning::default(),
    };
    let control =
        std::sync::Arc::new(aq_engine::Control::new(aq_core::CancelToken::default(), std::sync::Arc::new(aq_core::progress::Silent)));
    let report = aq_engine::job::quantize(&request, &control).unwrap();
    assert_eq!(report.resolved_config["minAccuracy"], json!(0.9));
    for layer in &report.layers {
        assert!(layer.figures.cosine >= 0.9, "{}", layer.name);
    }
}
