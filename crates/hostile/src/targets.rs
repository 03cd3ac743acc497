//! The readers.

use crate::seeds;
use aq_engine::QuantError;
use aq_engine::inspect::inspect;
use aq_engine::job::{MergeRequest, merge};
use aq_io::source::{self, Component};
use aq_io::weights::weights;
use aq_io::{Calibration, Disk};
use aq_testkit::SafetensorsFile;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A reader of files.
pub struct Target {
    /// Its name, also that of its fuzz target.
    pub name: &'static str,
    /// The file, in the folder that it is read in.
    file: &'static str,
    /// Sound files.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// What else stands in the folder.
    around: fn(&Path),
    /// Reads everything; whether the file passed for a sound one.
    read: fn(&Path, &Path) -> bool,
}

/// All readers.
pub const TARGETS: [Target; 12] = [
    Target { name: "safetensors", file: "x.safetensors", seeds: seeds::safetensors, around: nothing, read: model },
    Target { name: "gguf", file: "x.gguf", seeds: seeds::gguf, around: nothing, read: model },
    Target { name: "archive", file: "x.arrow-quant.parquet", seeds: seeds::archive, around: nothing, read: model },
    Target { name: "index", file: "model.safetensors.index.json", seeds: seeds::index, around: shards, read: folder },
    Target { name: "config", file: "config.json", seeds: seeds::config, around: component, read: folder },
    Target { name: "quantization_config", file: "quantization_config.json", seeds: seeds::config, around: alone, read: folder },
    Target { name: "model_index", file: "model_index.json", seeds: seeds::pipeline, around: parts, read: folder },
    Target { name: "share", file: "share/arrow-quant-share.jsonl", seeds: seeds::share, around: share, read: joined },
    Target {
        name: "calibration_safetensors",
        file: "c.safetensors",
        seeds: seeds::calibration_tensors,
        around: nothing,
        read: calibration,
    },
    Target { name: "calibration_parquet", file: "c.parquet", seeds: seeds::calibration_parquet, around: nothing, read: calibration },
    Target { name: "calibration_arrow", file: "c.arrow", seeds: seeds::calibration_arrow, around: nothing, read: calibration },
    Target { name: "calibration_jsonl", file: "c.jsonl", seeds: seeds::calibration_lines, around: nothing, read: calibration },
];

/// A reader with a folder to read in.
pub struct Bench<'t> {
    target: &'t Target,
    folder: TempDir,
}

impl<'t> Bench<'t> {
    /// Makes the folder.
    pub fn new(target: &'t Target) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        (target.around)(folder.path());
        Self { target, folder }
    }

    /// Reads a file of these bytes; whether it passed for a sound one.
    pub fn read(&self, bytes: &[u8]) -> bool {
        let path = self.folder.path().join(self.target.file);
        std::fs::write(&path, bytes).expect("the file can be written");
        (self.target.read)(self.folder.path(), &path)
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
    inspect(folder, None, &seeds::control()).is_ok()
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
    matches!(merge(&request, &seeds::control()), Ok(_) | Err(QuantError::ModelNotFound { .. }))
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
            assert!(!bench.read(b"") || target.name == "quantization_config", "{}", target.name);
        }
    }
}
