//! Whole folders: pipelines, shards, outputs that are quantized again, jobs that are stopped.

use super::harness::{Bench, CLASS, FILE, decoded, layer, tensors, varied, warnings, why};
use aq_core::{CancelToken, Phase, ProgressEvent, ProgressSink};
use aq_engine::QuantError;
use aq_io::Disk;
use aq_io::source::open;
use aq_testkit::model::{pipeline, sharded_component, sharded_transformers, text};
use aq_testkit::{SafetensorsFile, gauss, heavy, snapshot};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};

fn encoder() -> SafetensorsFile {
    SafetensorsFile::new().f32("text_model.encoder.layers.0.mlp.fc1.weight", &[64, 64], &gauss(64, 64, 20))
}

fn pipe() -> Bench {
    let bench = Bench::empty();
    let vae = SafetensorsFile::new().f32("decoder.conv.weight", &[8, 64, 3, 3], &gauss(8, 576, 21));
    let parts = [
        ("transformer", "diffusers", "FluxTransformer2DModel", &varied()),
        ("text_encoder", "transformers", "CLIPTextModel", &encoder()),
        ("vae", "diffusers", "AutoencoderKL", &vae),
    ];
    pipeline(&bench.model(), "FluxPipeline", &parts);
    text(&bench.model().join("README.md"), "a card");
    varied().write(&bench.model().join("root.safetensors"));
    bench
}

#[test]
fn only_the_denoiser_of_a_pipeline_changes() {
    let bench = pipe();
    let source = snapshot(&bench.model());
    let report = bench.run("out", &json!({"bitWidth": 4})).unwrap();
    let quantized: Vec<(&str, bool)> = report.components.iter().map(|c| (c.name.as_str(), c.quantized)).collect();
    assert_eq!(quantized, [("transformer", true), ("text_encoder", false), ("vae", false)]);
    assert_eq!(
        (report.modality, report.layers[0].name.as_str()),
        ("image", "transformer_blocks.0.attn1.to_q"),
        "one component: bare names"
    );
    assert!(why(&report, "root.safetensors").contains("does not load"));
    let tree = bench.tree("out");
    let changed: Vec<&String> = tree.iter().filter(|(name, bytes)| source.get(*name) != Some(*bytes)).map(|(name, _)| name).collect();
    assert_eq!(changed, ["arrow-quant.json", "transformer/config.json", &format!("transformer/{FILE}")]);
    let gone: Vec<&String> = source.keys().filter(|name| !tree.contains_key(*name)).collect();
    assert_eq!(gone, ["root.safetensors"]);
    assert!(snapshot(&bench.model()) == source, "the source is only read");
    // Everything else of the config stays.
    let config = bench.json("out/transformer/config.json");
    assert_eq!(config["_class_name"], "FluxTransformer2DModel");
    assert_eq!(config["quantization_config"]["quant_method"], "sdnq");
    // A carried JSON is a copy: editing it does not edit the source.
    text(&bench.out("out/vae/config.json"), "edited");
    assert!(snapshot(&bench.model()) == source);
}

#[test]
fn components_by_name() {
    let bench = pipe();
    let report = bench.run("out", &json!({"components": ["vae", "text_encoder"], "skipLayers": ["vae/decoder.nothing*", "vae/*"]}));
    let Err(QuantError::InvalidConfig(issues)) = report else { unreachable!("{report:?}") };
    assert_eq!(issues[0].path, "skipLayers[0]");
    let report = bench.run("out", &json!({"components": ["vae", "text_encoder"], "layerBitWidths": {"vae/*": 8}})).unwrap();
    let names: Vec<(&str, u8)> = report.layers.iter().map(|l| (l.name.as_str(), l.scheme.bits.into())).collect();
    assert_eq!(names, [("text_encoder/text_model.encoder.layers.0.mlp.fc1", 4), ("vae/decoder.conv", 8)]);
    let decoded = decoded(&bench.out("out"));
    assert_eq!(decoded["vae/decoder.conv"].2, Some(8));
    assert_eq!(decoded["transformer/transformer_blocks.2.conv"].2, None);
    assert_eq!(bench.tree("out")[&format!("transformer/{FILE}")], std::fs::read(bench.model().join("transformer").join(FILE)).unwrap());
}

fn sharded(tied: bool) -> Bench {
    let bench = Bench::empty();
    std::fs::create_dir(bench.model()).expect("a folder can be made");
    let layer = |i: u64| {
        let name = |part: &str| format!("model.layers.{i}.{part}.weight");
        let file = SafetensorsFile::new().metadata("format", "pt").f32(&name("self_attn.q_proj"), &[64, 64], &heavy(64, 64, i));
        file.f32(&name("mlp.up_proj"), &[96, 64], &gauss(96, 64, i)).f32(&name("input_layernorm"), &[64], &gauss(1, 64, i))
    };
    let first = layer(0).f32("model.embed_tokens.weight", &[32, 64], &gauss(32, 64, 30));
    let last = if tied { layer(1) } else { layer(1).f32("lm_head.weight", &[32, 64], &gauss(32, 64, 31)) };
    sharded_transformers(&bench.model(), "LLaDAModelLM", &[first, last]);
    text(&bench.model().join("tokenizer.json"), "{}");
    bench
}

#[test]
fn shards_and_their_index() {
    let bench = sharded(false);
    let report = bench.run("out", &json!({"bitWidth": 2, "layout": "sdnq"})).unwrap();
    assert_eq!((report.modality, report.layers.len()), ("text", 4));
    let mut total = 0;
    let mut want = serde_json::Map::new();
    for i in 1..=2 {
        let file = format!("model-0000{i}-of-00002.safetensors");
        for (name, (_, _, bytes)) in tensors(&bench.out("out").join(&file)) {
            total += bytes.len();
            want.insert(name, json!(file));
        }
    }
    let index = bench.json("out/model.safetensors.index.json");
    assert_eq!((&index["weight_map"], &index["metadata"]["total_size"]), (&Value::Object(want.clone()), &json!(total)));
    assert_eq!(want["model.layers.0.mlp.up_proj.zero_point"], "model-00001-of-00002.safetensors", "one shard for one shard");
    let (before, after) = (decoded(&bench.model()), decoded(&bench.out("out")));
    assert!(before.keys().eq(after.keys()));
    let floats = &bench.json("out/config.json")["quantization_config"]["modules_to_not_convert"];
    assert_eq!(floats, &json!(["model.embed_tokens.weight", "lm_head.weight"]));
    let files = bench.json("out/arrow-quant.json");
    assert_eq!(files["files"].as_array().unwrap().len(), 2);
}

#[test]
fn a_tied_head_is_named_to_the_loader() {
    let bench = sharded(true);
    bench.run("out", &json!({"layout": "sdnq"})).unwrap();
    let floats = bench.json("out/config.json")["quantization_config"]["modules_to_not_convert"].clone();
    assert!(floats.as_array().unwrap().contains(&json!("lm_head.weight")));
}

#[test]
fn shards_of_a_component_can_be_raised_apart() {
    let bench = Bench::empty();
    std::fs::create_dir(bench.model()).unwrap();
    let shard = |i: u64| SafetensorsFile::new().f32(&format!("blocks.{}.w.weight", i + 1), &[128, 128], &heavy(128, 128, i));
    sharded_component(&bench.model(), CLASS, &[shard(0), shard(1), shard(2)]);
    let report = bench.run("out", &json!({"bitWidth": 2, "minAccuracy": 0.98})).unwrap();
    assert_eq!(warnings(&report), ["AQ_WARN_BITS_RAISED"; 3]);
    assert_eq!(decoded(&bench.out("out")).len(), 3);
    let total: u64 = open(&Disk::default(), &bench.out("out")).unwrap().components[0].tensors().map(|(_, t)| t.len).sum();
    assert_eq!(bench.json("out/diffusion_pytorch_model.safetensors.index.json")["metadata"]["total_size"], json!(total));
}

#[test]
fn a_single_file_becomes_a_folder() {
    let bench = Bench::empty();
    text(&bench.model().join("config.json"), &format!("{{\"_class_name\": \"{CLASS}\"}}"));
    for name in ["one.safetensors", "other.safetensors"] {
        varied().write(&bench.model().join(name));
    }
    bench.run_on(&bench.model().join("one.safetensors"), "out", &json!({})).unwrap();
    assert_eq!(aq_testkit::tree::names(&bench.out("out")), ["arrow-quant.json", "config.json", "one.safetensors"]);
    // without a config the description stands in a file of its own
    std::fs::remove_file(bench.model().join("config.json")).unwrap();
    bench.run_on(&bench.model().join("one.safetensors"), "bare", &json!({"modality": "image"})).unwrap();
    assert_eq!(aq_testkit::tree::names(&bench.out("bare")), ["arrow-quant.json", "one.safetensors", "quantization_config.json"]);
}

#[test]
fn plain_output_is_accepted_with_a_warning() {
    let bench = Bench::new(&varied());
    let first = bench.run("plain", &json!({"bitWidth": 4, "layout": "plain"})).unwrap();
    assert!(warnings(&first).is_empty());
    let config: Value = bench.json("plain/config.json");
    assert!(config.get("quantization_config").is_none() && config["_class_name"] == CLASS);
    let second = bench.run_on(&bench.out("plain"), "again", &json!({"bitWidth": 4})).unwrap();
    assert_eq!(warnings(&second), ["AQ_WARN_PLAIN_INPUT", "AQ_WARN_LAYOUT_WIDTH"]);
    assert!(layer(&second, "transformer_blocks.2.conv").figures.cosine > 0.99);
    assert_eq!(bench.json("again/arrow-quant.json")["layout"], "sdnq", "the manifest is that of the second job");
}

#[test]
fn options_without_effect_and_dead_jobs_are_warned_about() {
    let bench = Bench::new(&varied());
    text(&bench.out(".out.aq-partial/content/half.safetensors"), "stale");
    let report = bench.run("out", &json!({"calibrationSamples": 5, "enableSpatial": true, "bitWidth": 8})).unwrap();
    assert_eq!(warnings(&report), ["AQ_WARN_NO_EFFECT", "AQ_WARN_NO_EFFECT", "AQ_WARN_STALE_STAGING"]);
    assert!(!bench.out(".out.aq-partial").exists() && !bench.out("out/half.safetensors").exists());
}

/// Asks for the stop at some event, and remembers what it saw.
struct StopAt {
    cancel: CancelToken,
    phase: Phase,
    layers: u64,
    seen: Mutex<Vec<ProgressEvent>>,
}

impl ProgressSink for StopAt {
    fn event(&self, event: ProgressEvent) {
        if event.phase == self.phase && event.layers_done >= self.layers {
            self.cancel.cancel();
        }
        self.seen.lock().expect("no listener panics").push(event);
    }
}

fn stop_at(phase: Phase, layers: u64) -> (CancelToken, Arc<StopAt>) {
    let cancel = CancelToken::default();
    (cancel.clone(), Arc::new(StopAt { cancel, phase, layers, seen: Mutex::default() }))
}

#[test]
fn a_stopped_job_leaves_nothing() {
    let bench = Bench::new(&varied());
    text(&bench.out("old/precious"), "kept");
    for out in ["fresh", "deep/er/fresh", "old"] {
        for phase in [Phase::Config, Phase::Open, Phase::Plan, Phase::Quantize, Phase::Commit] {
            let before = snapshot(bench.root());
            let (cancel, sink) = stop_at(phase, 0);
            let stopped = bench.run_watched(&bench.model(), out, &json!({"overwrite": true}), cancel, sink.clone());
            assert!(matches!(stopped, Err(QuantError::Cancelled { phase: at, .. }) if at == phase), "{out} {phase:?}: {stopped:?}");
            assert!(snapshot(bench.root()) == before, "{out} {phase:?}");
            assert_eq!(sink.seen.lock().unwrap().last().unwrap().phase, phase, "no event after the stop");
        }
    }
}

#[test]
fn progress_never_falls_and_ends_complete() {
    let bench = Bench::new(&varied());
    let (cancel, sink) = stop_at(Phase::Calibrate, 0);
    let report = bench.run_watched(&bench.model(), "out", &json!({"bitWidth": 2, "minAccuracy": 0.98}), cancel, sink.clone()).unwrap();
    let seen = sink.seen.lock().unwrap();
    let phases: Vec<Phase> = seen.iter().map(|e| e.phase).collect();
    let mut order = phases.clone();
    order.dedup();
    assert_eq!(order, [Phase::Config, Phase::Open, Phase::Plan, Phase::Quantize, Phase::Commit]);
    assert!(
        seen.windows(2)
            .all(|w| w[0].fraction <= w[1].fraction && w[0].layers_done <= w[1].layers_done && w[0].bytes_done <= w[1].bytes_done)
    );
    let last = seen.last().unwrap();
    assert_eq!((last.layers_done, last.layers_total), (report.layers.len() as u64, report.layers.len() as u64));
    assert!((last.fraction - 1.0).abs() < 0.02 && seen.iter().all(|e| (0.0..=1.0).contains(&e.fraction) && !e.r#final), "{last:?}");
}
