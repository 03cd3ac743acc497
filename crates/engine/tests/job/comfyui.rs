//! What ComfyUI opens: signed codes by rows, nibbles in transposed groups, and how each module says what it is.

use super::export::{refused, run};
use super::harness::{Bench, decoded, layer, tensors, varied, warnings};
use aq_core::config::Layout;
use aq_core::report::QuantizeReport;
use aq_engine::QuantError;
use aq_engine::error::WorkFailure;
use aq_testkit::{SafetensorsFile, gauss, heavy};
use serde_json::{Value, json};

/// Type, shape, bytes.
type Tensor = (String, Vec<usize>, Vec<u8>);

const FILE: &str = "flux.safetensors";
const LARGE: [usize; 2] = [72, 256];

/// A file with original names and no config, as ComfyUI has them.
fn original() -> Bench {
    let bench = Bench::empty();
    let mut outliers = gauss(LARGE[0], LARGE[1], 4);
    outliers.iter_mut().step_by(97).for_each(|w| *w *= 40.0);
    let file = SafetensorsFile::new()
        .f32("img_in.weight", &[64, 64], &gauss(64, 64, 1))
        .f32("double_blocks.1.img_attn.qkv.weight", &[96, 128], &heavy(96, 128, 2))
        .f32("double_blocks.1.img_attn.qkv.bias", &[96], &gauss(1, 96, 3))
        .f32("double_blocks.1.img_mlp.0.weight", &LARGE, &outliers)
        .f32("double_blocks.1.odd.weight", &[40, 100], &heavy(40, 100, 5))
        .f32("double_blocks.1.conv.weight", &[8, 64, 3], &heavy(8, 192, 6));
    std::fs::create_dir(bench.root().join("model")).expect("a folder can be made");
    file.write(&bench.model().join(FILE));
    bench
}

fn quantized(bench: &Bench, out: &str, mut options: Value) -> QuantizeReport {
    for (key, value) in [("layout", json!("comfyui")), ("modality", json!("image"))] {
        options[key] = value;
    }
    bench.run_on(&bench.model().join(FILE), out, &options).expect("the job succeeds")
}

fn f32s(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().expect("4 bytes"))).collect()
}

fn bf16s(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(2).map(|b| f32::from_bits(u32::from(u16::from_le_bytes(b.try_into().expect("2 bytes"))) << 16)).collect()
}

fn mark(file: &std::collections::BTreeMap<String, Tensor>, module: &str) -> Value {
    let (kind, shape, text) = &file[&format!("{module}.comfy_quant")];
    assert_eq!((kind.as_str(), shape.as_slice()), ("U8", &[text.len()][..]));
    serde_json::from_slice(text).expect("JSON")
}

#[test]
fn eight_bits_are_rows_with_a_scale() {
    let bench = original();
    let report = quantized(&bench, "out", json!({"bitWidth": 8, "enableSpatial": false}));
    let (file, values) = (tensors(&bench.out("out").join(FILE)), decoded(&bench.out("out")));
    for (module, [rows, columns]) in [("double_blocks.1.img_attn.qkv", [96, 128]), ("double_blocks.1.odd", [40, 100])] {
        let (kind, shape, codes) = &file[&format!("{module}.weight")];
        assert_eq!((kind.as_str(), shape.as_slice()), ("I8", &[rows, columns][..]));
        let (kind, shape, scales) = &file[&format!("{module}.weight_scale")];
        assert_eq!((kind.as_str(), shape.as_slice()), ("F32", &[rows, 1][..]));
        let scales = f32s(scales);
        let wanted: Vec<f32> = codes.iter().enumerate().map(|(i, &q)| f32::from(q.cast_signed()) * scales[i / columns]).collect();
        assert!(values[module].1 == wanted, "{module}");
        assert_eq!(mark(&file, module), json!({"format": "int8_tensorwise"}));
        assert_eq!(layer(&report, module).scheme.stored_group_size, columns);
    }
    assert_eq!(file["double_blocks.1.conv.weight"].0, "F32");
    assert_eq!(file["double_blocks.1.img_attn.qkv.bias"].1, [96]);
}

#[test]
fn rows_with_outliers_are_rotated_at_eight_bits() {
    let bench = original();
    let report = quantized(&bench, "out", json!({"bitWidth": 8, "enableSpatial": true}));
    assert!(!warnings(&report).contains(&"AQ_WARN_NO_EFFECT"));
    let module = "double_blocks.1.img_mlp.0";
    assert_eq!(layer(&report, module).scheme.rotation, Some(256));
    let file = tensors(&bench.out("out").join(FILE));
    assert_eq!(mark(&file, module), json!({"format": "int8_tensorwise", "convrot": true, "convrot_groupsize": 256}));
    assert_eq!(layer(&report, "double_blocks.1.img_attn.qkv").scheme.rotation, None, "128 columns have no block of 256");
    let plain = quantized(&bench, "plain", json!({"bitWidth": 8, "enableSpatial": false}));
    let gain = layer(&report, module).figures.sqnr_db - layer(&plain, module).figures.sqnr_db;
    assert!(gain > 3.0, "{gain} dB");
    // The decoder turns rows back: they are near the original, which the codes alone are not.
    let (_, values, bits) = &decoded(&bench.out("out"))[module];
    assert_eq!(*bits, Some(8));
    let original = tensors(&bench.model().join(FILE));
    let wanted = f32s(&original[&format!("{module}.weight")].2);
    let worst = values.iter().zip(&wanted).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    let largest = wanted.iter().fold(0f32, |m, w| m.max(w.abs()));
    assert!(worst < largest / 50.0, "{worst} of {largest}");
}

#[test]
fn four_bits_are_nibbles_around_a_middle_in_transposed_groups() {
    let bench = original();
    for symmetric in [false, true] {
        let out = format!("out{symmetric}");
        quantized(&bench, &out, json!({"bitWidth": 4, "symmetric": symmetric, "minAccuracy": 0}));
        let (file, values) = (tensors(&bench.out(&out).join(FILE)), decoded(&bench.out(&out)));
        for (module, [rows, columns]) in [("double_blocks.1.img_attn.qkv", [96, 128]), ("double_blocks.1.img_mlp.0", LARGE)] {
            let (kind, shape, codes) = &file[&format!("{module}.weight")];
            assert_eq!((kind.as_str(), shape.as_slice()), ("I8", &[rows, columns / 2][..]));
            let part = |name: &str| {
                let (kind, shape, bytes) = &file[&format!("{module}.{name}")];
                assert_eq!((kind.as_str(), shape.as_slice()), ("BF16", &[columns / 64, rows][..]));
                bf16s(bytes)
            };
            let (scales, zeros) = (part("weight_scale"), part("weight_zeros"));
            assert_eq!(zeros.iter().all(|z| *z == 0.0), symmetric);
            let value = |i: usize| {
                let (row, column) = (i / columns, i % columns);
                let code = codes[i / 2] >> (4 * (i % 2)) & 15;
                let at = column / 64 * rows + row;
                (f32::from(code) - 8.0) * scales[at] + zeros[at]
            };
            assert!(values[module].1 == (0..rows * columns).map(value).collect::<Vec<_>>(), "{module}");
            assert_eq!(mark(&file, module), json!({"format": "awq_w4a16", "group_size": 64}));
        }
        // By the shape of this one ComfyUI tells how many channels a model has.
        assert_eq!(file["img_in.weight"].1, [64, 64]);
        // 100 columns are no groups of 64.
        assert_eq!(file["double_blocks.1.odd.weight"].0, "I8");
        assert_eq!(mark(&file, "double_blocks.1.odd")["format"], "int8_tensorwise");
    }
}

#[test]
fn what_it_has_no_codes_for_is_widened_or_said() {
    let bench = original();
    let report = quantized(&bench, "out", json!({"bitWidth": 2, "groupSize": 32, "enableSpatial": true, "minAccuracy": 0}));
    assert!(warnings(&report).contains(&"AQ_WARN_LAYOUT_WIDTH"));
    let without_effect = report.warnings.iter().filter(|w| w.code == "AQ_WARN_NO_EFFECT").map(|w| w.details["option"].clone());
    assert_eq!(without_effect.collect::<Vec<_>>(), ["groupSize", "enableSpatial"]);
    let bench = Bench::new(&varied());
    let error = bench.fails(&json!({"layout": "comfyui"}));
    let QuantError::InvalidConfig(issues) = error else { unreachable!("{error:?}") };
    assert_eq!(issues[0].path, "layout");
    assert!(issues[0].expected.starts_with("'sdnq' or 'gguf' for DiTTransformer2DModel: original names are known for flux"), "{issues:?}");
}

#[test]
fn other_layouts_would_round_its_middles() {
    let bench = original();
    quantized(&bench, "four", json!({"bitWidth": 4, "minAccuracy": 0}));
    quantized(&bench, "eight", json!({"bitWidth": 8, "enableSpatial": false}));
    let WorkFailure::WouldRound { why, .. } = refused(&bench, "four", Layout::Sdnq) else { unreachable!() };
    assert_eq!(why, "its zero is what the middle code stands for, the layout's what code 0 does");
    for layout in [Layout::CompressedTensors, Layout::Parquet] {
        run(&bench, "eight", layout.as_str(), layout).expect("symmetric codes fit");
        assert!(decoded(&bench.out("eight")) == decoded(&bench.out(layout.as_str())), "{layout:?}");
    }
    run(&bench, "parquet", "back", Layout::ComfyUi).expect("and go back");
    assert!(tensors(&bench.out("back").join("model.safetensors")) == tensors(&bench.out("eight").join(FILE)));
    run(&bench, "four", "plain", Layout::Plain).expect("codes have values");
    assert!(decoded(&bench.out("four")).iter().all(|(name, (_, values, _))| decoded(&bench.out("plain"))[name].1 == *values));
}

#[test]
fn damaged_marks_and_parts_are_refused() {
    let bench = original();
    quantized(&bench, "out", json!({"bitWidth": 4, "minAccuracy": 0}));
    let module = "double_blocks.1.img_attn.qkv";
    let whole = tensors(&bench.out("out").join(FILE));
    let broken = |name: &str, change: &dyn Fn(&mut Tensor)| {
        let mut file = SafetensorsFile::new();
        for (tensor, content) in &whole {
            let mut content = content.clone();
            if *tensor == format!("{module}.{name}") {
                change(&mut content);
            }
            if !content.1.contains(&usize::MAX) {
                file = file.tensor(tensor, &content.0, &content.1, content.2);
            }
        }
        let path = bench.out("broken.safetensors");
        file.write(&path);
        let source = aq_io::source::open(&aq_io::Disk::default(), &path).expect("a sound container");
        aq_io::weights::weights(&source.components[0]).map(|w| w.len())
    };
    assert!(broken("weight", &|_| ()).is_ok());
    let says = |text: &'static str| broken("comfy_quant", &move |t| *t = ("U8".into(), vec![text.len()], text.as_bytes().to_vec()));
    for text in ["", "{", "\"awq_w4a16\"", "{\"format\":\"float9\"}", "{\"format\":\"awq_w4a16\",\"group_size\":32}"] {
        assert!(says(text).is_err(), "{text}");
    }
    assert!(says("{\"format\":\"awq_w4a16\"}").is_ok());
    assert!(says("{\"format\":\"int8_tensorwise\"}").is_err(), "the scales are those of groups");
    for name in ["weight_scale", "weight_zeros"] {
        assert!(broken(name, &|t| t.1 = vec![usize::MAX]).is_err(), "{name} is not there");
        assert!(broken(name, &|t| *t = ("BF16".into(), vec![1, 96], vec![0; 192])).is_err(), "{name} is too short");
        assert!(broken(name, &|t| t.0 = "I16".into()).is_err(), "{name} is of whole numbers");
    }
    assert!(broken("weight", &|t| t.0 = "U8".into()).is_err());
    assert!(broken("weight", &|t| t.1 = vec![96 * 64]).is_err());
}
