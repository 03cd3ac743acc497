//! What the user says of single layers: skip, keep, a width of its own.

use super::harness::{Bench, FILE, layer, tensors, varied, why};
use aq_core::error::{ConfigIssue, ErrorCode};
use aq_engine::QuantError;
use serde_json::{Value, json};

fn issues(error: QuantError) -> Vec<ConfigIssue> {
    match error {
        QuantError::InvalidConfig(issues) => issues,
        other => unreachable!("{other:?}"),
    }
}

/// Names that the loader must leave alone.
fn floats(bench: &Bench, out: &str) -> Vec<String> {
    let config = bench.json(&format!("{out}/config.json"));
    let list = config["quantization_config"]["modules_to_not_convert"].as_array().expect("the list is there");
    list.iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// The tensor in the output has the bytes it had in the source, and nothing stands beside it.
fn untouched(bench: &Bench, out: &str, module: &str) {
    let (before, after) = (tensors(&bench.model().join(FILE)), tensors(&bench.out(out).join(FILE)));
    let name = format!("{module}.weight");
    assert!(before[&name] == after[&name], "{name}");
    assert!(!after.contains_key(&format!("{module}.scale")), "{module}");
    assert!(floats(bench, out).contains(&name), "the loader is told of {name}");
}

#[test]
fn skipped_layers_stay_as_they_are() {
    let bench = Bench::new(&varied());
    let options = json!({"skipLayers": ["*.attn1.*", "transformer_blocks.2.conv.weight"]});
    let report = bench.run("out", &options).unwrap();
    for name in ["transformer_blocks.0.attn1.to_q", "transformer_blocks.1.attn1.to_q", "transformer_blocks.2.conv"] {
        assert!(why(&report, name).contains("skipLayers"), "{}", why(&report, name));
        untouched(&bench, "out", name);
    }
    assert_eq!(report.layers.len(), 3);
    // everything else that is a matrix in float is named to the loader too, and nothing more
    assert_eq!(floats(&bench, "out").len(), 5);
    untouched(&bench, "out", "proj_out");
    untouched(&bench, "out", "pos_embed.proj");
}

#[test]
fn tensors_that_are_no_weights_are_carried_unchanged() {
    let bench = Bench::new(&varied());
    let report = bench.run("out", &json!({"bitWidth": 2})).unwrap();
    let (before, after) = (tensors(&bench.model().join(FILE)), tensors(&bench.out("out").join(FILE)));
    for name in ["position_ids", "transformer_blocks.1.attn1.to_q.bias", "transformer_blocks.2.norm.weight"] {
        assert!(before[name] == after[name], "{name}");
        assert_eq!(why(&report, name), "it was not skipped", "no word is lost on it");
    }
}

#[test]
fn sixteen_keeps_a_layer() {
    let bench = Bench::new(&varied());
    let report = bench.run("out", &json!({"layerBitWidths": {"transformer_blocks.2.conv": 16, "*.ff.*": 8}})).unwrap();
    assert!(why(&report, "transformer_blocks.2.conv").contains("16"));
    untouched(&bench, "out", "transformer_blocks.2.conv");
    assert_eq!(u8::from(layer(&report, "transformer_blocks.1.ff.net.0.proj").scheme.bits), 8);
}

#[test]
fn a_width_by_name_goes_before_globs_and_rules() {
    let bench = Bench::new(&varied());
    let widths = json!({"*": 8, "transformer_blocks.1.*": 4, "transformer_blocks.1.attn1.to_q.weight": 2, "proj_out": 4});
    let report = bench.run("out", &json!({"bitWidth": 2, "layerBitWidths": widths})).unwrap();
    let bits = |name: &str| u8::from(layer(&report, name).scheme.bits);
    assert_eq!(bits("transformer_blocks.1.attn1.to_q"), 2, "an exact name goes before any glob");
    assert_eq!(bits("transformer_blocks.1.ff.net.0.proj"), 8, "of two globs the first given counts");
    assert_eq!(bits("proj_out"), 4, "the user may quantize what the rules keep");
    assert_eq!(bits("transformer_blocks.0.attn1.to_q"), 8, "and overrule the first-block rule");
}

#[test]
fn the_first_block_rule_can_be_switched_off() {
    let bench = Bench::new(&varied());
    let bits = |out: &str, options: &Value| {
        let report = bench.run(out, options).unwrap();
        u8::from(layer(&report, "transformer_blocks.0.attn1.to_q").scheme.bits)
    };
    assert_eq!(bits("auto", &json!({"bitWidth": 4})), 8);
    assert_eq!(bits("none", &json!({"bitWidth": 4, "protectBlocks": "none"})), 4);
}

#[test]
fn a_glob_that_means_nothing_is_an_issue() {
    let bench = Bench::new(&varied());
    let options = json!({"skipLayers": ["*.conv", "transformer_blocks.9.*"], "layerBitWidths": {"proj_uot": 8}});
    let issues = issues(bench.fails(&options));
    let places: Vec<&str> = issues.iter().map(|i| i.path.as_str()).collect();
    assert_eq!(places, ["skipLayers[1]", "layerBitWidths[\"proj_uot\"]"]);
    assert!(issues.iter().all(|i| i.expected == "the name of a tensor of the model"));
    assert!(issues[1].message.contains("proj_out.weight"), "the nearest is named: {}", issues[1].message);
    assert!(issues[1].received.contains("proj_uot"));
}

#[test]
fn components_the_model_lacks() {
    let bench = Bench::new(&varied());
    let issues = issues(bench.fails(&json!({"components": ["unet", "vae"]})));
    assert_eq!(issues.iter().map(|i| i.path.as_str()).collect::<Vec<_>>(), ["components[0]", "components[1]"]);
}

#[test]
fn wrong_options_are_told_before_anything_is_opened() {
    let bench = Bench::empty();
    let issues = issues(bench.fails(&json!({"bitWidth": 3, "groupSize": 48, "layout": "onnx", "minAccuracy": 2})));
    let codes: Vec<ErrorCode> = issues.iter().map(|i| i.code).collect();
    let want = [ErrorCode::InvalidBitWidth, ErrorCode::InvalidGroupSize, ErrorCode::InvalidAccuracy, ErrorCode::InvalidConfig];
    assert_eq!(codes, want);
    for unknown in [json!({"bit_width": 4}), json!({"calibration": "x"}), json!({"method": "gptq"}), json!({"symmetric": "yes"})] {
        assert!(matches!(bench.fails(&unknown), QuantError::InvalidConfig(_)), "{unknown}");
    }
}
