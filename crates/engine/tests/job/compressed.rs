//! The layout that transformers opens: codes in words, scales beside them, groups by name in the config.

use super::harness::{Bench, decoded, layer, tensors, warnings, why};
use aq_engine::QuantError;
use aq_testkit::model::{sharded_transformers, text};
use aq_testkit::{SafetensorsFile, gauss, heavy};
use serde_json::{Value, json};

const FILE: &str = "model-00001-of-00001.safetensors";

fn language_model() -> Bench {
    let bench = Bench::empty();
    std::fs::create_dir(bench.model()).expect("a folder can be made");
    let file = SafetensorsFile::new()
        .f32("model.embed_tokens.weight", &[32, 64], &gauss(32, 64, 1))
        .f32("model.layers.1.self_attn.q_proj.weight", &[24, 192], &heavy(24, 192, 2))
        .f32("model.layers.1.mlp.up_proj.weight", &[40, 50], &heavy(40, 50, 3))
        .f32("model.layers.1.mlp.conv.weight", &[8, 16, 3], &heavy(8, 48, 4))
        .f32("model.layers.1.input_layernorm.weight", &[64], &gauss(1, 64, 5))
        .f32("lm_head.weight", &[32, 64], &gauss(32, 64, 6));
    sharded_transformers(&bench.model(), "LLaDAModelLM", &[file]);
    text(&bench.model().join("tokenizer.json"), "{}");
    bench
}

/// A row's codes as the format has them: element `i` at bit `i * bits` of a little-endian stream.
fn codes(row: &[u8], bits: usize, channels: usize) -> Vec<i64> {
    let bit = |at: usize| i64::from(row[at / 8] >> (at % 8) & 1);
    (0..channels).map(|i| (0..bits).map(|b| bit(i * bits + b) << b).sum::<i64>() - (1 << (bits - 1))).collect()
}

#[test]
fn words_scales_and_shapes_are_those_of_the_format() {
    let bench = language_model();
    for bits in [2, 4, 8] {
        let out = format!("out{bits}");
        let report = bench.run(&out, &json!({"bitWidth": bits, "groupSize": 64})).expect("the job succeeds");
        assert_eq!((report.layout, warnings(&report)), ("compressed-tensors", vec![]));
        let (file, values) = (tensors(&bench.out(&out).join(FILE)), decoded(&bench.out(&out)));
        for (module, shape, group) in
            [("model.layers.1.self_attn.q_proj", [24usize, 192], 64), ("model.layers.1.mlp.up_proj", [40, 50], 50)]
        {
            let [rows, channels] = shape;
            let (kind, words, packed) = &file[&format!("{module}.weight_packed")];
            assert_eq!((kind.as_str(), words), ("I32", &vec![rows, (channels * bits).div_ceil(32)]));
            let (kind, shape_of, sizes) = &file[&format!("{module}.weight_shape")];
            assert_eq!(
                (kind.as_str(), shape_of, sizes),
                ("I64", &vec![2], &shape.iter().flat_map(|&d| (d as i64).to_le_bytes()).collect())
            );
            let (kind, grid, scales) = &file[&format!("{module}.weight_scale")];
            assert_eq!((kind.as_str(), grid), (if bits == 8 { "F16" } else { "BF16" }, &vec![rows, channels / group]));
            let scale = |i: usize| {
                let half = u16::from_le_bytes([scales[2 * i], scales[2 * i + 1]]);
                if bits == 8 { half::f16::from_bits(half).to_f32() } else { half::bf16::from_bits(half).to_f32() }
            };
            let row = words[1] * 4;
            let wanted: Vec<f32> = (0..rows)
                .flat_map(|r| codes(&packed[r * row..(r + 1) * row], bits, channels).into_iter().enumerate().map(move |(i, q)| (r, i, q)))
                .map(|(r, i, q)| q as f32 * scale(r * (channels / group) + i / group))
                .collect();
            assert_eq!(values[module], (shape.to_vec(), wanted, Some(bits as u32)), "{module} at {bits} bits");
            assert!(layer(&report, module).scheme.symmetric && layer(&report, module).figures.cosine > [0.6, 0.95, 0.999][bits / 4]);
        }
        assert!(!file.contains_key("model.layers.1.self_attn.q_proj.weight"));
        assert_eq!(why(&report, "model.layers.1.mlp.conv"), "compressed-tensors packs linear layers only");
    }
}

#[test]
fn the_config_names_every_group_and_what_is_left_alone() {
    let bench = language_model();
    bench.run("out", &json!({"layerBitWidths": {"model.layers.1.mlp.up_proj": 8}})).expect("the job succeeds");
    let config = &bench.json("out/config.json")["quantization_config"];
    let group = |bits: u32, strategy: &str, size: Value, module: &str| {
        let weights = json!({"num_bits": bits, "type": "int", "symmetric": true, "strategy": strategy, "group_size": size});
        json!({"targets": [module], "weights": weights, "input_activations": null, "output_activations": null})
    };
    let wanted = json!({
        "quant_method": "compressed-tensors",
        "format": "pack-quantized",
        "quantization_status": "compressed",
        "config_groups": {
            "group_0": group(4, "group", json!(64), "model.layers.1.self_attn.q_proj"),
            "group_1": group(8, "channel", Value::Null, "model.layers.1.mlp.up_proj"),
        },
        "ignore": ["model.embed_tokens", "model.layers.1.mlp.conv", "lm_head"],
    });
    assert_eq!(config, &wanted);
    let index = bench.json("out/model.safetensors.index.json");
    assert_eq!(index["weight_map"]["model.layers.1.mlp.up_proj.weight_shape"], FILE);
}

#[test]
fn raised_layers_are_put_together_anew() {
    let bench = language_model();
    let report = bench.run("out", &json!({"bitWidth": 2, "minAccuracy": 0.96})).expect("the job succeeds");
    assert!(report.layers.iter().all(|l| l.fallback.is_some()));
    let wide = bench.run("wide", &json!({"bitWidth": 4, "minAccuracy": 0})).expect("the job succeeds");
    assert_eq!(wide.layers.len(), report.layers.len());
    assert!(tensors(&bench.out("out").join(FILE)) == tensors(&bench.out("wide").join(FILE)));
}

#[test]
fn what_is_not_decoded_is_refused() {
    let bench = language_model();
    bench.run("out", &json!({})).expect("the job succeeds");
    let path = bench.out("out").join("config.json");
    let config = bench.json("out/config.json");
    let group = "/quantization_config/config_groups/group_0/weights";
    for (pointer, value) in [
        ("/quantization_config/format", json!("float-quantized")),
        (&*format!("{group}/symmetric"), json!("perhaps")),
        (&*format!("{group}/type"), json!("float")),
        (&*format!("{group}/actorder"), json!("group")),
        ("/quantization_config/transform_config", json!({"config_groups": {"R1": {}}})),
        (&*format!("{group}/strategy"), json!("tensor_group")),
    ] {
        let mut changed = config.clone();
        let (parent, key) = pointer.rsplit_once('/').expect("a pointer");
        changed.pointer_mut(parent).expect("its parent is there")[key] = value;
        text(&path, &changed.to_string());
        let source = aq_io::source::open(&aq_io::Disk::default(), &bench.out("out")).expect("headers are sound");
        let error = aq_io::weights::weights(&source.components[0]).err().unwrap_or_else(|| unreachable!("{pointer} is read"));
        assert!(matches!(error, aq_io::IoError::Unsupported { .. }), "{pointer}: {error:?}");
    }
    // Zero points that are not there, and such that should not be.
    let mut none = config.clone();
    let groups = none["quantization_config"]["config_groups"].as_object_mut().expect("groups");
    groups.values_mut().for_each(|g| g["weights"]["symmetric"] = json!(false));
    text(&path, &none.to_string());
    let source = aq_io::source::open(&aq_io::Disk::default(), &bench.out("out")).expect("headers are sound");
    assert!(matches!(aq_io::weights::weights(&source.components[0]), Err(aq_io::IoError::Metadata { .. })));
    text(&path, &config.to_string());
    let again = bench.fails_on(&bench.out("out"), &json!({}));
    assert!(matches!(again, QuantError::QuantizationFailed { .. }), "{again:?}");
}

#[test]
fn zero_points_on_request_are_whole_numbers_packed_along_the_rows() {
    let bench = language_model();
    for bits in [2usize, 4, 8] {
        let out = format!("out{bits}");
        let options = json!({"bitWidth": bits, "groupSize": 64, "symmetric": false, "numThreads": 1});
        let report = bench.run(&out, &options).expect("the job succeeds");
        assert_eq!(warnings(&report), ["AQ_WARN_ZERO_POINTS"]);
        let symmetric = bench.run(&format!("sym{bits}"), &json!({"bitWidth": bits, "groupSize": 64})).expect("the job succeeds");
        let (file, values) = (tensors(&bench.out(&out).join(FILE)), decoded(&bench.out(&out)));
        for (module, [rows, channels], group) in
            [("model.layers.1.self_attn.q_proj", [24usize, 192], 64), ("model.layers.1.mlp.up_proj", [40, 50], 50)]
        {
            let groups = channels / group;
            let (kind, shape, packed) = &file[&format!("{module}.weight_zero_point")];
            assert_eq!((kind.as_str(), shape), ("I32", &vec![(rows * bits).div_ceil(32), groups]));
            // Column by column a little-endian stream over the rows.
            let column = |g: usize| -> Vec<u8> { packed.chunks(4 * groups).flat_map(|w| w[4 * g..4 * g + 4].to_vec()).collect() };
            let zeros: Vec<Vec<i64>> = (0..groups).map(|g| codes(&column(g), bits, rows)).collect();
            let (kind, _, scales) = &file[&format!("{module}.weight_scale")];
            let scale = |at: usize| match kind.as_str() {
                "BF16" => f32::from_bits(u32::from(u16::from_le_bytes([scales[2 * at], scales[2 * at + 1]])) << 16),
                _ => half::f16::from_le_bytes([scales[2 * at], scales[2 * at + 1]]).to_f32(),
            };
            let words = &file[&format!("{module}.weight_packed")].2;
            let row_bytes = words.len() / rows;
            for row in 0..rows {
                let q = codes(&words[row * row_bytes..(row + 1) * row_bytes], bits, channels);
                for (i, q) in q.iter().enumerate() {
                    let g = i / group;
                    let wanted = (q - zeros[g][row]) as f32 * scale(row * groups + g);
                    assert_eq!(values[module].1[row * channels + i], wanted, "{module} {row} {i}");
                }
            }
            let config = &bench.json(&format!("{out}/config.json"))["quantization_config"];
            let of_module = |c: &&Value| c["targets"].as_array().is_some_and(|t| t.contains(&json!(module)));
            let group = config["config_groups"].as_object().unwrap().values().find(of_module).expect("a group");
            assert_eq!(group["weights"]["symmetric"], false);
            // At 2 bits a zero of its own is worth more than its bits.
            let db = |r: &aq_core::report::QuantizeReport| layer(r, module).figures.sqnr_db;
            assert!(
                db(&report) > db(&symmetric) + if bits == 2 { 0.5 } else { -0.3 },
                "{module} {bits}: {} {}",
                db(&report),
                db(&symmetric)
            );
        }
        // Any rows are read alone, and blocks of few rows write the same bytes.
        let small =
            bench.run(&format!("small{bits}"), &json!({"bitWidth": bits, "groupSize": 64, "symmetric": false, "maxMemoryLimitMb": 16}));
        small.expect("the job succeeds");
        assert!(bench.tree(&out)[FILE] == bench.tree(&format!("small{bits}"))[FILE]);
        let source = aq_io::source::open(&aq_io::Disk::default(), &bench.out(&out)).unwrap();
        let component = &source.components[0];
        for weight in aq_io::weights::weights(component).unwrap().iter().filter(|w| w.coded().is_some()) {
            let row = weight.row();
            for first in 0..weight.shape[0] {
                let mut found = vec![0.0; row];
                weight.read_rows(component, first, &mut found).unwrap();
                let module = weight.name.strip_suffix(".weight").unwrap();
                assert!(found == values[module].1[first * row..(first + 1) * row], "{module} {first}");
            }
        }
    }
    let plain = super::export::run(&bench, "out4", "plain", aq_core::config::Layout::Plain);
    plain.expect("codes have values");
    assert!(decoded(&bench.out("out4")).iter().all(|(name, (_, values, _))| decoded(&bench.out("plain"))[name].1 == *values));
    let again = super::export::run(&bench, "out4", "again", aq_core::config::Layout::CompressedTensors);
    again.expect("the codes fit");
    assert!(bench.tree("out4")[FILE] == bench.tree("again")[FILE]);
    let refused = super::export::refused(&bench, "out4", aq_core::config::Layout::Sdnq);
    assert!(
        matches!(refused, aq_engine::error::WorkFailure::WouldRound { why, .. } if why == "its zeros are whole numbers, the layout's floats")
    );
}
