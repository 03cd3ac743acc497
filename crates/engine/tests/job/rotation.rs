//! Layers whose channels differ widely in size are rotated, others are not; what is written says so.

use super::harness::{Bench, decoded, layer};
use aq_testkit::{SafetensorsFile, gauss};
use serde_json::json;

/// Normal weights with one column, the sixth, 20 times as large in every row.
fn outliers(rows: usize, cols: usize, seed: u64) -> Vec<f32> {
    let mut w = gauss(rows, cols, seed);
    w.iter_mut().skip(5).step_by(cols).for_each(|v| *v *= 20.0);
    w
}

fn model() -> SafetensorsFile {
    SafetensorsFile::new()
        .f32("transformer_blocks.1.attn1.to_q.weight", &[96, 128], &outliers(96, 128, 1))
        .f32("transformer_blocks.1.attn1.to_k.weight", &[96, 128], &gauss(96, 128, 2))
        .f32("transformer_blocks.1.attn1.to_v.weight", &[30, 512], &outliers(30, 512, 3))
        .f32("transformer_blocks.2.conv.weight", &[16, 64, 3, 3], &outliers(16, 576, 4))
        .f32("transformer_blocks.2.narrow.weight", &[64, 48], &outliers(64, 48, 5))
}

const TO_Q: &str = "transformer_blocks.1.attn1.to_q";

#[test]
fn what_gains_is_rotated_and_read_back() {
    let bench = Bench::new(&model());
    for symmetric in [false, true] {
        let (with, without) = (format!("with {symmetric}"), format!("without {symmetric}"));
        let options = |on: bool| json!({"bitWidth": 4, "symmetric": symmetric, "enableSpatial": on, "protectBlocks": "none"});
        let rotated = bench.run(&with, &options(true)).unwrap();
        let plain = bench.run(&without, &options(false)).unwrap();
        let found: Vec<_> = rotated.layers.iter().map(|l| (l.name.rsplit('.').next().unwrap_or_default(), l.scheme.rotation)).collect();
        assert!(found.contains(&("to_q", Some(128))) && found.contains(&("to_k", None)), "{found:?}");
        assert!(
            found.contains(&("to_v", Some(256))) && found.contains(&("conv", Some(64))) && found.contains(&("narrow", None)),
            "{found:?}"
        );
        assert!(plain.layers.iter().all(|l| l.scheme.rotation.is_none()));
        assert!(layer(&rotated, TO_Q).figures.sqnr_db > layer(&plain, TO_Q).figures.sqnr_db + 1.0);

        let config = bench.json(&format!("{with}/config.json"))["quantization_config"].clone();
        let named: Vec<&String> = config["modules_quant_config"].as_object().unwrap().keys().collect();
        assert_eq!(
            named,
            ["transformer_blocks.1.attn1.to_q.weight", "transformer_blocks.1.attn1.to_v.weight", "transformer_blocks.2.conv.weight"]
        );
        assert_eq!(config["hadamard_group_size"], json!(256));

        // Read back, the weights are the original ones again, as near as the report says.
        let (before, after) = (decoded(&bench.model()), decoded(&bench.out(&with)));
        for l in &rotated.layers {
            let (w, v) = (&before[&l.name].1, &after[&l.name].1);
            let energy = |x: &mut dyn Iterator<Item = f32>| x.map(|v| f64::from(v).powi(2)).sum::<f64>();
            let sqnr = 10.0 * (energy(&mut w.iter().copied()) / energy(&mut w.iter().zip(v).map(|(a, b)| a - b))).log10();
            assert!((sqnr - l.figures.sqnr_db).abs() < 0.01, "{}: {sqnr} {}", l.name, l.figures.sqnr_db);
        }
    }
}

#[test]
fn nothing_is_rotated_at_eight_bits_nor_when_raised_to_them() {
    let bench = Bench::new(&model());
    let report = bench.run("eight", &json!({"bitWidth": 8, "enableSpatial": true})).unwrap();
    assert!(report.layers.iter().all(|l| l.scheme.rotation.is_none()));
    let report = bench.run("raised", &json!({"bitWidth": 4, "minAccuracy": 0.9999})).unwrap();
    assert!(report.layers.iter().all(|l| l.scheme.bits.bits() == 8 && l.scheme.rotation.is_none()));
}

#[test]
fn a_layer_too_large_to_be_rotated_stays_as_it_is() {
    let mut w = outliers(96, 128, 1);
    // in rows that the sample does not see
    w[5 * 128..6 * 128].iter_mut().for_each(|v| *v = 3e38);
    let bench = Bench::new(&SafetensorsFile::new().f32("transformer_blocks.1.attn1.to_q.weight", &[96, 128], &w));
    let report = bench.run("out", &json!({"bitWidth": 4})).unwrap();
    assert_eq!(layer(&report, TO_Q).scheme.rotation, None);
}
