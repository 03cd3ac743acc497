//! The Parquet archive as a layout: the same codes as elsewhere, to and fro without a change.

use super::export::run;
use super::harness::{Bench, decoded, layer, varied};
use aq_core::config::Layout;
use aq_engine::QuantError;
use aq_engine::error::WorkFailure;
use aq_io::Disk;
use aq_io::source::{Source, open};
use aq_testkit::{GgufFile, heavy};
use serde_json::json;
use std::collections::BTreeMap;

const FILE: &str = "model.arrow-quant.parquet";

fn source(bench: &Bench, out: &str) -> Source {
    open(&Disk::default(), &bench.out(out)).expect("the output is a model")
}

/// The bytes of every column of bytes, by tensor.
fn bytes(bench: &Bench, out: &str) -> BTreeMap<String, Vec<u8>> {
    let source = source(bench, out);
    let shard = &source.components[0].shards[0];
    let read = |t: &aq_io::TensorInfo| {
        let mut bytes = vec![0; t.len as usize];
        shard.read_tensor(t, &mut bytes, 0).expect("a sound file");
        (t.name.clone(), bytes)
    };
    shard.header.tensors.iter().map(read).collect()
}

#[test]
fn there_and_back_with_sdnq_nothing_changes() {
    let bench = Bench::new(&varied());
    for (i, options) in [json!({"bitWidth": 2}), json!({"bitWidth": 4, "symmetric": true}), json!({"bitWidth": 8})].iter().enumerate() {
        let name = |what: &str| format!("{what}{i}");
        let with = |layout: &str| {
            let mut options = options.clone();
            options["layout"] = json!(layout);
            options["groupSize"] = json!(32);
            options["skipLayers"] = json!(["transformer_blocks.2.odd"]); // which sdnq has no 2 bits for
            options
        };
        let report = bench.run(&name("sdnq"), &with("sdnq")).expect("the job succeeds");
        let archived = bench.run(&name("parquet"), &with("parquet")).expect("the job succeeds");
        assert!(report.layers.iter().zip(&archived.layers).all(|(a, b)| (a.figures, a.scheme.bits) == (b.figures, b.scheme.bits)));
        assert!(archived.layers.iter().zip(&report.layers).all(|(a, b)| (a.bits_per_weight - b.bits_per_weight).abs() < 1e-12));
        run(&bench, &name("sdnq"), &name("a"), Layout::Parquet).expect("the codes fit");
        run(&bench, &name("a"), &name("b"), Layout::Sdnq).expect("the codes fit");
        run(&bench, &name("parquet"), &name("c"), Layout::Sdnq).expect("the codes fit");
        run(&bench, &name("c"), &name("d"), Layout::Parquet).expect("the codes fit");
        assert!(bytes(&bench, &name("parquet")) == bytes(&bench, &name("a")));
        assert!(bytes(&bench, &name("parquet")) == bytes(&bench, &name("d")));
        for back in ["b", "c"] {
            let (mut one, mut other) = (bench.tree(&name("sdnq")), bench.tree(&name(back)));
            for tree in [&mut one, &mut other] {
                tree.remove("arrow-quant.json");
                tree.remove("config.json");
            }
            assert!(one == other, "{back} {options}");
            let config = |out: &str| bench.json(&format!("{}/config.json", name(out)));
            assert_eq!(config("sdnq"), config(back));
        }
        assert!(decoded(&bench.out(&name("sdnq"))) == decoded(&bench.out(&name("parquet"))));
        assert!(!bench.json(&format!("{}/config.json", name("parquet"))).as_object().unwrap().contains_key("quantization_config"));
    }
}

#[test]
fn groups_of_one_rule_only_are_for_one_size() {
    // Groups of 50 and of 48 follow from no size that is asked for: the loader of `sdnq` could find only one of them.
    let bench = Bench::empty();
    let file = aq_testkit::SafetensorsFile::new()
        .f32("blocks.1.a.weight", &[64, 100], &heavy(64, 100, 1))
        .f32("blocks.1.b.weight", &[64, 192], &heavy(64, 192, 2))
        .f32("blocks.1.c.weight", &[64, 96], &heavy(64, 96, 3));
    std::fs::create_dir(bench.model()).unwrap();
    aq_testkit::model::component(&bench.model(), super::harness::CLASS, &file);
    bench.run("out", &json!({"layout": "parquet", "groupSize": 64})).expect("the job succeeds");
    run(&bench, "out", "back", Layout::Sdnq).expect("64 makes 50, 64 and 96 of these");
    assert!(decoded(&bench.out("out")) == decoded(&bench.out("back")));
    assert_eq!(bench.json("back/config.json")["quantization_config"]["group_size"], 64);
}

#[test]
fn raised_layers_and_resumed_jobs() {
    let bench = Bench::new(&varied());
    let options = json!({"layout": "parquet", "bitWidth": 2, "minAccuracy": 0.99});
    let report = bench.run("out", &options).expect("the job succeeds");
    assert!(report.layers.iter().any(|l| l.fallback.is_some()), "a width was raised");
    assert_eq!(decoded(&bench.out("out")).len(), report.layers.len() + floats(&bench));
    let one = bench.run("one", &json!({"layout": "parquet", "bitWidth": 2, "minAccuracy": 0.99, "numThreads": 1})).unwrap();
    assert!(bench.tree("out")[FILE] == bench.tree("one")[FILE], "bytes depend on the number of threads");
    assert_eq!(layer(&report, "transformer_blocks.1.attn1.to_q").attempts, layer(&one, "transformer_blocks.1.attn1.to_q").attempts);
}

/// Weights that stay in float.
fn floats(bench: &Bench) -> usize {
    decoded(&bench.out("out")).values().filter(|(_, _, bits)| bits.is_none()).count()
}

#[test]
fn a_gguf_file_is_refused() {
    let bench = Bench::empty();
    let path = bench.out("model.gguf");
    GgufFile::new().text("general.architecture", "llada").f32("blk.0.attn_q.weight", &[64, 256], &heavy(64, 256, 1)).write(&path);
    let error = bench.fails_on(&path, &json!({"layout": "parquet", "modality": "text"}));
    assert!(matches!(error, QuantError::InvalidConfig(issues) if issues[0].path == "layout"));
}

#[test]
fn quantizing_what_an_archive_holds_is_refused() {
    let bench = Bench::new(&varied());
    bench.run("out", &json!({"layout": "parquet"})).expect("the job succeeds");
    let error = bench.fails_on(&bench.out("out"), &json!({}));
    let failure = match &error {
        QuantError::QuantizationFailed { failure, .. } => failure,
        other => unreachable!("{other:?}"),
    };
    assert!(matches!(failure, WorkFailure::AlreadyQuantized { scheme } if scheme == "a Parquet archive of arrow-quant"));
}
