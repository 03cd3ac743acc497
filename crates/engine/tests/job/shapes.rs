//! Linear layers and convolutions of every size, odd ones too.

use super::harness::{Bench, FILE, decoded, layer, tensors, why};
use aq_core::BitWidth;
use aq_testkit::{Float, SafetensorsFile, gauss};
use serde_json::json;

fn file(layers: &[(&str, &[usize])]) -> SafetensorsFile {
    layers.iter().enumerate().fold(SafetensorsFile::new(), |file, (i, (name, shape))| {
        file.f32(&format!("{name}.weight"), shape, &gauss(1, shape.iter().product(), i as u64))
    })
}

#[test]
fn shapes_on_disk_are_those_the_loader_derives() {
    // (name, shape, codes at 8 bits, scales), groups of 32; from the loader's own rules
    type Case = (&'static str, &'static [usize], &'static [usize], &'static [usize]);
    const CASES: [Case; 9] = [
        ("linear", &[10, 96], &[10, 3, 32], &[10, 3, 1]),
        ("one_group", &[10, 32], &[10, 32], &[10, 1]),
        ("conv1d", &[6, 64, 3], &[6, 2, 32, 3], &[6, 2, 1, 3]),
        ("conv1d_one", &[6, 16, 3], &[6, 16, 3], &[6, 1, 3]),
        ("conv2d", &[4, 64, 3, 3], &[4, 2, 32, 3, 3], &[4, 2, 1, 3, 3]),
        ("conv2d_one", &[4, 20, 3, 3], &[4, 20, 3, 3], &[4, 1, 3, 3]),
        ("conv3d", &[4, 64, 2, 1, 2], &[4, 2, 32, 2, 1, 2], &[4, 2, 1, 2, 1, 2]),
        // 144 does not divide by 32: 4 groups of 36 are passed over, 3 of 48 are taken
        ("uneven", &[4, 144], &[4, 3, 48], &[4, 3, 1]),
        ("prime", &[4, 97], &[4, 97], &[4, 1]),
    ];
    let bench = Bench::new(&file(&CASES.map(|c| (c.0, c.1))));
    for bits in [2, 4, 8] {
        let out = format!("out-{bits}");
        bench.run(&out, &json!({"bitWidth": bits, "groupSize": 32})).unwrap();
        let (tensors, decoded) = (tensors(&bench.out(&out).join(FILE)), decoded(&bench.out(&out)));
        for (name, shape, codes, scales) in CASES {
            let numel: usize = shape.iter().product();
            let packed = [numel * bits / 8];
            let want = if bits == 8 { codes } else { &packed[..] };
            assert_eq!(tensors[&format!("{name}.weight")].1, want, "{name} at {bits} bits");
            assert_eq!(tensors[&format!("{name}.scale")].1, scales, "{name}");
            assert_eq!(tensors[&format!("{name}.zero_point")].1, scales, "{name}");
            assert_eq!(decoded[name].0, shape, "{name}");
        }
    }
}

#[test]
fn decoded_values_stand_where_the_source_had_them() {
    // Each weight tells its own place; an exchange of axes, taps or groups would show at once.
    let shape = [4, 64, 3, 2];
    let numel: usize = shape.iter().product();
    let values: Vec<f32> = (0..numel).map(|i| i as f32).collect();
    let bench = Bench::new(&SafetensorsFile::new().f32("conv.weight", &shape, &values));
    bench.run("out", &json!({"bitWidth": 8, "groupSize": 32, "layout": "sdnq"})).unwrap();
    let decoded = &decoded(&bench.out("out"))["conv"].1;
    // Along the channels a group spans 31 * 6, so half a step is 0.4; f16 zeros near 1500 add half of 1.
    let worst = values.iter().zip(decoded).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst < 1.0, "{worst}");
}

#[test]
fn channels_of_odd_number() {
    let layers: [(&str, &[usize]); 7] = [
        ("c1", &[64, 1]),
        ("c3", &[64, 3]),
        ("c33", &[64, 33]),
        ("c97", &[64, 97]),
        ("row", &[1, 64]),
        ("conv1", &[64, 1, 3, 3]),
        ("conv3", &[64, 3, 3, 3]),
    ];
    let bench = Bench::new(&file(&layers));
    for bits in [2, 4, 8] {
        let out = format!("out-{bits}");
        let report = bench.run(&out, &json!({"bitWidth": bits})).unwrap();
        let decoded = decoded(&bench.out(&out));
        let (source, written) = (tensors(&bench.model().join(FILE)), tensors(&bench.out(&out).join(FILE)));
        for (name, shape) in layers {
            assert_eq!(decoded[name].0, shape);
            if shape[1] == 1 {
                // One scale and one zero for each weight: codes would only add to that.
                assert!(why(&report, name).contains("codes and scales would take"), "{name}: {}", why(&report, name));
                let tensor = format!("{name}.weight");
                assert!(source[&tensor] == written[&tensor] && decoded[name].2.is_none());
            } else {
                assert_eq!(decoded[name].2, Some(bits));
                assert!(layer(&report, name).figures.cosine > 0.8, "{name} at {bits} bits");
            }
        }
    }
}

#[test]
fn a_single_channel_of_doubles_pays() {
    let values = gauss(64, 1, 1);
    let bench = Bench::new(&SafetensorsFile::new().floats("c1.weight", Float::F64, &[64, 1], &values));
    let report = bench.run("out", &json!({"bitWidth": 8})).unwrap();
    // A group of one weight is constant: its zero holds it, to the precision of f16.
    assert!(layer(&report, "c1").figures.sqnr_db > 60.0);
    assert_eq!(decoded(&bench.out("out"))["c1"].0, [64, 1]);
}

#[test]
fn numbers_of_weights_that_do_not_fill_a_byte() {
    let layers: [(&str, &[usize]); 4] = [("whole", &[4, 33]), ("half", &[2, 33]), ("odd", &[3, 33]), ("conv", &[3, 11, 3, 3])];
    let bench = Bench::new(&file(&layers));
    for (bits, want) in [(2, [2, 4, 8, 8]), (4, [4, 4, 8, 8]), (8, [8, 8, 8, 8])] {
        let out = format!("out-{bits}");
        let report = bench.run(&out, &json!({"bitWidth": bits})).unwrap();
        let decoded = decoded(&bench.out(&out));
        for ((name, shape), want) in layers.iter().zip(want) {
            let layer = layer(&report, name);
            assert_eq!(u8::from(layer.scheme.bits), want, "{name}");
            assert_eq!(layer.attempts.len(), 1, "wider from the start, not after a failure");
            assert_eq!((&decoded[*name].0[..], decoded[*name].2), (*shape, Some(u32::from(want))));
        }
    }
    // The plain layout packs nothing.
    let report = bench.run("plain", &json!({"bitWidth": 2, "layout": "plain"})).unwrap();
    assert!(report.layers.iter().all(|l| l.scheme.bits == BitWidth::Two));
}

#[test]
fn constant_and_zero_layers() {
    let bench = Bench::new(&SafetensorsFile::new().f32("zero.weight", &[8, 64], &[0.0; 512]).f32("constant.weight", &[8, 64], &[0.5; 512]));
    for bits in [2, 4, 8] {
        for symmetric in [false, true] {
            let out = format!("out-{bits}-{symmetric}");
            let report = bench.run(&out, &json!({"bitWidth": bits, "symmetric": symmetric})).unwrap();
            let decoded = decoded(&bench.out(&out));
            assert!(decoded["zero"].1.iter().all(|v| *v == 0.0));
            assert!(decoded["constant"].1.iter().all(|v| (*v - 0.5).abs() < 0.005), "{bits} {symmetric}");
            assert!((layer(&report, "zero").figures.cosine - 1.0).abs() < 1e-12, "zero against zero");
        }
    }
}
