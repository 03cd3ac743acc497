//! What the disk does wrong while another library reads: it stays the disk's, and is repeated where that helps. Apart from the other tests,
//! since a plan of faults is one for the process.
#![cfg(feature = "fault")]

#[path = "calibration/forms.rs"]
#[expect(dead_code, reason = "shared with the tests of calibration files")]
mod forms;

use aq_io::fault::{counts, set_plan};
use aq_io::{Calibration, CalibrationError, Disk, IoError};
use forms::{Typing, sample};
use parquet::basic::Compression;
use std::path::Path;
use tempfile::TempDir;

fn whole(path: &Path) -> Result<usize, CalibrationError> {
    let calibration = Calibration::open(&Disk::default().with_retries(0), path)?;
    let mut out = Vec::new();
    for layer in calibration.layers() {
        for index in 0..calibration.steps(layer).len() {
            calibration.read(layer, index, usize::MAX, &mut out)?;
        }
    }
    Ok(out.len())
}

#[test]
fn the_disk_is_blamed_for_what_it_did() {
    let dir = TempDir::new().unwrap();
    for (extension, bytes) in [
        ("parquet", forms::parquet(&sample(), Typing::Documented, Compression::SNAPPY, 4)),
        ("arrow", forms::arrow_file(&sample(), Typing::Documented, None)),
        ("arrow", forms::arrow_stream(&sample(), Typing::List, None)),
        ("safetensors", forms::safetensors(&sample(), aq_testkit::Float::F16)),
        ("jsonl", forms::json_lines(&sample())),
    ] {
        let path = dir.path().join(format!("c.{extension}"));
        std::fs::write(&path, &bytes).unwrap();
        set_plan("").unwrap();
        let values = whole(&path).unwrap();
        let reads = counts()["read"];
        assert!(reads > 3);
        for at in 1..=reads {
            for errno in ["EIO", "EACCES", "EPERM", "ESTALE", "EBUSY"] {
                set_plan(&format!("{errno}@read:{at}")).unwrap();
                let error = whole(&path).unwrap_err();
                let CalibrationError::Io(IoError::File { source, .. }) = &error else { panic!("{extension} {errno} {at}: {error:?}") };
                assert_eq!(aq_io::errno::name(source), errno);
            }
            set_plan(&format!("EINVAL@read:{at}")).unwrap();
            match whole(&path).unwrap_err() {
                CalibrationError::Arrow { .. } => assert_eq!(extension, "arrow"),
                CalibrationError::Parquet { .. } => assert_eq!(extension, "parquet"),
                CalibrationError::Io(_) => assert!(["safetensors", "jsonl"].contains(&extension)),
                other => panic!("{other:?}"),
            }
            set_plan(&format!("short@read:{at}")).unwrap();
            assert_eq!(whole(&path).unwrap(), values, "{extension} {at}");
        }
    }
    set_plan("").unwrap();
}
