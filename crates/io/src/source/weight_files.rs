//! Which files of a folder are its weights (design, section 7): an index first, then the usual names, then the only .safetensors
//! there is, then the only .gguf, then the only archive.

use super::classify::{PICKLE_EXTENSIONS, extension};
use super::shard::Shard;
use super::shard_index::ShardIndex;
use crate::disk::Disk;
use crate::error::{IoError, MetadataProblem, Missing};
use crate::parquet;
use std::path::Path;

const STEMS: [&str; 2] = ["diffusion_pytorch_model", "model"];
const INDEX_SUFFIX: &str = ".safetensors.index.json";
/// With a variant: `model.safetensors.index.fp16.json`.
const INDEX_INFIX: &str = ".safetensors.index.";

/// The weights of a folder.
#[derive(Debug)]
pub struct WeightFiles {
    /// Shards in name order.
    pub shards: Vec<Shard>,
    /// The index that named them.
    pub index: Option<ShardIndex>,
}

/// Whether a file name is that of a shard index.
pub fn is_index(name: &str) -> bool {
    name.contains(INDEX_INFIX) && name.ends_with(".json")
}

/// Opens the weights of a folder; `None` where it has none.
pub fn open(disk: &Disk, dir: &Path) -> Result<Option<WeightFiles>, IoError> {
    let names = disk.names(dir)?;
    let indexes: Vec<&String> = names.iter().filter(|n| is_index(n)).collect();
    if let Some(index) = choose(dir, &indexes, &STEMS.map(|s| format!("{s}{INDEX_SUFFIX}")))? {
        return open_index(disk, dir, &index).map(Some);
    }
    let exact: Vec<String> = STEMS.iter().map(|s| format!("{s}.safetensors")).collect();
    let files: Vec<&String> = names.iter().filter(|n| n.ends_with(".safetensors")).collect();
    let usual: Vec<&String> = files.iter().copied().filter(|n| STEMS.iter().any(|s| n.starts_with(&format!("{s}.")))).collect();
    if let Some(name) = choose(dir, &usual, &exact)? {
        return Ok(Some(WeightFiles { shards: vec![Shard::open(disk, &dir.join(name), None)?], index: None }));
    }
    let mut weights = Vec::new();
    for name in files {
        let shard = Shard::open(disk, &dir.join(name), None)?;
        if !shard.header.metadata.get("format").is_some_and(|f| f.starts_with("arrow-quant-")) {
            weights.push(shard);
        }
    }
    if weights.len() > 1 {
        return Err(ambiguous(dir, weights.iter().map(|w| w.file_name.clone()).collect()));
    }
    if weights.is_empty() {
        // What a job leaves that has written GGUF.
        let files: Vec<&String> = names.iter().filter(|n| n.ends_with(".gguf")).collect();
        let exact: Vec<String> = STEMS.iter().map(|s| format!("{s}.gguf")).collect();
        if let Some(name) = choose(dir, &files, &exact)? {
            weights.push(Shard::open(disk, &dir.join(name), None)?);
        } else {
            let archives: Vec<&String> = names.iter().filter(|n| n.ends_with(&format!(".{}", parquet::EXTENSION))).collect();
            if let Some(name) = choose(dir, &archives, &[])? {
                weights.push(Shard::open(disk, &dir.join(name), None)?);
            }
        }
    }
    Ok(weights.pop().map(|shard| WeightFiles { shards: vec![shard], index: None }))
}

/// One of the preferred names, else the only candidate.
fn choose(dir: &Path, candidates: &[&String], preferred: &[String]) -> Result<Option<String>, IoError> {
    let best: Vec<&&String> = candidates.iter().filter(|n| preferred.contains(n)).collect();
    match (best.as_slice(), candidates) {
        ([one], _) => Ok(Some((**one).clone())),
        ([], []) => Ok(None),
        ([], [one]) => Ok(Some((*one).clone())),
        ([], many) => Err(ambiguous(dir, many.iter().map(|n| (*n).clone()).collect())),
        (several, _) => Err(ambiguous(dir, several.iter().map(|n| (**n).clone()).collect())),
    }
}

fn ambiguous(dir: &Path, candidates: Vec<String>) -> IoError {
    IoError::Metadata { path: dir.into(), field: None, problem: MetadataProblem::Ambiguous { candidates } }
}

fn open_index(disk: &Disk, dir: &Path, name: &str) -> Result<WeightFiles, IoError> {
    let path = dir.join(name);
    let index = ShardIndex::read(disk, &path)?;
    let mut shards = Vec::new();
    for file in index.shards() {
        let mut shard = Shard::open(disk, &dir.join(&file), Some(&path))?;
        shard.file_name = file; // with its subfolder, as the index has it
        shards.push(shard);
    }
    if shards.is_empty() {
        return Err(IoError::NotFound { path: dir.into(), what: Missing::Weights, referenced_by: Some(path), source: None });
    }
    for shard in &shards {
        let held: std::collections::HashSet<&str> = shard.header.tensors.iter().map(|t| t.name.as_str()).collect();
        let lost = index.weight_map.iter().find(|(t, f)| *f == shard.file_name && !held.contains(t.as_str()));
        if let Some((tensor, _)) = lost {
            let problem = MetadataProblem::Contradiction { other: shard.path.clone(), about: format!("tensor {tensor}") };
            return Err(IoError::Metadata { path, field: Some(format!("weight_map.{tensor}")), problem });
        }
    }
    Ok(WeightFiles { shards, index: Some(index) })
}

/// The error for a folder without weights: a pickle is named as such.
pub fn no_weights(disk: &Disk, dir: &Path) -> IoError {
    let pickle = disk.names(dir).ok().and_then(|names| names.into_iter().find(|n| is_pickle(disk, &dir.join(n))));
    match pickle {
        Some(name) => IoError::Unsupported { path: dir.join(name), detected: "a pickled checkpoint".into() },
        None => IoError::NotFound { path: dir.into(), what: Missing::Weights, referenced_by: None, source: None },
    }
}

fn is_pickle(disk: &Disk, path: &Path) -> bool {
    disk.is_file(path).unwrap_or(false) && PICKLE_EXTENSIONS.contains(&extension(path).as_str())
}
