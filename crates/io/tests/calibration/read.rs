//! Sound files.

use crate::forms::{self, Typing, sample};
use crate::{content, open, sorted};
use aq_io::calibration::Axis;
use aq_io::{CalibrationError, IoError};
use aq_testkit::SafetensorsFile;

#[test]
fn every_form_reads_back_the_same_rows() {
    let want = sorted(sample());
    let files = forms::all(&sample());
    assert!(files.len() > 60);
    for (extension, what, bytes) in files {
        let (_dir, calibration) = open(extension, &bytes).unwrap_or_else(|e| panic!("{extension} {what}: {e:?}"));
        let mut found = content(&calibration).unwrap_or_else(|e| panic!("{extension} {what}: {e:?}"));
        if extension == "safetensors" {
            // No place for weights there.
            assert!(found.iter().all(|r| r.weight == 1.0));
            found.iter_mut().zip(&want).for_each(|(r, w)| r.weight = w.weight);
        }
        assert_eq!(found, want, "{extension} {what}");
        assert_eq!(calibration.axis(), Axis::Timestep);
    }
}

#[test]
fn the_first_rows_are_appended_and_others_are_left_alone() {
    for (extension, what, bytes) in forms::all(&sample()) {
        let (_dir, calibration) = open(extension, &bytes).unwrap();
        let want = sample().into_iter().find(|r| r.layer == "blocks.1.to_q" && r.step == 440).unwrap();
        let mut out = vec![42.0];
        let index = calibration.steps("blocks.1.to_q").iter().position(|s| s.step == 440).unwrap();
        calibration.read("blocks.1.to_q", index, 2, &mut out).unwrap();
        assert_eq!(out[0], 42.0);
        assert_eq!(out[1..], want.data[..16], "{extension} {what}");
        calibration.read("blocks.1.to_q", 99, 2, &mut out).unwrap();
        calibration.read("nowhere", 0, 2, &mut out).unwrap();
        calibration.read("blocks.1.to_q", 0, 0, &mut out).unwrap();
        assert_eq!(out.len(), 17);
        assert!(calibration.steps("nowhere").is_empty());
    }
}

#[test]
fn many_threads_read_one_file() {
    let want = sorted(sample());
    for (extension, bytes) in [
        ("parquet", forms::parquet(&sample(), Typing::Documented, parquet::basic::Compression::SNAPPY, 4)),
        ("arrow", forms::arrow_file(&sample(), Typing::Views, None)),
    ] {
        let (_dir, calibration) = open(extension, &bytes).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..20).for_each(|_| assert_eq!(content(&calibration).unwrap(), want)));
            }
        });
    }
}

#[test]
fn summaries_are_noted_and_the_axis_is_told() {
    let file = SafetensorsFile::new()
        .metadata("format", "arrow-quant-calibration")
        .metadata("axis", "mask_ratio")
        .f32("a@b@100", &[1, 2], &[1.0, 2.0])
        .f32("a@b@100#m2", &[2], &[1.0, 4.0])
        .f32("c@7#mean", &[3], &[0.0; 3]);
    let (_dir, calibration) = open("safetensors", &file.bytes()).unwrap();
    assert_eq!(calibration.axis(), Axis::MaskRatio);
    assert_eq!(calibration.layers().collect::<Vec<_>>(), ["a@b"]);
    assert!(calibration.has_summary("a@b") && calibration.has_summary("c") && !calibration.has_summary("d"));
    // Summaries alone are enough.
    let alone = SafetensorsFile::new().f32("c@7#mean", &[3], &[0.0; 3]);
    assert_eq!(open("safetensors", &alone.bytes()).unwrap().1.layers().count(), 0);

    for (key, value) in [("axis", "dial"), ("version", "2"), ("version", "one")] {
        let file = SafetensorsFile::new().metadata("format", "arrow-quant-calibration").metadata(key, value).f32("a@1", &[1, 1], &[1.0]);
        let error = open("safetensors", &file.bytes()).unwrap_err();
        assert!(matches!(error, CalibrationError::Io(IoError::Metadata { .. })), "{key} {value}: {error:?}");
    }
}

#[test]
fn extensions_say_the_form() {
    let bytes = forms::json_lines(&sample());
    assert!(open("JSONL", &bytes).is_ok());
    for other in ["json", "csv", "feather", "pt"] {
        assert!(matches!(open(other, &bytes), Err(CalibrationError::Unsupported { .. })), "{other}");
    }
    let absent = aq_io::Calibration::open(&aq_io::Disk::default(), std::path::Path::new("nowhere.parquet"));
    assert!(matches!(absent, Err(CalibrationError::Io(IoError::NotFound { .. }))));
}
