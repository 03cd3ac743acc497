//! A part of a model with weights of its own.

use super::shard::Shard;
use super::shard_index::ShardIndex;
use super::weight_files::{self, WeightFiles};
use crate::disk::Disk;
use crate::error::IoError;
use crate::header::TensorInfo;
use crate::json;
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

/// A part of a model with weights of its own.
#[derive(Debug)]
pub struct Component {
    /// Folder name in the pipeline; empty for a model that is one component.
    pub name: String,
    /// Its folder.
    pub dir: PathBuf,
    /// Library and class that a pipeline's index names.
    pub declared: Option<(String, String)>,
    /// `config.json`, if there is one.
    pub config: Option<Map<String, Value>>,
    /// `quantization_config` of the config, or the file of that name where there is no config.
    pub quantization: Option<Map<String, Value>>,
    /// Weight files.
    pub shards: Vec<Shard>,
    /// Their index.
    pub index: Option<ShardIndex>,
}

impl Component {
    /// Opens a folder; `None` where it has no weights.
    pub fn open(disk: &Disk, dir: &Path, name: &str, declared: Option<(String, String)>) -> Result<Option<Self>, IoError> {
        let Some(WeightFiles { shards, index }) = weight_files::open(disk, dir)? else { return Ok(None) };
        let (config, quantization) = configs(disk, dir)?;
        Ok(Some(Self { name: name.into(), dir: dir.into(), declared, config, quantization, shards, index }))
    }

    /// A single file, with the `config.json` beside it.
    pub fn of_file(disk: &Disk, path: &Path) -> Result<Self, IoError> {
        let dir = path.parent().unwrap_or(Path::new("")).to_path_buf();
        let (config, quantization) = configs(disk, &dir)?;
        Ok(Self {
            name: String::new(),
            dir,
            declared: None,
            config,
            quantization,
            shards: vec![Shard::open(disk, path, None)?],
            index: None,
        })
    }

    /// The class of the model: diffusers' `_class_name`, transformers' first architecture, or what the pipeline says.
    pub fn class_name(&self) -> Option<String> {
        let config = self.config.as_ref();
        let text = |v: Option<&Value>| v.and_then(Value::as_str).map(str::to_owned);
        text(config.and_then(|c| c.get("_class_name")))
            .or_else(|| text(config.and_then(|c| c.get("architectures")).and_then(|a| a.get(0))))
            .or_else(|| self.declared.as_ref().map(|(_, class)| class.clone()))
    }

    /// Whether its config is a transformers one.
    pub fn is_transformers(&self) -> bool {
        self.config.as_ref().is_some_and(|c| c.contains_key("architectures") || c.contains_key("model_type"))
    }

    /// Whether this is what denoises: the part that is quantized by default.
    pub fn is_denoiser(&self) -> bool {
        if self.name.is_empty() {
            return true;
        }
        let named = ["transformer", "unet"].iter().any(|n| self.name == *n || self.name.starts_with(&format!("{n}_")));
        let classed = self.declared.as_ref().is_some_and(|(library, class)| {
            library != "transformers" && (class.contains("UNet") || (class.contains("Transformer") && class.ends_with("Model")))
        });
        named || classed
    }

    /// All tensors with their shard.
    pub fn tensors(&self) -> impl Iterator<Item = (&Shard, &TensorInfo)> {
        self.shards.iter().flat_map(|s| s.header.tensors.iter().map(move |t| (s, t)))
    }

    /// Bytes of the weight files.
    pub fn bytes(&self) -> u64 {
        self.shards.iter().map(|s| s.len).sum()
    }

    /// Elements of all tensors.
    pub fn parameters(&self) -> u64 {
        self.tensors().map(|(_, t)| t.numel() as u64).sum()
    }
}

type Object = Map<String, Value>;

fn configs(disk: &Disk, dir: &Path) -> Result<(Option<Object>, Option<Object>), IoError> {
    let read = |name: &str| {
        let path = dir.join(name);
        if disk.find(&path)?.is_some() { json::read_object(disk, &path).map(Some) } else { Ok(None) }
    };
    let Some(config) = read("config.json")? else { return Ok((None, read("quantization_config.json")?)) };
    let quantization = config.get("quantization_config").and_then(Value::as_object).cloned();
    Ok((Some(config), quantization))
}
