//! What an interrupted job leaves with `resume`, and what one that goes on makes of it.

use super::harness::{Bench, warnings};
use aq_core::CancelToken;
use aq_core::progress::Silent;
use aq_engine::QuantError;
use aq_engine::error::Staged;
use aq_testkit::{SafetensorsFile, gauss, heavy, snapshot};
use serde_json::{Value, json};
use std::fs;
use std::sync::Arc;

/// Twelve layers that take a while each.
fn slow() -> SafetensorsFile {
    (0..12).fold(SafetensorsFile::new(), |file, i| {
        file.f32(&format!("transformer_blocks.{i}.attn1.to_q.weight"), &[256, 512], &heavy(256, 512, i))
    })
}

/// A bench with a job to `out` that was interrupted once three tensors were noted.
fn interrupted_with(options: &Value) -> Bench {
    let bench = Bench::new(&slow());
    interrupt(&bench, options);
    bench
}

fn interrupt(bench: &Bench, options: &Value) {
    let cancel = CancelToken::default();
    let journal = bench.root().join(".out.aq-partial/journal.jsonl");
    let (watched, stop) = (journal.clone(), cancel.clone());
    let watcher = std::thread::spawn(move || {
        while fs::read_to_string(&watched).map_or(0, |text| text.lines().count()) < 4 {
            std::thread::yield_now();
        }
        stop.cancel();
    });
    let stopped = bench.run_watched(&bench.model(), "out", options, cancel, Arc::new(Silent));
    watcher.join().expect("the watcher ends");
    assert!(matches!(stopped, Err(QuantError::Cancelled { staged: Staged::Journal, .. })), "{stopped:?}");
    assert!(journal.is_file() && !bench.out("out").exists());
}

fn interrupted() -> (Bench, Value) {
    let options = json!({"resume": true, "numThreads": 1});
    (interrupted_with(&options), options)
}

/// How many tensors were not done again.
fn reused(report: &aq_core::report::QuantizeReport) -> u64 {
    report.warnings.iter().find(|w| w.code == "AQ_WARN_RESUMED").expect("it was resumed").details["reused"].as_u64().expect("a number")
}

#[test]
fn it_goes_on_and_ends_with_the_same_bytes() {
    let (bench, options) = interrupted();
    let report = bench.run("out", &options).unwrap();
    assert!(reused(&report) >= 3, "{}", reused(&report));
    bench.run("fresh", &json!({})).unwrap();
    assert!(bench.tree("out") == bench.tree("fresh"));
    assert!(!bench.root().join(".out.aq-partial").exists());
}

#[test]
fn raised_layers_are_gone_on_with() {
    let options = json!({"resume": true, "bitWidth": 2, "minAccuracy": 0.97, "numThreads": 1});
    let bench = interrupted_with(&options);
    let report = bench.run("out", &options).unwrap();
    assert!(reused(&report) >= 3 && report.layers.iter().any(|l| l.fallback.is_some()));
    let fresh = bench.run("fresh", &json!({"bitWidth": 2, "minAccuracy": 0.97})).unwrap();
    assert!(bench.tree("out") == bench.tree("fresh"));
    assert_eq!(report.layers, fresh.layers);
}

#[test]
fn raised_layers_are_gone_on_with_in_other_containers() {
    for layout in ["gguf", "parquet"] {
        let options = json!({"resume": true, "layout": layout, "bitWidth": 2, "minAccuracy": 0.99, "numThreads": 1});
        let bench = interrupted_with(&options);
        let report = bench.run("out", &options).unwrap();
        assert!(reused(&report) >= 3 && report.layers.iter().any(|l| l.fallback.is_some()));
        bench.run("fresh", &json!({"layout": layout, "bitWidth": 2, "minAccuracy": 0.99})).unwrap();
        assert!(bench.tree("out") == bench.tree("fresh"), "{layout}");
    }
}

#[test]
fn several_layouts_are_gone_on_with() {
    let options = json!({"resume": true, "layout": ["sdnq", "gguf", "plain"], "numThreads": 1});
    let bench = interrupted_with(&options);
    // With other layouts it is another job; what is there stays.
    for layout in [json!("sdnq"), json!(["sdnq", "gguf"])] {
        let other = bench.run("out", &json!({"resume": true, "layout": layout, "numThreads": 1}));
        assert!(matches!(other, Err(QuantError::ResumeMismatch { issues, .. }) if issues.iter().map(|i| i.path.as_str()).eq(["layout"])));
    }
    let report = bench.run("out", &options).unwrap();
    assert!(reused(&report) >= 3);
    bench.run("fresh", &json!({"layout": ["sdnq", "gguf", "plain"]})).unwrap();
    assert!(bench.tree("out") == bench.tree("fresh"));
}

#[test]
fn other_settings_are_refused_and_nothing_is_lost() {
    let (bench, options) = interrupted();
    let before = snapshot(bench.root());
    let error = bench.run("out", &json!({"resume": true, "groupSize": 32, "symmetric": true})).unwrap_err();
    let QuantError::ResumeMismatch { issues, .. } = error else { unreachable!("{error:?}") };
    let changed: Vec<(&str, &str, &str)> = issues.iter().map(|i| (i.path.as_str(), i.expected.as_str(), i.received.as_str())).collect();
    assert_eq!(changed, [("groupSize", "64", "32"), ("symmetric", "false", "true")]);
    let after = snapshot(bench.root());
    assert_eq!(before.keys().collect::<Vec<_>>(), after.keys().collect::<Vec<_>>());
    // How a job is run may differ.
    assert!(reused(&bench.run("out", &json!({"resume": true, "numThreads": 2, "maxMemoryLimitMb": 16})).unwrap()) >= 3);
    drop(options);
}

#[test]
fn bytes_that_changed_are_made_again() {
    let (bench, options) = interrupted();
    let shard = bench.root().join(".out.aq-partial/content/diffusion_pytorch_model.safetensors");
    let mut bytes = fs::read(&shard).unwrap();
    let header = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    for byte in &mut bytes[header..] {
        *byte ^= 1;
    }
    fs::write(&shard, bytes).unwrap();
    assert_eq!(reused(&bench.run("out", &options).unwrap()), 0);
    bench.run("fresh", &json!({})).unwrap();
    assert!(bench.tree("out") == bench.tree("fresh"));
}

#[test]
fn tables_over_time_are_gone_on_with_where_they_are_whole() {
    let bench = Bench::new(&slow());
    let calibration = (0..24u64).fold(SafetensorsFile::new().metadata("format", "arrow-quant-calibration"), |file, i| {
        let name = format!("transformer_blocks.{}.attn1.to_q@{}", i / 2, 500 * (i % 2));
        file.f32(&name, &[8, 512], &gauss(8, 512, i))
    });
    let path = bench.root().join("calibration.safetensors");
    fs::write(&path, calibration.bytes()).unwrap();
    bench.run("fresh", &json!({"calibration": path})).unwrap();
    let tables = "arrow-quant/time-groups.safetensors";
    assert!(bench.out("fresh").join(tables).is_file());

    let options = json!({"resume": true, "numThreads": 1, "calibration": path});
    for damage in [false, true] {
        interrupt(&bench, &options);
        let aside = bench.root().join(".out.aq-partial/tables");
        if damage {
            let mut bytes = fs::read(&aside).unwrap();
            bytes[0] ^= 1;
            fs::write(&aside, bytes).unwrap();
        }
        let report = bench.run("out", &options).unwrap();
        let noted = if damage { 2 } else { 3 };
        assert!(reused(&report) >= noted, "{damage}: {}", reused(&report));
        assert!(bench.tree("out") == bench.tree("fresh"), "{damage}");
        fs::remove_dir_all(bench.out("out")).unwrap();
    }
    // Without time there are none.
    bench.run("untimed", &json!({"calibration": path, "enableTimeAware": false})).unwrap();
    assert!(!bench.out("untimed").join("arrow-quant").exists());
}

#[test]
fn a_journal_cut_anywhere_is_gone_on_with_or_refused() {
    let (bench, options) = interrupted();
    let staging = bench.root().join(".out.aq-partial");
    let journal = fs::read(staging.join("journal.jsonl")).unwrap();
    let first = journal.iter().position(|&b| b == b'\n').unwrap() + 1;
    let saved = snapshot(&staging);
    bench.run("fresh", &json!({})).unwrap();
    for cut in [0, first / 2, first - 1, first, first + 10, journal.len() / 2, journal.len() - 1] {
        for (name, bytes) in &saved {
            let path = staging.join(name);
            if name.ends_with('/') {
                fs::create_dir_all(path).unwrap();
            } else {
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, bytes).unwrap();
            }
        }
        fs::write(staging.join("journal.jsonl"), &journal[..cut]).unwrap();
        bench.run("out", &options).unwrap();
        assert!(bench.tree("out") == bench.tree("fresh"), "{cut}");
        fs::remove_dir_all(bench.out("out")).unwrap();
    }
}

#[test]
fn a_later_layout_whose_journal_lost_its_beginning_is_made_again() {
    let options = json!({"resume": true, "layout": ["sdnq", "gguf"], "numThreads": 1});
    for text in ["", "{\"format\":", "\0\0\0\n{\"task\":0}\n"] {
        let bench = interrupted_with(&options);
        fs::write(bench.root().join(".out.aq-partial/journal.jsonl.1"), text).unwrap();
        assert!(reused(&bench.run("out", &options).unwrap()) >= 3);
        bench.run("fresh", &json!({"layout": ["sdnq", "gguf"]})).unwrap();
        assert!(bench.tree("out") == bench.tree("fresh"), "{text:?}");
    }
}

#[test]
fn without_resume_the_staging_is_swept() {
    let (bench, _) = interrupted();
    let report = bench.run("out", &json!({})).unwrap();
    assert!(warnings(&report).contains(&"AQ_WARN_STALE_STAGING"));
    assert!(!warnings(&report).contains(&"AQ_WARN_RESUMED"));
}
