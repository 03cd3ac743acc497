//! The type a weight is stored in does not matter where the values are equal.

use super::harness::{Bench, FILE, decoded, layer, tensors};
use aq_testkit::random::exact;
use aq_testkit::{Float, SafetensorsFile, gauss};
use serde_json::json;

fn name(float: Float) -> String {
    format!("blocks.1.{}", float.name().to_lowercase())
}

fn mixed() -> Bench {
    let values = exact(48, 96, 3);
    let file = Float::ALL
        .iter()
        .fold(SafetensorsFile::new(), |file, float| file.floats(&format!("{}.weight", name(*float)), *float, &[48, 96], &values));
    Bench::new(&file)
}

#[test]
fn equal_values_give_equal_codes() {
    let bench = mixed();
    for (bits, symmetric) in [(2, false), (4, false), (8, false), (2, true), (4, true), (8, true)] {
        let out = format!("out-{bits}-{symmetric}");
        let report = bench.run(&out, &json!({"bitWidth": bits, "symmetric": symmetric})).unwrap();
        assert_eq!(report.layers.len(), 4);
        let tensors = tensors(&bench.out(&out).join(FILE));
        for float in Float::ALL {
            for part in ["weight", "scale", "zero_point"] {
                let of = |float: Float| tensors.get(&format!("{}.{part}", name(float)));
                assert!(of(float) == of(Float::F32), "{float:?} {part} at {bits} bits");
                assert_eq!(of(float).is_some(), part != "zero_point" || !symmetric);
            }
            let (mine, theirs) = (layer(&report, &name(float)), layer(&report, &name(Float::F32)));
            assert_eq!(mine.figures, theirs.figures);
        }
    }
}

#[test]
fn plain_output_has_the_type_asked_for() {
    let bench = mixed();
    bench.run("default", &json!({"layout": "plain"})).unwrap();
    assert!(tensors(&bench.out("default").join(FILE)).values().all(|t| t.0 == "F32"));
    for (option, dtype) in [("f32", "F32"), ("f16", "F16"), ("bf16", "BF16")] {
        bench.run(option, &json!({"layout": "plain", "plainDtype": option})).unwrap();
        let tensors = tensors(&bench.out(option).join(FILE));
        assert!(tensors.values().all(|t| t.0 == dtype), "{option}");
    }
    bench.run("source", &json!({"layout": "plain", "plainDtype": "source"})).unwrap();
    let tensors = tensors(&bench.out("source").join(FILE));
    for (float, dtype) in Float::ALL.into_iter().zip(["F32", "F32", "F16", "BF16"]) {
        assert_eq!(tensors[&format!("{}.weight", name(float))].0, dtype, "{float:?}: decoded values are single precision at the most");
    }
}

#[test]
fn plain_output_is_the_decoded_sdnq_output() {
    let shapes: [&[usize]; 5] = [&[64, 192], &[24, 96], &[12, 64, 3], &[8, 64, 3, 3], &[4, 32, 2, 3, 3]];
    let mut file = SafetensorsFile::new();
    for (i, shape) in shapes.iter().enumerate() {
        let numel = shape.iter().product();
        file = file.f32(&format!("blocks.1.l{i}.weight"), shape, &gauss(1, numel, i as u64));
    }
    let bench = Bench::new(&file);
    for bits in [2, 4, 8] {
        for symmetric in [false, true] {
            let options = |layout: &str| json!({"bitWidth": bits, "groupSize": 32, "symmetric": symmetric, "layout": layout});
            let (coded, plain) = (format!("sdnq-{bits}-{symmetric}"), format!("plain-{bits}-{symmetric}"));
            bench.run(&coded, &options("sdnq")).unwrap();
            bench.run(&plain, &options("plain")).unwrap();
            let (coded, plain) = (decoded(&bench.out(&coded)), decoded(&bench.out(&plain)));
            assert_eq!(coded.len(), shapes.len());
            for (name, (shape, values, stored)) in &coded {
                let (plain_shape, plain_values, plain_stored) = &plain[name];
                assert_eq!((shape, *stored, *plain_stored), (plain_shape, Some(bits), None));
                let equal = values.iter().zip(plain_values).all(|(a, b)| a.to_bits() == b.to_bits());
                assert!(equal, "{name} at {bits} bits, symmetric {symmetric}");
            }
        }
    }
}
