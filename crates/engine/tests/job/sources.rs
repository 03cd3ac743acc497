//! Sources that a careless job would destroy or misread: outputs over models, names spread over shards, values beyond f32.

use super::harness::{Bench, CLASS, FILE, tensors};
use aq_engine::QuantError;
use aq_engine::error::WorkFailure;
use aq_testkit::{SafetensorsFile, gauss, model, snapshot};
use serde_json::json;

fn one() -> SafetensorsFile {
    SafetensorsFile::new().f32("blocks.1.w.weight", &[8, 64], &gauss(8, 64, 1))
}

fn sharded(shards: &[SafetensorsFile]) -> Bench {
    let bench = Bench::empty();
    std::fs::create_dir(bench.model()).expect("a folder can be made");
    model::sharded_component(&bench.model(), CLASS, shards);
    bench
}

#[test]
fn an_output_over_the_model_is_refused() {
    let bench = Bench::new(&one());
    let before = snapshot(bench.root());
    for out in ["model", "model/inside", "model/not/yet", "."] {
        match bench.run(out, &json!({"overwrite": true})) {
            Err(QuantError::InvalidConfig(issues)) => {
                assert_eq!((issues[0].path.as_str(), issues[0].expected.as_str()), ("outputPath", "a path apart from modelPath"), "{out}");
            }
            other => unreachable!("{out}: {other:?}"),
        }
        assert!(snapshot(bench.root()) == before, "{out}");
    }
}

#[test]
fn names_collide_across_shards() {
    let scale = SafetensorsFile::new().f32("blocks.1.w.scale", &[4], &[1.0; 4]);
    let failure = |bench: Bench| match bench.run("out", &json!({})) {
        Err(QuantError::QuantizationFailed { failure: WorkFailure::NameCollision { name, .. }, .. }) => name,
        other => unreachable!("{other:?}"),
    };
    assert_eq!(failure(sharded(&[one(), scale])), "blocks.1.w.scale");
    let both = ["blocks.2.w", "blocks.3.w"].map(|n| one().f32(&format!("{n}.weight"), &[8, 64], &gauss(8, 64, 5)));
    assert_eq!(failure(sharded(&both)), "blocks.1.w.weight");
}

#[test]
fn shards_in_subfolders_keep_their_folders() {
    let bench = Bench::empty();
    let (a, b) = (one(), SafetensorsFile::new().f32("blocks.2.w.weight", &[8, 64], &gauss(8, 64, 2)));
    for (folder, file) in [("a", &a), ("b", &b)] {
        std::fs::create_dir_all(bench.model().join(folder)).expect("a folder can be made");
        file.write(&bench.model().join(folder).join("x.safetensors"));
    }
    model::text(&bench.model().join("config.json"), &json!({"_class_name": CLASS}).to_string());
    let map = json!({"blocks.1.w.weight": "a/x.safetensors", "blocks.2.w.weight": "b/x.safetensors"});
    let index = "diffusion_pytorch_model.safetensors.index.json";
    model::text(&bench.model().join(index), &json!({"metadata": {}, "weight_map": map}).to_string());
    bench.run("out", &json!({"minAccuracy": 0})).expect("the job succeeds");
    let written = bench.json(&format!("out/{index}"));
    assert_eq!(written["weight_map"]["blocks.2.w.scale"], "b/x.safetensors");
    assert!(tensors(&bench.out("out/b/x.safetensors")).contains_key("blocks.2.w.scale"));
}

#[test]
fn doubles_beyond_single_precision_are_carried() {
    let file = one().tensor("far", "F64", &[2], [1e300f64, -1e300].iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>());
    let bench = Bench::new(&file);
    bench.run("out", &json!({"minAccuracy": 0})).expect("the job succeeds");
    assert_eq!(tensors(&bench.out("out").join(FILE))["far"].0, "F64");
    let file = one().tensor("far", "F64", &[1], f64::NAN.to_le_bytes());
    assert!(matches!(Bench::new(&file).run("out", &json!({})), Err(QuantError::NonFiniteWeights { count: 1, .. })));
}

#[test]
fn decoded_values_beyond_the_plain_type() {
    let large: Vec<f32> = gauss(8, 64, 3).iter().map(|v| v * 1e8).collect();
    let bench = Bench::new(&SafetensorsFile::new().f32("blocks.1.w.weight", &[8, 64], &large));
    match bench.run("out", &json!({"layout": "plain", "plainDtype": "f16", "minAccuracy": 0})) {
        Err(QuantError::QuantizationFailed { failure: WorkFailure::ScaleOverflow { dtype, .. }, .. }) => assert_eq!(dtype, "F16"),
        other => unreachable!("{other:?}"),
    }
}

#[test]
fn the_time_limit_ends_a_job_and_leaves_nothing() {
    let bench = Bench::new(&SafetensorsFile::new().f32("blocks.1.w.weight", &[2048, 1024], &gauss(2048, 1024, 4)));
    let before = snapshot(bench.root());
    match bench.run("out", &json!({"timeoutMs": 1})) {
        Err(QuantError::Timeout { limit_ms: 1, elapsed_ms, .. }) => assert!(elapsed_ms >= 1),
        other => unreachable!("{other:?}"),
    }
    assert!(snapshot(bench.root()) == before);
}

#[test]
fn a_read_only_config_is_written_anew_not_over_its_copy() {
    let bench = Bench::new(&one());
    let config = bench.model().join("config.json");
    let mut permissions = std::fs::metadata(&config).expect("the config is there").permissions();
    permissions.set_readonly(true);
    std::fs::set_permissions(&config, permissions).expect("permissions can be set");
    bench.run("out", &json!({"minAccuracy": 0})).expect("the job succeeds");
    let written = std::fs::metadata(bench.out("out/config.json")).expect("the config is there");
    assert!(!written.permissions().readonly(), "the source's permissions are not the output's");
    assert!(bench.json("out/config.json")["quantization_config"].is_object());
}
