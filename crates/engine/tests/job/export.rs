//! Codes under other names: nothing is rounded twice.

use super::harness::{Bench, decoded, tensors, varied};
use aq_core::CancelToken;
use aq_core::config::{Layout, PlainDtype};
use aq_core::progress::Silent;
use aq_engine::error::WorkFailure;
use aq_engine::export::{ExportReport, ExportRequest, export};
use aq_engine::supervise::supervise;
use aq_engine::{Control, QuantError};
use aq_testkit::model::{sharded_transformers, text};
use aq_testkit::{SafetensorsFile, gauss, heavy, snapshot};
use serde_json::{Value, json};
use std::sync::Arc;

pub fn run(bench: &Bench, from: &str, to: &str, layout: Layout) -> Result<ExportReport, QuantError> {
    let (from, to) = (bench.root().join(from), bench.out(to));
    let request = ExportRequest { from, to, layout, plain_dtype: None, overwrite: false, num_threads: 2 };
    let control = Arc::new(Control::new(CancelToken::default(), Arc::new(Silent)));
    supervise(&control, move |control| export(&request, control))
}

pub fn refused(bench: &Bench, from: &str, layout: Layout) -> WorkFailure {
    let before = snapshot(bench.root());
    let error = run(bench, from, "not/made", layout).expect_err("it cannot be carried");
    assert!(snapshot(bench.root()) == before, "nothing is left behind by {error:?}");
    match error {
        QuantError::QuantizationFailed { failure, .. } => failure,
        other => unreachable!("{other:?}"),
    }
}

fn language_model() -> Bench {
    let bench = Bench::empty();
    std::fs::create_dir(bench.model()).expect("a folder can be made");
    let file = |i: u64| {
        SafetensorsFile::new().f32(&format!("model.layers.{i}.self_attn.q_proj.weight"), &[24, 192], &heavy(24, 192, i)).f32(
            &format!("model.layers.{i}.norm.weight"),
            &[64],
            &gauss(1, 64, i),
        )
    };
    let first = file(1).f32("model.embed_tokens.weight", &[32, 64], &gauss(32, 64, 3));
    sharded_transformers(&bench.model(), "LLaDAModelLM", &[first, file(2)]);
    text(&bench.model().join("tokenizer.json"), "{}");
    bench
}

#[test]
fn there_and_back_the_files_are_the_same() {
    let bench = language_model();
    for bits in [2, 4, 8] {
        let [a, b, c] = ["sdnq", "ct", "back"].map(|n| format!("{n}{bits}"));
        bench.run(&a, &json!({"layout": "sdnq", "bitWidth": bits, "symmetric": true, "enableSpatial": false})).expect("the job succeeds");
        run(&bench, &a, &b, Layout::CompressedTensors).expect("the codes fit");
        assert!(decoded(&bench.out(&a)) == decoded(&bench.out(&b)));
        run(&bench, &b, &c, Layout::Sdnq).expect("the codes fit");
        let (mut before, mut after) = (bench.tree(&a), bench.tree(&c));
        // Two manifests: that of the export says nothing else but the same.
        assert_eq!(bench.json(&format!("{a}/arrow-quant.json")), bench.json(&format!("{c}/arrow-quant.json")));
        before.remove("arrow-quant.json");
        after.remove("arrow-quant.json");
        // Which keys stand first in a config is no matter.
        for tree in [&mut before, &mut after] {
            tree.remove("config.json");
        }
        assert!(before == after, "{bits} bits");
        assert_eq!(bench.json(&format!("{a}/config.json")), bench.json(&format!("{c}/config.json")));
        let manifest = bench.json(&format!("{b}/arrow-quant.json"));
        assert_eq!(manifest["layout"], "compressed-tensors");
        assert_eq!(manifest["layers"], bench.json(&format!("{a}/arrow-quant.json"))["layers"]);
    }
}

#[test]
fn values_of_every_layout_in_plain() {
    let bench = Bench::new(&varied());
    for layout in ["sdnq", "gguf", "compressed-tensors"] {
        bench.run(layout, &json!({"layout": layout, "groupSize": 32})).expect("the job succeeds");
        let plain = format!("{layout}-plain");
        run(&bench, layout, &plain, Layout::Plain).expect("every layout has values");
        let config = bench.json(&format!("{plain}/config.json"));
        assert!(config.get("quantization_config").is_none());
        let (from, to) = (decoded(&bench.out(layout)), decoded(&bench.out(&plain)));
        assert!(from.keys().eq(to.keys()));
        for (name, (shape, values, _)) in &from {
            assert!((shape, values) == (&to[name].0, &to[name].1), "{layout}: {name}");
        }
    }
    assert!(bench.tree("gguf-plain").contains_key(super::harness::FILE));
    let file = tensors(&bench.out("sdnq-plain").join(super::harness::FILE));
    assert!(file.keys().all(|n| !n.ends_with(".scale") && !n.ends_with(".zero_point")));
    assert_eq!(file["position_ids"].2, [7; 24]);
}

#[test]
fn element_types_of_plain() {
    let bench = Bench::new(&varied());
    bench.run("sdnq", &json!({})).expect("the job succeeds");
    for (dtype, name) in [(PlainDtype::F16, "F16"), (PlainDtype::Bf16, "BF16"), (PlainDtype::Source, "F32")] {
        let (from, to) = (bench.out("sdnq"), bench.out(name));
        let request = ExportRequest { from, to, layout: Layout::Plain, plain_dtype: Some(dtype), overwrite: false, num_threads: 1 };
        let control = Arc::new(Control::new(CancelToken::default(), Arc::new(Silent)));
        supervise(&control, move |control| export(&request, control)).expect("the codes have values");
        let file = tensors(&bench.out(name).join(super::harness::FILE));
        assert_eq!(file["transformer_blocks.1.attn1.to_q.weight"].0, name);
        assert_eq!(file["transformer_blocks.1.attn1.to_q.bias"].0, "F32", "what was no code is as it was");
    }
}

#[test]
fn what_would_round_twice_is_refused() {
    let bench = language_model();
    bench.run("asymmetric", &json!({"layout": "sdnq"})).expect("the job succeeds");
    bench.run("gguf", &json!({"layout": "gguf"})).expect("the job succeeds");
    bench.run("plain", &json!({"layout": "plain"})).expect("the job succeeds");
    let why = |failure: WorkFailure| match failure {
        WorkFailure::WouldRound { why, .. } => why,
        other => unreachable!("{other:?}"),
    };
    assert_eq!(why(refused(&bench, "asymmetric", Layout::CompressedTensors)), "its zeros are floats, the layout's are whole numbers");
    assert_eq!(why(refused(&bench, "asymmetric", Layout::Gguf)), "it has grouped integers, the layout Q4_1");
    assert_eq!(why(refused(&bench, "gguf", Layout::Sdnq)), "it has Q4_1, the layout grouped integers");
    assert!(matches!(refused(&bench, "plain", Layout::Sdnq), WorkFailure::NotQuantized));
    assert!(matches!(refused(&bench, "model", Layout::Plain), WorkFailure::NotQuantized));
}

#[test]
fn a_model_that_others_made_has_no_report() {
    let bench = language_model();
    bench.run("ct", &json!({})).expect("the job succeeds");
    std::fs::remove_file(bench.out("ct").join("arrow-quant.json")).expect("the manifest is there");
    let report = run(&bench, "ct", "plain", Layout::Plain).expect("the codes have values");
    let report = serde_json::to_value(&report).expect("a report is JSON");
    assert_eq!((&report["report"], &report["layers"], &report["layout"]), (&Value::Null, &json!(2), &json!("plain")));
    assert_eq!(bench.json("plain/arrow-quant.json")["layout"], "plain");
}
