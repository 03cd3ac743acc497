//! Files that another library wrote; `testdata/calibration/README.md` says how.

use aq_io::{Calibration, Disk};
use std::path::Path;

#[test]
fn files_written_by_pyarrow() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/calibration");
    for name in ["pyarrow.parquet", "pyarrow.arrow"] {
        let calibration = Calibration::open(&Disk::default(), &folder.join(name)).unwrap();
        assert_eq!(calibration.layers().collect::<Vec<_>>(), ["blocks.0.to_q", "blocks.1.ff"], "{name}");
        for (layer, in_features) in [("blocks.0.to_q", 8), ("blocks.1.ff", 12)] {
            let steps = calibration.steps(layer);
            assert_eq!(steps.iter().map(|s| s.step).collect::<Vec<_>>(), [0, 500, 980]);
            for (index, step) in steps.iter().enumerate() {
                assert_eq!((step.rows, step.in_features, step.weight), (3, in_features, [2.0, 1.0, 0.5][index]));
                let mut rows = Vec::new();
                calibration.read(layer, index, usize::MAX, &mut rows).unwrap();
                let first = step.step as f32 + in_features as f32 / 16.0;
                let want: Vec<f32> = (0..3 * in_features).map(|i| first + i as f32 / 64.0).collect();
                assert_eq!(rows, want, "{name} {layer} {}", step.step);
            }
        }
    }
}
