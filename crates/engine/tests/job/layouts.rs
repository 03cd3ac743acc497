//! Several layouts in one job: a folder for each, all or none of them, and the same as if each had been asked for alone.

use super::harness::{Bench, decoded, varied};
use aq_core::CancelToken;
use aq_core::config::{GivenConfig, Layout};
use aq_core::progress::{ProgressEvent, ProgressSink};
use aq_engine::QuantError;
use aq_io::weights::weights;
use aq_testkit::{SafetensorsFile, gauss, heavy, snapshot};
use serde_json::{Value, json};
use std::sync::Mutex;

/// A model whose layers every layout here can pack.
fn even() -> Bench {
    let file = SafetensorsFile::new()
        .f32("blocks.0.a.weight", &[64, 256], &heavy(64, 256, 1))
        .f32("blocks.1.a.weight", &[600, 256], &heavy(600, 256, 2))
        .f32("blocks.1.b.weight", &[96, 128], &heavy(96, 128, 3))
        .f32("blocks.1.norm.weight", &[96], &gauss(1, 96, 4));
    Bench::new(&file)
}

/// Manifests without what tells when and where.
fn same_but_for_manifests(bench: &Bench, one: &str, other: &str) -> bool {
    let (mut a, mut b) = (bench.tree(one), bench.tree(other));
    for tree in [&mut a, &mut b] {
        tree.remove("arrow-quant.json");
        tree.remove("config.json");
    }
    a == b
}

#[test]
fn each_is_what_it_would_be_alone() {
    let bench = even();
    let layouts = ["sdnq", "gguf", "parquet", "plain", "compressed-tensors"];
    for (i, bits) in [2, 4, 8].into_iter().enumerate() {
        let all = format!("all{i}");
        let report = bench.run(&all, &json!({"layout": layouts, "bitWidth": bits, "minAccuracy": 0.9})).expect("the job succeeds");
        assert_eq!(report.outputs.iter().map(|o| o.layout).collect::<Vec<_>>(), layouts);
        assert_eq!((report.layout, &report.layers), ("sdnq", &report.outputs[0].layers));
        assert_eq!(report.quantized_path, bench.out(&all).to_string_lossy());
        for (layout, part) in layouts.into_iter().zip(&report.outputs) {
            let alone = format!("{layout}{i}");
            let single = bench.run(&alone, &json!({"layout": layout, "bitWidth": bits, "minAccuracy": 0.9})).expect("the job succeeds");
            let folder = format!("{all}/{layout}");
            assert!(same_but_for_manifests(&bench, &folder, &alone), "{layout} at {bits} bits");
            assert_eq!(bench.json(&format!("{folder}/config.json")), bench.json(&format!("{alone}/config.json")), "{layout}");
            let (mut of_part, mut of_single) =
                (bench.json(&format!("{folder}/arrow-quant.json")), bench.json(&format!("{alone}/arrow-quant.json")));
            for manifest in [&mut of_part, &mut of_single] {
                for figure in ["compressionRatio", "bitsPerWeight"] {
                    // Sums of the same numbers in another order.
                    let value = manifest[figure].as_f64().expect("a number");
                    manifest[figure] = json!(format!("{value:.9}"));
                }
            }
            assert_eq!(of_part, of_single, "{layout} at {bits} bits");
            assert_eq!(part.layers, single.layers, "{layout} at {bits} bits");
            assert_eq!(part.quantized_path, bench.out(&folder).to_string_lossy());
        }
    }
}

#[test]
fn the_search_is_done_once_where_schemes_are_shared() {
    #[derive(Default)]
    struct Last(Mutex<Option<ProgressEvent>>, Mutex<Vec<String>>);
    impl ProgressSink for Last {
        fn event(&self, event: ProgressEvent) {
            let phase = event.phase.as_str().to_owned();
            let mut phases = self.1.lock().expect("no panic");
            if phases.last() != Some(&phase) {
                phases.push(phase);
            }
            *self.0.lock().expect("no panic") = Some(event);
        }
    }
    let bench = even();
    let sink = std::sync::Arc::new(Last::default());
    let options = json!({"layout": ["sdnq", "plain", "gguf"]});
    bench.run_watched(&bench.model(), "out", &options, CancelToken::default(), sink.clone()).expect("the job succeeds");
    let last = sink.0.lock().unwrap().clone().expect("progress");
    assert_eq!((last.layers_done, last.layers_total), (9, 9));
    assert!(last.fraction > 0.98, "{}", last.fraction); // headers are not counted
    assert_eq!(*sink.1.lock().unwrap(), ["config", "open", "plan", "quantize", "commit"], "no phase comes back");
    // What `plain` holds are the values of the codes beside it, which an own search would find as well: only the time tells them apart.
    let (sdnq, plain) = (decoded(&bench.out("out/sdnq")), decoded(&bench.out("out/plain")));
    assert!(sdnq.iter().all(|(name, (_, values, _))| plain[name].1 == *values));
}

#[test]
fn files_are_those_of_the_model_whatever_comes_first() {
    let bench = Bench::empty();
    std::fs::create_dir(bench.model()).unwrap();
    let shard = |i: u64| SafetensorsFile::new().f32(&format!("blocks.{i}.a.weight"), &[64, 256], &heavy(64, 256, i));
    aq_testkit::model::sharded_component(&bench.model(), super::harness::CLASS, &[shard(0), shard(1)]);
    bench.run("out", &json!({"layout": ["parquet", "sdnq"]})).expect("the job succeeds");
    bench.run("alone", &json!({"layout": "sdnq"})).expect("the job succeeds");
    assert!(same_but_for_manifests(&bench, "out/sdnq", "alone"));
}

#[test]
fn all_or_none() {
    let bench = Bench::new(&varied());
    let before = snapshot(bench.root());
    // The class has no original names: nothing of `sdnq` may be left.
    let error = bench.fails(&json!({"layout": ["sdnq", "comfyui"]}));
    assert!(matches!(error, QuantError::InvalidConfig(_)));
    let error = bench.fails(&json!({"layout": ["sdnq", "gguf"], "bitWidth": 2, "minAccuracy": 1, "failFast": true}));
    assert!(matches!(error, QuantError::ValidationFailed { .. }), "{error:?}");
    assert!(snapshot(bench.root()) == before);
    bench.run("out", &json!({"layout": ["sdnq", "gguf"]})).expect("the job succeeds");
    let names: Vec<String> = std::fs::read_dir(bench.out("out")).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    assert!(names.len() == 2 && names.contains(&"sdnq".into()) && names.contains(&"gguf".into()), "{names:?}");
}

#[test]
fn options_of_one_layout_are_for_that_one() {
    let bench = even();
    let report = bench.run("out", &json!({"layout": ["sdnq", "plain"], "plainDtype": "bf16"})).expect("the job succeeds");
    assert_eq!(report.outputs[0].resolved_config["plainDtype"], Value::Null);
    assert_eq!(report.outputs[1].resolved_config["plainDtype"], "bf16");
    // Rounded once more they have another error, and the report says so.
    let single = bench.run("single", &json!({"layout": "plain", "plainDtype": "bf16"})).expect("the job succeeds");
    assert_eq!(report.outputs[1].layers, single.layers);
    let source = aq_io::source::open(&aq_io::Disk::default(), &bench.out("out/plain")).unwrap();
    assert!(
        weights(&source.components[0]).unwrap().iter().any(|w| w.tensors(&source.components[0]).all(|(_, t)| t.dtype.name() == "BF16"))
    );
    let wrong = |value: Value| GivenConfig::from_value(value).and_then(|given| given.resolve(aq_core::Mode::Diffusion)).unwrap_err();
    for value in [json!([]), json!(["sdnq", "sdnq"]), json!(["auto", "sdnq"]), json!(["sdnq", 4]), json!(["onnx"])] {
        assert_eq!(wrong(json!({"layout": value}))[0].path, "layout", "{value}");
    }
    assert_eq!(wrong(json!({"layout": ["sdnq", "gguf"], "plainDtype": "f16"}))[0].path, "plainDtype");
    assert_eq!(GivenConfig::from_value(json!({"layout": ["gguf"]})).unwrap().layouts(), Some(vec![Layout::Gguf]));
}
