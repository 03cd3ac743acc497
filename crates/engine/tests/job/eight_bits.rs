//! Models in floats of eight bits: each weight has the values that its scale gives it, and nothing else reaches the output.

use super::harness::{Bench, FILE, decoded, layer, tensors};
use aq_engine::QuantError;
use aq_testkit::{SafetensorsFile, SplitMix};
use serde_json::json;

/// Random values of `F8_E4M3`, and their decoding by the table of the format: sign, exponent of four bits, mantissa of three.
fn e4m3(count: usize, seed: u64) -> (Vec<u8>, Vec<f32>) {
    let mut random = SplitMix::new(seed);
    let bytes: Vec<u8> = (0..count).map(|_| (random.next_u64() >> 56) as u8).map(|b| if b & 0x7f == 0x7f { b & 0xf7 } else { b }).collect();
    let value = |b: u8| {
        let (sign, e, m) = (if b & 0x80 == 0 { 1.0 } else { -1.0 }, i32::from(b >> 3 & 15), f32::from(b & 7));
        sign * if e == 0 { m / 8.0 * 2f32.powi(-6) } else { (1.0 + m / 8.0) * 2f32.powi(e - 7) }
    };
    let values = bytes.iter().map(|b| value(*b)).collect();
    (bytes, values)
}

fn model(scales: &[(&str, &[usize], &[f32])]) -> (Bench, Vec<f32>) {
    let (bytes, values) = e4m3(64 * 128, 1);
    let mut file = SafetensorsFile::new().tensor("blocks.1.w.weight", "F8_E4M3", &[64, 128], bytes);
    for (name, shape, values) in scales {
        file = file.f32(name, shape, values);
    }
    (Bench::new(&file.tensor("blocks.1.small", "F8_E5M2", &[3], [0x3c, 0xc2, 0x01])), values)
}

#[test]
fn values_are_scaled_by_the_tensor_or_by_the_row() {
    let rows: Vec<f32> = (0..64).map(|i| 0.5 + i as f32 / 64.0).collect();
    for (scales, factor) in [
        (vec![], vec![1.0; 64]),
        (vec![("blocks.1.w.weight_scale", &[][..], &[0.25f32][..])], vec![0.25; 64]),
        (vec![("blocks.1.w.scale_weight", &[1][..], &[0.5][..]), ("blocks.1.w.scale_input", &[][..], &[7.0][..])], vec![0.5; 64]),
        (vec![("blocks.1.w.weight_scale", &[64, 1][..], &rows[..])], rows.clone()),
    ] {
        let (bench, values) = model(&scales);
        let wanted: Vec<f32> = values.iter().enumerate().map(|(i, v)| v * factor[i / 128]).collect();
        assert_eq!(decoded(&bench.model())["blocks.1.w"].1, wanted);
        bench.run("out", &json!({"bitWidth": 4, "layout": "plain"})).expect("the job succeeds");
        let report = bench.run("sdnq", &json!({"bitWidth": 8})).expect("the job succeeds");
        assert!(layer(&report, "blocks.1.w").figures.cosine > 0.999);
        bench.run("kept", &json!({"skipLayers": ["blocks.1.w"]})).expect_err("nothing is left to quantize");
        let file = tensors(&bench.out("sdnq").join(FILE));
        let names: Vec<&str> = file.keys().map(String::as_str).collect();
        assert_eq!(names, ["blocks.1.small", "blocks.1.w.scale", "blocks.1.w.weight", "blocks.1.w.zero_point"]);
        assert_eq!(file["blocks.1.small"], ("BF16".into(), vec![3], vec![0x80, 0x3f, 0x40, 0xc0, 0x80, 0x37]));
    }
}

#[test]
fn what_stays_in_float_has_its_values_in_a_wider_type() {
    let (bytes, values) = e4m3(32 * 64, 2);
    let file = SafetensorsFile::new()
        .tensor("blocks.1.w.weight", "F8_E4M3", &[32, 64], bytes.clone())
        .tensor("proj_out.weight", "F8_E4M3", &[32, 64], bytes)
        .f32("proj_out.weight_scale", &[], &[3.0]);
    let bench = Bench::new(&file);
    bench.run("out", &json!({})).expect("the job succeeds");
    let (kind, _, stored) = &tensors(&bench.out("out").join(FILE))["proj_out.weight"];
    let wanted: Vec<u8> = values.iter().flat_map(|v| (v * 3.0).to_le_bytes()).collect();
    assert!((kind.as_str(), stored) == ("F32", &wanted));
}

#[test]
fn scales_of_another_form_are_refused() {
    for (name, shape, count) in [("blocks.1.w.weight_scale", vec![2, 2], 4), ("blocks.1.w.weight_scale_inv", vec![1, 1], 1)] {
        let (bytes, _) = e4m3(64 * 128, 1);
        let file = SafetensorsFile::new().tensor("blocks.1.w.weight", "F8_E4M3", &[64, 128], bytes).f32(name, &shape, &vec![1.0; count]);
        let error = Bench::new(&file).fails(&json!({}));
        assert!(matches!(error, QuantError::UnsupportedFormat { .. }), "{name}: {error:?}");
    }
}
