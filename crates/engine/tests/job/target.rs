//! Jobs with a target size: which width they take, what the rest buys, and that the plan says the truth.

use super::harness::{Bench, layer, warnings};
use aq_core::BitWidth;
use aq_core::report::{LayerOutcome, QuantizeReport, TargetReport};
use aq_engine::QuantError;
use aq_engine::error::WorkFailure;
use aq_testkit::{SafetensorsFile, heavy};
use serde_json::{Value, json};

const BLOCKS: u64 = 6;

/// Blocks of two layers, the later the larger their outliers, and a first and last layer that stay in float.
fn weights() -> SafetensorsFile {
    let file =
        SafetensorsFile::new().f32("proj_in.weight", &[64, 64], &heavy(64, 64, 90)).f32("proj_out.weight", &[64, 64], &heavy(64, 64, 91));
    (0..BLOCKS).fold(file, |file, i| {
        let name = |layer: &str| format!("transformer_blocks.{i}.{layer}.weight");
        let mut wide = heavy(128, 64, 2 * i);
        wide.iter_mut().step_by(97).for_each(|v| *v *= (i + 1) as f32);
        file.f32(&name("attn1.to_q"), &[64, 64], &heavy(64, 64, 2 * i + 1)).f32(&name("ff.net.2"), &[128, 64], &wide)
    })
}

fn run(bench: &Bench, out: &str, options: &Value) -> (QuantizeReport, TargetReport) {
    let report = bench.run(out, options).expect("it fits");
    let target = report.target.clone().expect("there is a target");
    assert!(target.planned_mb <= target.target_mb && target.base_mb <= target.planned_mb);
    assert!((target.planned_mb - report.model_size_mb).abs() < 1e-9, "{} {}", target.planned_mb, report.model_size_mb);
    (report, target)
}

/// The size of a job at one width.
fn size(bench: &Bench, bits: u64) -> f64 {
    let out = format!("at-{bits}");
    bench.run(&out, &json!({"bitWidth": bits})).expect("a job").model_size_mb
}

#[test]
fn the_largest_width_that_fits_is_taken() {
    let bench = Bench::new(&weights());
    let sizes = [2, 4, 8].map(|bits| size(&bench, bits));
    for (bits, size) in [2, 4, 8].into_iter().zip(sizes) {
        let (report, target) = run(&bench, &format!("target-{bits}"), &json!({"targetModelSizeMb": size + 1e-5}));
        assert_eq!(u64::from(report.bit_width.bits()), bits);
        assert!(target.steps.is_empty() && target.bit_width == report.bit_width);
        assert_eq!(report.resolved_config["bitWidth"], bits);
        // The same as without a target, byte for byte but for the manifest.
        let of = |out: &str| std::fs::read(bench.out(out).join(super::harness::FILE)).unwrap();
        assert!(of(&format!("target-{bits}")) == of(&format!("at-{bits}")));
    }
    // What minAccuracy is by default follows the width.
    let (two, _) = run(&bench, "two", &json!({"targetModelSizeMb": sizes[0] + 1e-5, "minAccuracy": 0.5}));
    assert_eq!(two.resolved_config["minAccuracy"], 0.5);
}

#[test]
fn what_cannot_be_reached_is_refused_before_anything_is_written() {
    let bench = Bench::new(&weights());
    for options in [json!({"targetModelSizeMb": 0.0001}), json!({"targetModelSizeMb": size(&bench, 4) - 1e-3, "bitWidth": 4})] {
        let error = bench.run("out", &options).unwrap_err();
        let message = error.texts().message();
        let QuantError::QuantizationFailed { failure: WorkFailure::TargetUnreachable { smallest, target }, .. } = error else {
            unreachable!("{error:?}")
        };
        assert!(smallest > target && message.contains("the smallest plan is") && message.contains("raise targetModelSizeMb"), "{message}");
        assert!(!bench.out("out").exists() && !bench.root().join(".out.aq-partial").exists());
    }
}

#[test]
fn the_rest_raises_whole_blocks_the_first_one_first() {
    let bench = Bench::new(&weights());
    let budget = f64::midpoint(size(&bench, 2), size(&bench, 4));
    let options = json!({"targetModelSizeMb": budget, "enableMixedPrecision": true});
    let (report, target) = run(&bench, "out", &options);
    let steps: Vec<(&str, u32, u32)> = target.steps.iter().map(|s| (s.block.as_str(), s.from.bits(), s.to.bits())).collect();
    assert_eq!(steps[0], ("transformer_blocks.0", 2, 4));
    assert!(steps.len() > 2 && target.steps[0].why == "the first-block rule" && target.steps[0].error.is_none(), "{steps:?}");
    for step in &target.steps {
        assert!(step.layers == 2 && step.cost_mb > 0.0);
        if let Some([before, after]) = step.error {
            assert!(after < before, "{step:?}");
        }
    }
    // By what the error falls: blocks of one size, so by the error itself.
    let falls: Vec<f64> = target.steps.iter().filter(|s| s.from == BitWidth::Two).filter_map(|s| s.error.map(|e| e[0] - e[1])).collect();
    assert!(falls.len() > 1 && falls.windows(2).all(|f| f[0] >= f[1]), "{falls:?}");
    for step in &target.steps {
        let last = target.steps.iter().rfind(|s| s.block == step.block).expect("this one at least");
        for name in ["attn1.to_q", "ff.net.2"] {
            assert_eq!(layer(&report, &format!("{}.{name}", step.block)).scheme.bits, last.to);
        }
    }
    let manifest = bench.json("out/arrow-quant.json");
    assert_eq!(manifest["target"]["steps"].as_array().map(Vec::len), Some(steps.len()));
    // Whatever the threads.
    let threads = |n: u64| json!({"targetModelSizeMb": budget, "enableMixedPrecision": true, "numThreads": n});
    assert_eq!(run(&bench, "one", &threads(1)).1, target);
    bench.run("three", &threads(3)).unwrap();
    assert!(bench.tree("one") == bench.tree("three"));
}

#[test]
fn what_the_user_says_of_layers_and_blocks_holds() {
    let bench = Bench::new(&weights());
    let budget = size(&bench, 4) + 0.04; // a skipped block stays in float
    let options = json!({
        "targetModelSizeMb": budget, "enableMixedPrecision": true, "bitWidth": 2, "protectBlocks": "none",
        "layerBitWidths": {"transformer_blocks.0.attn1.to_q": 2}, "skipLayers": ["transformer_blocks.1.*"],
    });
    let (report, target) = run(&bench, "out", &options);
    assert!(target.steps.iter().all(|s| s.why != "the first-block rule"), "{:?}", target.steps);
    assert_eq!(layer(&report, "transformer_blocks.0.attn1.to_q").scheme.bits, BitWidth::Two);
    assert!(target.steps.iter().all(|s| s.block != "transformer_blocks.1"));
    assert!(target.steps.iter().all(|s| s.block != "transformer_blocks.0" || s.layers == 1));
}

#[test]
fn layers_raised_by_the_gate_may_pass_the_target_and_that_is_told() {
    let bench = Bench::new(&weights());
    let options = json!({"targetModelSizeMb": size(&bench, 2) + 1e-5, "minAccuracy": 0.99});
    let report = bench.run("out", &options).unwrap();
    assert!(report.layers.iter().any(|l| l.outcome == LayerOutcome::Raised));
    assert!(report.model_size_mb > report.target.as_ref().unwrap().target_mb);
    assert!(warnings(&report).contains(&"AQ_WARN_TARGET_EXCEEDED"), "{:?}", warnings(&report));
    let alone = bench.run("alone", &json!({"enableMixedPrecision": true})).unwrap();
    assert!(warnings(&alone).contains(&"AQ_WARN_NO_EFFECT") && alone.target.is_none());
}
