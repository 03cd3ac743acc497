//! Sound files for cargo-fuzz to begin from: `node scripts/example.mjs fuzz_seeds` writes those of each target into `fuzz/corpus`.
#![expect(clippy::expect_used, reason = "a command for developers")]

use aq_hostile::TARGETS;
use std::path::Path;

fn main() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    for target in &TARGETS {
        let folder = corpus.join(target.name);
        std::fs::create_dir_all(&folder).expect("a folder can be made");
        for (i, seed) in (target.seeds)().iter().enumerate() {
            std::fs::write(folder.join(format!("seed-{i}")), seed).expect("a file can be written");
        }
    }
}
