//! Jobs in shares, and the shares joined.

use super::harness::{Bench, varied, warnings};
use aq_core::CancelToken;
use aq_core::progress::Silent;
use aq_engine::error::Staged;
use aq_engine::job::{MergeReport, MergeRequest, merge};
use aq_engine::supervise::supervise;
use aq_engine::{Control, QuantError};
use aq_io::error::{Defect, MetadataProblem, Missing};
use aq_testkit::model::{pipeline, sharded_component};
use aq_testkit::{SafetensorsFile, gauss, heavy, snapshot};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn with(options: &Value, more: &Value) -> Value {
    let mut all = options.clone();
    more.as_object().expect("an object").iter().for_each(|(key, value)| all[key] = value.clone());
    all
}

/// Runs all shares; their folders.
fn run_shares(bench: &Bench, count: u32, options: &Value) -> Vec<PathBuf> {
    let run = |number| {
        let name = format!("share-{number}-of-{count}");
        bench.run(&name, &with(options, &json!({"partition": format!("{number}/{count}")}))).expect("a share succeeds");
        bench.out(&name)
    };
    (1..=count).map(run).collect()
}

fn join_as(bench: &Bench, shares: &[PathBuf], more: impl FnOnce(&mut MergeRequest)) -> Result<MergeReport, QuantError> {
    let mut request = MergeRequest {
        shares: shares.to_vec(),
        output_path: bench.out("merged"),
        model_path: None,
        calibration: None,
        overwrite: false,
        num_threads: 2,
    };
    more(&mut request);
    let control = Arc::new(Control::new(CancelToken::default(), Arc::new(Silent)));
    supervise(&control, move |control| merge(&request, control))
}

fn join(bench: &Bench, shares: &[PathBuf]) -> Result<MergeReport, QuantError> {
    join_as(bench, shares, |_| ())
}

/// Holds shares in several numbers against the single job.
fn equal(bench: &Bench, options: &Value, counts: &[u32]) {
    let single = bench.run("single", options).expect("the job succeeds");
    for &count in counts {
        let shares = run_shares(bench, count, options);
        let joined = join(bench, &shares).expect("the shares can be joined");
        assert!(bench.tree("merged") == bench.tree("single"), "{count} shares with {options}");
        assert_eq!(joined.report.layers, single.layers);
        assert_eq!(warnings(&joined.report), warnings(&single));
        assert_eq!((joined.report.model_size_mb, joined.report.sqnr_db), (single.model_size_mb, single.sqnr_db));
        remove(&bench.out("merged"));
        shares.iter().for_each(|share| remove(share));
    }
    remove(&bench.out("single"));
}

fn remove(folder: &Path) {
    fs::remove_dir_all(folder).expect("a folder can be removed");
}

#[test]
fn joined_shares_are_the_single_job() {
    let bench = Bench::new(&varied());
    for layout in ["sdnq", "compressed-tensors", "gguf", "parquet", "plain"] {
        equal(&bench, &json!({"layout": layout}), &[1, 2, 3, 7]);
    }
    // What says how a share is run is not how shares are joined.
    equal(&bench, &json!({"numThreads": 1, "device": "cpu", "timeoutMs": 60_000, "ioRetries": 0}), &[2]);
}

#[test]
fn raised_layers_and_kept_ones_find_their_place() {
    for layout in ["sdnq", "gguf", "parquet"] {
        let bench = Bench::new(&varied());
        equal(&bench, &json!({"layout": layout, "bitWidth": 2, "minAccuracy": 0.97}), &[3]);
    }
    let mut values = gauss(64, 64, 3);
    values[70] = f32::NAN;
    let weights = varied().f32("transformer_blocks.3.attn1.to_q.weight", &[64, 64], &values);
    equal(&Bench::new(&weights), &json!({"nonFinite": "keep"}), &[2, 4]);
}

#[test]
fn several_files_and_components() {
    let bench = Bench::empty();
    let tower = || SafetensorsFile::new().f32("encoder.layers.0.mlp.fc1.weight", &[64, 64], &gauss(64, 64, 9));
    let parts =
        [("transformer", "diffusers", "FluxTransformer2DModel", &varied()), ("text_encoder", "transformers", "CLIPTextModel", &tower())];
    pipeline(&bench.model(), "FluxPipeline", &parts);
    equal(&bench, &json!({"components": ["transformer", "text_encoder"]}), &[2, 5]);
    let sharded = Bench::empty();
    let part = |i: u64| SafetensorsFile::new().f32(&format!("transformer_blocks.{i}.attn1.to_q.weight"), &[96, 128], &heavy(96, 128, i));
    fs::create_dir(sharded.model()).unwrap();
    sharded_component(&sharded.model(), super::harness::CLASS, &[part(0), part(1), part(2)]);
    equal(&sharded, &json!({"bitWidth": 8}), &[2, 3]);
    // Shares of nothing: more of them than there are tensors.
    equal(&sharded, &json!({}), &[16]);
}

#[test]
fn tables_over_time_are_joined() {
    let header = SafetensorsFile::new().metadata("format", "arrow-quant-calibration").metadata("version", "1").metadata("axis", "timestep");
    let layers = ["transformer_blocks.0.attn1.to_q", "transformer_blocks.1.attn1.to_q"];
    let rows = layers.iter().enumerate().fold(header, |file, (i, layer)| {
        let inputs = [96, 128][i];
        (0..4).fold(file, |file, step| file.f32(&format!("{layer}@{}", step * 250), &[8, inputs], &gauss(8, inputs, 10 * i as u64 + step)))
    });
    let bench = Bench::new(&varied());
    let path = bench.root().join("calibration.safetensors");
    rows.write(&path);
    let options = json!({"calibration": path, "numTimeGroups": 3});
    let single = bench.run("single", &options).unwrap();
    assert!(bench.out("single/arrow-quant/time-groups.safetensors").is_file());
    let shares = run_shares(&bench, 3, &options);
    // Elsewhere, the file may stand elsewhere.
    let moved = bench.root().join("moved.safetensors");
    fs::rename(&path, &moved).unwrap();
    let joined = join_as(&bench, &shares, |r| r.calibration = Some(moved.to_string_lossy().into_owned())).unwrap();
    assert!(bench.tree("merged") == bench.tree("single"));
    assert_eq!(joined.report.layers, single.layers);
    fs::write(&moved, rows_with_another_value(&moved)).unwrap();
    fs::remove_dir_all(bench.out("merged")).unwrap();
    let error = join_as(&bench, &shares, |r| r.calibration = Some(moved.to_string_lossy().into_owned())).unwrap_err();
    assert_eq!(about(&error), "the model's file calibration");
}

/// The file with its last bytes changed.
fn rows_with_another_value(path: &Path) -> Vec<u8> {
    let mut bytes = fs::read(path).expect("the file can be read");
    let end = bytes.len() - 4;
    bytes[end..].copy_from_slice(&1.5f32.to_le_bytes());
    bytes
}

fn about(error: &QuantError) -> &str {
    match error {
        QuantError::Metadata { problem: MetadataProblem::Contradiction { about, .. }, .. } => about,
        other => unreachable!("{other:?}"),
    }
}

/// The error of shares that must not be joined; nothing is left behind.
fn refused(bench: &Bench, shares: &[PathBuf]) -> QuantError {
    let before = snapshot(bench.root());
    let error = join(bench, shares).expect_err("the shares must not be joined");
    assert!(snapshot(bench.root()) == before, "nothing is left behind by {error:?}");
    error
}

#[test]
fn lost_doubled_and_foreign_shares_are_refused_by_name() {
    let bench = Bench::new(&varied());
    let shares = run_shares(&bench, 3, &json!({}));
    let lost = refused(&bench, &[shares[0].clone(), shares[2].clone()]);
    assert!(matches!(&lost, QuantError::ModelNotFound { path, what: Missing::Share, .. } if path == Path::new("2/3")), "{lost:?}");
    let doubled = refused(&bench, &[shares[0].clone(), shares[1].clone(), shares[1].clone(), shares[2].clone()]);
    assert_eq!(about(&doubled), "which of them is share 2/3");
    let other = bench.out("other");
    bench.run("other", &json!({"partition": "2/3", "groupSize": 32})).unwrap();
    assert_eq!(about(&refused(&bench, &[shares[0].clone(), other, shares[2].clone()])), "option groupSize");
    bench.run("number", &json!({"partition": "2/4"})).unwrap();
    let number = refused(&bench, &[shares[0].clone(), bench.out("number"), shares[2].clone()]);
    assert_eq!(about(&number), "the number of shares (2/4 and 1/3)");
    assert!(matches!(refused(&bench, &[bench.model()]), QuantError::ModelNotFound { what: Missing::Share, .. }));
    for inside in [shares[1].clone(), shares[1].join("x"), bench.root().to_path_buf()] {
        let before = snapshot(bench.root());
        let error = join_as(&bench, &shares, |r| (r.output_path, r.overwrite) = (inside, true)).expect_err("a share would be lost");
        assert!(matches!(&error, QuantError::InvalidConfig(i) if i[0].expected == "a path apart from the shares"), "{error:?}");
        assert!(snapshot(bench.root()) == before);
    }
    // Another model of the same shapes, in the place of the first.
    let file = bench.model().join(super::harness::FILE);
    let bytes = fs::read(&file).unwrap();
    let mut changed = bytes.clone();
    let at = changed.len() - 3;
    changed[at] ^= 1;
    fs::write(&file, &changed).unwrap();
    assert_eq!(about(&refused(&bench, &shares)), format!("the model's file {}", super::harness::FILE));
    fs::write(&file, &bytes).unwrap();
    join(&bench, &shares).expect("the first model is back");
}

#[test]
fn damaged_shares_are_noticed() {
    let bench = Bench::new(&varied());
    let shares = run_shares(&bench, 2, &json!({}));
    let file = shares[1].join(format!("{}.share", super::harness::FILE));
    let good = fs::read(&file).unwrap();
    let mut bad = good.clone();
    let at = bad.len() - 5;
    bad[at] ^= 0x40;
    fs::write(&file, &bad).unwrap();
    assert!(matches!(refused(&bench, &shares), QuantError::CorruptModel(damage) if damage.defect == Defect::Checksum));
    fs::write(&file, &good[..good.len() - 20]).unwrap();
    assert!(matches!(refused(&bench, &shares), QuantError::CorruptModel(_)));
    fs::remove_file(&file).unwrap();
    assert!(matches!(refused(&bench, &shares), QuantError::ModelNotFound { what: Missing::Shard, .. }));
    fs::write(&file, &good).unwrap();
    let lines = shares[0].join("arrow-quant-share.jsonl");
    let text = fs::read_to_string(&lines).unwrap();
    let without: Vec<&str> = text.lines().take(2).collect();
    fs::write(&lines, without.join("\n") + "\n").unwrap();
    assert!(matches!(refused(&bench, &shares), QuantError::Metadata { problem: MetadataProblem::FieldMissing, .. }));
    for (wrong, field) in [
        ("{}\n", "format"),
        ("", "format"),
        ("{\"format\":\"arrow-quant-share\",\"formatVersion\":9}\n", "formatVersion"),
        ("{\"format\":\"arrow-quant-share\",\"formatVersion\":1}\n", "the first line"),
    ] {
        fs::write(&lines, wrong).unwrap();
        let error = refused(&bench, &shares);
        assert!(matches!(&error, QuantError::Metadata { field: Some(f), .. } if f == field), "{wrong} {error:?}");
    }
    fs::write(&lines, &text).unwrap();
    join(&bench, &shares).expect("all is well again");
}

#[test]
fn a_share_can_be_resumed_and_not_taken_for_another() {
    let layers = (0..12).fold(SafetensorsFile::new(), |file, i| {
        file.f32(&format!("transformer_blocks.{i}.attn1.to_q.weight"), &[256, 512], &heavy(256, 512, i))
    });
    let bench = Bench::new(&layers);
    let options = json!({"resume": true, "numThreads": 1, "partition": "1/2"});
    let cancel = CancelToken::default();
    let (journal, stop) = (bench.root().join(".out.aq-partial/journal.jsonl"), cancel.clone());
    let watcher = std::thread::spawn(move || {
        while fs::read_to_string(&journal).map_or(0, |text| text.lines().count()) < 3 {
            std::thread::yield_now();
        }
        stop.cancel();
    });
    let stopped = bench.run_watched(&bench.model(), "out", &options, cancel, Arc::new(Silent));
    watcher.join().unwrap();
    assert!(matches!(stopped, Err(QuantError::Cancelled { staged: Staged::Journal, .. })), "{stopped:?}");
    let other = bench.run("out", &with(&options, &json!({"partition": "2/2"}))).unwrap_err();
    assert!(matches!(&other, QuantError::ResumeMismatch { issues, .. } if issues[0].path == "partition"), "{other:?}");
    let report = bench.run("out", &options).unwrap();
    let resumed = report.warnings.iter().find(|w| w.code == "AQ_WARN_RESUMED").expect("it was resumed");
    assert!(resumed.details["reused"].as_u64() >= Some(2) && resumed.details["tensors"] == 6, "{resumed:?}");
    bench.run("second", &json!({"partition": "2/2"})).unwrap();
    join(&bench, &[bench.out("second"), bench.out("out")]).unwrap();
    bench.run("single", &json!({})).unwrap();
    assert!(bench.tree("merged") == bench.tree("single"));
}

#[test]
fn options_that_do_not_go_together() {
    let bench = Bench::new(&varied());
    let issues = |options: Value| match bench.run("out", &options) {
        Err(QuantError::InvalidConfig(issues)) => issues.into_iter().map(|i| (i.path, i.expected)).collect::<Vec<_>>(),
        other => unreachable!("{other:?}"),
    };
    let several = ("partition".to_owned(), "not together with several layouts".to_owned());
    assert_eq!(issues(json!({"partition": "1/2", "layout": ["sdnq", "gguf"]})), [several]);
    assert_eq!(issues(json!({"partition": "3/2"})), [("partition".to_owned(), "a share such as '2/8'".to_owned())]);
}
