//! The number of threads does not change a byte.

use super::harness::{Bench, varied};
use aq_testkit::{gauss, heavy, model};
use serde_json::{Value, json};

fn same_for_all_threads(bench: &Bench, options: &Value) {
    let mut first = None;
    for threads in [1, 2, 5] {
        let mut options = options.clone();
        options["numThreads"] = json!(threads);
        let name = format!("out-{threads}");
        let report = bench.run(&name, &options).expect("the job succeeds");
        assert_eq!(report.backend.threads, threads);
        let tree = bench.tree(&name);
        assert!(tree.contains_key("arrow-quant.json"));
        let first = first.get_or_insert_with(|| tree.clone());
        for (file, bytes) in &tree {
            assert!(first.get(file) == Some(bytes), "{file} with {threads} threads, {options}");
        }
        assert_eq!(first.len(), tree.len());
    }
}

#[test]
fn at_every_width() {
    let bench = Bench::new(&varied());
    for bits in [2, 4, 8] {
        same_for_all_threads(&bench, &json!({"bitWidth": bits}));
        for threads in [1, 2, 5] {
            std::fs::remove_dir_all(bench.out(&format!("out-{threads}"))).unwrap();
        }
    }
}

#[test]
fn when_layers_are_raised() {
    // Layers that were raised are appended in the order in which they end, which depends on the threads; the file must not.
    let mut weights = varied();
    for i in 0..6 {
        weights = weights.f32(&format!("transformer_blocks.3.mlp.{i}.weight"), &[128, 128], &heavy(128, 128, 100 + i));
    }
    let bench = Bench::new(&weights);
    same_for_all_threads(&bench, &json!({"bitWidth": 2, "minAccuracy": 0.98}));
    let report = bench.json("out-1/arrow-quant.json");
    let raised = report["layers"].as_array().unwrap().iter().filter(|l| l["outcome"] == "raised").count();
    assert!(raised >= 6, "{raised}");
}

#[test]
fn over_several_shards() {
    let bench = Bench::empty();
    std::fs::create_dir(bench.model()).unwrap();
    let shard = |i: u64| {
        let name = |part: &str| format!("transformer_blocks.{i}.{part}.weight");
        let file = aq_testkit::SafetensorsFile::new().f32(&name("ff.a"), &[96, 64], &gauss(96, 64, i));
        file.f32(&name("ff.b"), &[64, 96], &heavy(64, 96, i)).f32(&name("norm"), &[7], &gauss(1, 7, i))
    };
    model::sharded_component(&bench.model(), super::harness::CLASS, &[shard(0), shard(1), shard(2)]);
    same_for_all_threads(&bench, &json!({"bitWidth": 4, "layout": "plain"}));
}
