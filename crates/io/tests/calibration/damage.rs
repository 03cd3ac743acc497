//! Damaged files: a typed error or equal data, never a panic.

use crate::forms::{self, Rows, Typing, sample};
use crate::{content, open, sorted};
use aq_io::{Calibration, CalibrationError, Disk};
use aq_testkit::SplitMix;
use arrow_ipc::CompressionType;
use parquet::basic::{Compression, ZstdLevel};
use tempfile::TempDir;

/// A few small records.
fn small() -> Vec<Rows> {
    sample().into_iter().filter(|r| r.step > 3).collect()
}

fn attempt(dir: &TempDir, extension: &str, bytes: &[u8]) -> Result<Vec<Rows>, CalibrationError> {
    let path = dir.path().join(format!("c.{extension}"));
    std::fs::write(&path, bytes).expect("a test's own file can be made");
    content(&Calibration::open(&Disk::default(), &path)?)
}

fn files() -> Vec<(&'static str, Vec<u8>)> {
    let list = small();
    let zstd = Compression::ZSTD(ZstdLevel::default());
    vec![
        ("arrow", forms::arrow_file(&list, Typing::Documented, None)),
        ("arrow", forms::arrow_file(&list, Typing::List, Some(CompressionType::LZ4_FRAME))),
        ("arrow", forms::arrow_file(&list, Typing::Views, Some(CompressionType::ZSTD))),
        ("arrow", forms::arrow_stream(&list, Typing::Other, None)),
        ("arrow", forms::arrow_stream(&list, Typing::List, None)),
        ("parquet", forms::parquet(&list, Typing::Documented, Compression::SNAPPY, 3)),
        ("parquet", forms::parquet(&list, Typing::List, zstd, 1000)),
        ("parquet", forms::parquet(&list, Typing::Views, Compression::UNCOMPRESSED, 1000)),
    ]
}

/// Arrow's and Parquet's readers panic on some damage, which is caught; the hook would print each.
fn quietly(test: impl FnOnce()) {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if info.location().is_some_and(|l| l.file().contains("calibration")) {
            usual(info);
        }
    }));
    test();
}

#[test]
fn cut_at_every_byte() {
    quietly(|| {
        let dir = TempDir::new().unwrap();
        for (extension, bytes) in files() {
            for cut in 0..bytes.len() {
                match attempt(&dir, extension, &bytes[..cut]) {
                    Err(CalibrationError::Arrow { .. }) => assert_eq!(extension, "arrow"),
                    Err(CalibrationError::Parquet { .. }) => assert_eq!(extension, "parquet"),
                    other => panic!("{extension} cut at {cut} of {}: {other:?}", bytes.len()),
                }
            }
        }
    });
}

#[test]
fn bytes_changed_at_random_never_panic() {
    quietly(|| {
        let dir = TempDir::new().unwrap();
        let mut random = SplitMix::new(11);
        for (extension, bytes) in files() {
            for _ in 0..3000 {
                let mut bytes = bytes.clone();
                for _ in 0..=random.below(3) {
                    let at = random.below(bytes.len());
                    bytes[at] = [0, 0xff, 0x80, 1, random.below(256) as u8][random.below(5)];
                }
                // Neither format has check sums where they are not asked for, so changed values may pass; a panic may not.
                match attempt(&dir, extension, &bytes) {
                    Ok(_) | Err(CalibrationError::Record { .. }) => {}
                    Err(CalibrationError::Arrow { .. }) => assert_eq!(extension, "arrow"),
                    Err(CalibrationError::Parquet { .. }) => assert_eq!(extension, "parquet"),
                    Err(other) => panic!("{other:?}"),
                }
            }
        }
    });
}

/// Zeros compress without bound: a few kilobytes may become as much as any file may take, and not more.
#[test]
fn files_that_become_thousands_of_times_what_they_are() {
    let zeros = |n: usize| Rows { layer: "a".into(), step: 0, count: 1, in_features: n, data: vec![0.0; n], weight: 1.0 };
    let zstd = Compression::ZSTD(ZstdLevel::default());
    let dir = TempDir::new().unwrap();
    for (n, is_read) in [(4 << 20, true), (20 << 20, false)] {
        let list = [zeros(n)];
        let arrow = attempt(&dir, "arrow", &forms::arrow_file(&list, Typing::Views, Some(CompressionType::ZSTD)));
        let parquet = attempt(&dir, "parquet", &forms::parquet(&list, Typing::Documented, zstd, 1));
        if is_read {
            assert!(arrow.unwrap() == list && parquet.unwrap() == list);
        } else {
            assert!(matches!(arrow, Err(CalibrationError::Arrow { .. })) && matches!(parquet, Err(CalibrationError::Parquet { .. })));
        }
    }
}

#[test]
fn other_bytes_under_the_name() {
    for bytes in [
        &b"not arrow at all, really"[..],
        b"",
        b"A",
        b"ARROW1",
        b"ARROW1\0\0ARROW1",
        b"\xff\xff\xff\xff\0\0\0\0",
        b"\xff\xff\xff\xff\xff\xff\xff\x7f",
    ] {
        assert!(matches!(open("arrow", bytes), Err(CalibrationError::Arrow { .. })), "{bytes:?}");
    }
    for bytes in [&b"PAR1"[..], b"", b"PAR1PAR1", b"PAR1\xff\xff\xff\x7fPAR1", b"PAR1\0\0\0\0PAR1"] {
        assert!(matches!(open("parquet", bytes), Err(CalibrationError::Parquet { .. })), "{bytes:?}");
    }
}

#[test]
fn tensors_and_lines_cut_short() {
    let dir = TempDir::new().unwrap();
    let list = small();
    let bytes = forms::safetensors(&list, aq_testkit::Float::F16);
    for cut in 0..bytes.len() {
        assert!(matches!(attempt(&dir, "safetensors", &bytes[..cut]), Err(CalibrationError::Io(_))), "{cut}");
    }
    // Lines have no end mark: between two of them a cut leaves the records before. Nowhere else.
    let bytes = forms::json_lines(&list);
    let all = sorted(list.clone());
    for cut in 0..bytes.len() {
        match attempt(&dir, "jsonl", &bytes[..cut]) {
            Ok(found) => assert!(found.iter().all(|r| all.contains(r)) && found.len() <= all.len(), "{cut}"),
            Err(CalibrationError::Json { .. } | CalibrationError::Record { .. }) => {}
            Err(other) => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_file_that_changes_after_it_was_opened() {
    for (extension, bytes) in files() {
        let (dir, calibration) = open(extension, &bytes).unwrap();
        let path = dir.path().join(format!("c.{extension}"));
        calibration.check_unchanged().unwrap();
        let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.set_len(10).unwrap();
        let error = content(&calibration).unwrap_err();
        assert!(matches!(error, CalibrationError::Io(aq_io::IoError::Corrupt(_))), "{extension}: {error:?}");
        assert!(calibration.check_unchanged().is_err());
    }
}
