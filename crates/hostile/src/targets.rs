//! The readers and the codecs.

use crate::{codecs, seeds};
use aq_engine::QuantError;
use aq_engine::inspect::inspect;
use aq_engine::job::{MergeRequest, merge};
use aq_io::source::{self, Component};
use aq_io::weights::weights;
use aq_io::{Calibration, Disk};
use aq_testkit::SafetensorsFile;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// What is run on bytes from anywhere.
pub struct Target {
    /// Its name, also that of its fuzz target.
    pub name: &'static str,
    /// Sound bytes.
    pub seeds: fn() -> Vec<Vec<u8>>,
    takes: Takes,
}

/// What becomes of the bytes; the last function of each tells whether they passed for sound ones.
enum Takes {
    /// They are a file: its name in a folder, what else stands there, and who reads it.
    File(&'static str, fn(&Path), fn(&Path, &Path) -> bool),
    Bytes(fn(&[u8]) -> bool),
}

use Takes::{Bytes, File};

/// All readers, and the codecs.
pub const TARGETS: [Target; 15] = [
    Target { name: "safetensors", seeds: seeds::safetensors, takes: File("x.safetensors", nothing, model) },
    Target { name: "gguf", seeds: seeds::gguf, takes: File("x.gguf", nothing, model) },
    Target { name: "archive", seeds: seeds::archive, takes: File("x.arrow-quant.parquet", nothing, model) },
    Target { name: "index", seeds: seeds::index, takes: File("model.safetensors.index.json", shards, folder) },
    Target { name: "config", seeds: seeds::config, takes: File("config.json", component, folder) },
    Target { name: "quantization_config", seeds: seeds::config, takes: File("quantization_config.json", alone, folder) },
    Target { name: "model_index", seeds: seeds::pipeline, takes: File("model_index.json", parts, folder) },
    Target { name: "share", seeds: seeds::share, takes: File("share/arrow-quant-share.jsonl", share, joined) },
    Target { name: "calibration_safetensors", seeds: seeds::calibration_tensors, takes: File("c.safetensors", nothing, calibration) },
    Target { name: "calibration_parquet", seeds: seeds::calibration_parquet, takes: File("c.parquet", nothing, calibration) },
    Target { name: "calibration_arrow", seeds: seeds::calibration_arrow, takes: File("c.arrow", nothing, calibration) },
    Target { name: "calibration_jsonl", seeds: seeds::calibration_lines, takes: File("c.jsonl", nothing, calibration) },
    Target { name: "packing", seeds: codecs::seeds_of_packing, takes: Bytes(codecs::packing) },
    Target { name: "rows", seeds: codecs::seeds_of_rows, takes: Bytes(codecs::rows) },
    Target { name: "blocks", seeds: codecs::seeds_of_blocks, takes: Bytes(codecs::blocks) },
];

/// A target with a folder to read in.
pub struct Bench<'t> {
    target: &'t Target,
    folder: TempDir,
}

impl<'t> Bench<'t> {
    /// Makes the folder.
    pub fn new(target: &'t Target) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        if let File(_, around, _) = target.takes {
            around(folder.path());
        }
        Self { target, folder }
    }

    /// Whether these bytes passed for sound ones.
    pub fn read(&self, bytes: &[u8]) -> bool {
        match self.target.takes {
            Bytes(check) => check(bytes),
            File(name, _, read) => {
                let path = self.folder.path().join(name);
                std::fs::write(&path, bytes).expect("the file can be written");
                read(self.folder.path(), &path)
            }
        }
    }
}

fn nothing(_folder: &Path) {}

fn component(folder: &Path) {
    seeds::write_model(folder);
}

/// Beside a file without a config.
fn alone(folder: &Path) {
    component(folder);
    std::fs::remove_file(folder.join("config.json")).expect("it is there");
}

fn shards(folder: &Path) {
    component(folder);
    std::fs::remove_file(folder.join("diffusion_pytorch_model.safetensors")).expect("it is there");
    for (number, name) in ["a.weight", "b.weight"].into_iter().enumerate() {
        let file = folder.join(format!("model-0000{}-of-00002.safetensors", number + 1));
        SafetensorsFile::new().f32(name, &[2, 4], &aq_testkit::gauss(2, 4, 1)).write(&file);
    }
}

fn parts(folder: &Path) {
    component(&folder.join("transformer"));
}

fn share(folder: &Path) {
    component(&folder.join("model"));
    std::fs::create_dir(folder.join("share")).expect("a folder can be made");
}

/// Every weight of a file, decoded, and every tensor.
fn model(_folder: &Path, path: &Path) -> bool {
    let Ok(source) = source::open(&Disk::default(), path) else { return false };
    source.components.iter().all(decoded)
}

fn decoded(component: &Component) -> bool {
    const ROWS: usize = 64;
    let mut good = true;
    for shard in &component.shards {
        for tensor in &shard.header.tensors {
            let mut bytes = vec![0; tensor.len.min(1 << 20) as usize];
            good &= shard.read_tensor(tensor, &mut bytes, 0).is_ok();
        }
    }
    let Ok(list) = weights(component) else { return false };
    for weight in list {
        let (out, row) = (weight.shape.first().copied().unwrap_or(0), weight.row());
        // Shapes were held against the file, so no row is longer than that.
        for first in (0..out).step_by(ROWS) {
            let mut values = vec![0.0; row * ROWS.min(out - first)];
            good &= weight.read_rows(component, first, &mut values).is_ok();
        }
    }
    good
}

fn folder(folder: &Path, _file: &Path) -> bool {
    inspect(folder, None, &seeds::control()).map_err(as_refusal).is_ok()
}

/// An error that blames the file. One that blames this program is a defect, like a panic that did not get out.
fn as_refusal(error: QuantError) -> QuantError {
    assert!(!matches!(error, QuantError::Internal { .. }), "{error:?}");
    error
}

fn joined(folder: &Path, _file: &Path) -> bool {
    let request = MergeRequest {
        shares: vec![folder.join("share")],
        output_path: folder.join("out"),
        model_path: Some(folder.join("model")),
        calibration: None,
        overwrite: true,
        num_threads: 1,
    };
    // Its weight files are not there: the line by line part is what is read.
    matches!(merge(&request, &seeds::control()).map_err(as_refusal), Ok(_) | Err(QuantError::ModelNotFound { .. }))
}

fn calibration(_folder: &Path, path: &Path) -> bool {
    let Ok(opened) = Calibration::open(&Disk::default(), &PathBuf::from(path)) else { return false };
    let layers: Vec<String> = opened.layers().map(str::to_owned).collect();
    layers.iter().all(|layer| {
        (0..opened.steps(layer).len()).all(|step| {
            let mut rows = Vec::new();
            opened.read(layer, step, usize::MAX, &mut rows).is_ok()
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sound_files_are_sound() {
        for target in &TARGETS {
            let bench = Bench::new(target);
            for (i, seed) in (target.seeds)().iter().enumerate() {
                let sound = bench.read(seed);
                // The other forms of a config are not of the model that stands there, and one pipeline names a folder outside.
                let other = matches!(target.name, "config" | "quantization_config" | "model_index" | "index");
                assert!(sound || other, "{} {i}", target.name);
            }
            let needs_bytes = matches!(target.takes, File(..)) && target.name != "quantization_config";
            assert!(!(needs_bytes && bench.read(b"")), "{}", target.name);
        }
    }

    /// Files that fuzzing has found, each under the name of its target and what it was.
    #[test]
    fn what_was_found_stays_mended() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("found");
        for file in std::fs::read_dir(folder).unwrap() {
            let path = file.unwrap().path();
            let name = path.file_name().and_then(|n| n.to_str()).unwrap();
            let target = TARGETS.iter().find(|t| name.split('-').next() == Some(t.name)).unwrap();
            let begun = std::time::Instant::now();
            Bench::new(target).read(&std::fs::read(&path).unwrap());
            assert!(begun.elapsed() < crate::MOST_TIME && crate::peak_mib().is_none_or(|p| p <= crate::MOST_MIB), "{name}");
        }
    }

    #[test]
    fn every_target_is_one_of_cargo_fuzz() {
        let manifest = include_str!("../../../fuzz/Cargo.toml");
        let names: Vec<&str> = manifest.split("[[bin]]").skip(1).filter_map(|bin| bin.split('"').nth(1)).collect();
        assert_eq!(names, TARGETS.map(|t| t.name));
    }
}
