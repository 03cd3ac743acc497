//! Every figure of the report follows from the files that were written.

use super::harness::{Bench, Decoded, FILE, decoded, layer, tensors, varied};
use aq_core::report::QuantizeReport;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Plain sums in f64, in file order.
#[derive(Default)]
struct Sums {
    ww: f64,
    vv: f64,
    wv: f64,
    ee: f64,
    most: f64,
}

impl Sums {
    fn add(&mut self, w: &[f32], v: &[f32]) {
        for (w, v) in w.iter().zip(v) {
            let (w, v) = (f64::from(*w), f64::from(*v));
            self.ww += w * w;
            self.vv += v * v;
            self.wv += w * v;
            self.ee += (w - v) * (w - v);
            self.most = self.most.max((w - v).abs());
        }
    }

    fn cosine(&self) -> f64 {
        self.wv / (self.ww * self.vv).sqrt()
    }

    fn sqnr_db(&self) -> f64 {
        10.0 * (self.ww / self.ee).log10()
    }
}

fn near(a: f64, b: f64, what: &str) {
    assert!((a - b).abs() <= 1e-9 * b.abs().max(1.0), "{what}: {a} in the report, {b} from the files");
}

fn check_layers(report: &QuantizeReport, before: &BTreeMap<String, Decoded>, after: &BTreeMap<String, Decoded>) {
    let (mut total, mut weighted, mut weights) = (Sums::default(), 0.0, 0);
    for layer in &report.layers {
        let (shape, w, _) = &before[&layer.name];
        let (_, v, _) = &after[&layer.name];
        assert!(layer.shape.iter().map(|d| *d as usize).eq(shape.iter().copied()));
        assert_eq!(layer.parameters, w.len() as u64);
        let mut sums = Sums::default();
        sums.add(w, v);
        total.add(w, v);
        let row = w.len() / shape[0];
        let worst = w.chunks(row).zip(v.chunks(row)).map(|(w, v)| {
            let mut sums = Sums::default();
            sums.add(w, v);
            sums.cosine()
        });
        near(layer.figures.cosine, sums.cosine(), &layer.name);
        near(layer.figures.sqnr_db, sums.sqnr_db(), &layer.name);
        near(layer.figures.worst_row_cosine, worst.fold(1.0, f64::min), &layer.name);
        near(layer.figures.max_abs_error, sums.most, &layer.name);
        near(layer.attempts.last().expect("a layer was tried").similarity, sums.cosine(), &layer.name);
        weighted += sums.cosine() * w.len() as f64;
        weights += w.len();
    }
    near(report.cosine_similarity, weighted / weights as f64, "mean cosine");
    near(report.sqnr_db, total.sqnr_db(), "total SQNR");
}

fn check_sizes(bench: &Bench, out: &str, report: &QuantizeReport) {
    let size = |path: std::path::PathBuf| std::fs::metadata(path).expect("the file is there").len() as f64;
    let (before, after) = (size(bench.model().join(FILE)), size(bench.out(out).join(FILE)));
    near(report.original_size_mb, before / 1e6, "original size");
    near(report.model_size_mb, after / 1e6, "size");
    near(report.compression_ratio, before / after, "ratio");
    let tensors = tensors(&bench.out(out).join(FILE));
    let (mut bytes, mut weights) = (0, 0);
    for layer in &report.layers {
        let parts = ["weight", "scale", "zero_point"].map(|part| tensors.get(&format!("{}.{part}", layer.name)));
        let stored: usize = parts.iter().flatten().map(|t| t.2.len()).sum();
        near(layer.bits_per_weight, stored as f64 * 8.0 / layer.parameters as f64, &layer.name);
        (bytes, weights) = (bytes + stored, weights + layer.parameters);
    }
    near(report.bits_per_weight, bytes as f64 * 8.0 / weights as f64, "bits per weight");
}

#[test]
fn figures_follow_from_the_files() {
    let bench = Bench::new(&varied());
    let before = decoded(&bench.model());
    for (i, options) in [
        json!({"bitWidth": 2}),
        json!({"bitWidth": 4, "method": "rtn"}),
        json!({"bitWidth": 8, "symmetric": true}),
        json!({"bitWidth": 2, "minAccuracy": 0.98}),
        json!({"bitWidth": 4, "layout": "plain"}),
        // what is judged is what stands in the file, rounded once more
        json!({"bitWidth": 8, "layout": "plain", "plainDtype": "bf16"}),
    ]
    .iter()
    .enumerate()
    {
        let out = format!("out-{i}");
        let report = bench.run(&out, options).unwrap();
        assert!(report.layers.len() >= 5, "{options}");
        check_layers(&report, &before, &decoded(&bench.out(&out)));
        check_sizes(&bench, &out, &report);
    }
}

#[test]
fn the_manifest_says_what_the_report_says() {
    let bench = Bench::new(&varied());
    let report = bench.run("out", &json!({"bitWidth": 4, "skipLayers": ["*.conv"]})).unwrap();
    let manifest = bench.json("out/arrow-quant.json");
    // through text, as the manifest went
    let value: Value = serde_json::from_str(&serde_json::to_string(&report).unwrap()).unwrap();
    for key in ["layers", "skipped", "warnings", "components", "bitsPerWeight", "compressionRatio", "modality", "layout", "bitWidth"] {
        assert_eq!(manifest[key], value[key], "{key}");
    }
    assert_eq!(value["manifestPath"], json!(bench.out("out").join("arrow-quant.json")));
    let file = &manifest["files"][0];
    let bytes = std::fs::read(bench.out("out").join(FILE)).unwrap();
    assert_eq!((&file["name"], &file["bytes"]), (&json!(FILE), &json!(bytes.len())));
    assert_eq!(file["blake3"].as_str().map(str::len), Some(64));
    assert_eq!(manifest["config"]["skipLayers"], json!(["*.conv"]));
    // How a job is run does not change what it writes.
    assert_eq!((&manifest["config"]["numThreads"], &manifest["config"]["overwrite"]), (&Value::Null, &Value::Null));
}

#[test]
fn parameters_and_roles_of_the_report() {
    let bench = Bench::new(&varied());
    let report = bench.run("out", &json!({"bitWidth": 2})).unwrap();
    let widths: Vec<(&str, u8, &str)> = report.layers.iter().map(|l| (l.name.as_str(), l.scheme.bits.into(), l.role.as_str())).collect();
    let want = [
        ("transformer_blocks.0.attn1.to_q", 4, "attention"),
        ("transformer_blocks.1.attn1.to_q", 2, "attention"),
        ("transformer_blocks.1.ff.net.0.proj", 2, "mlp"),
        ("transformer_blocks.1.norm1.linear", 8, "modulation"),
        ("transformer_blocks.2.conv", 2, "body"),
        ("transformer_blocks.2.odd", 8, "body"),
    ];
    assert_eq!(widths, want);
    let skipped: Vec<&str> = report.skipped.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(skipped, ["pos_embed.proj", "proj_out"]);
    assert!(report.skipped.iter().all(|s| s.why.len() > 10 && s.bytes > 0));
    assert_eq!(layer(&report, "transformer_blocks.2.conv").scheme.stored_group_size, 64);
    assert_eq!(
        report.components[0].parameters,
        tensors(&bench.model().join(FILE)).values().map(|t| t.1.iter().product::<usize>() as u64).sum::<u64>()
    );
}
