//! What the user points at: a pipeline, a component folder, a transformers folder or a file.

use super::around::{self, Carried, LeftOut};
use super::classify::{detect_foreign, stat, stat_regular};
use super::component::Component;
use super::shard_index::stays_inside;
use super::weight_files::no_weights;
use crate::disk::Disk;
use crate::error::{IoError, MetadataProblem, Missing};
use crate::json;
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

/// What the user points at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceKind {
    /// A folder with `model_index.json`.
    Pipeline,
    /// One component of a diffusers model.
    Component,
    /// A transformers model.
    Transformers,
    /// One .safetensors file.
    File,
}

impl SourceKind {
    /// The name in reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pipeline => "pipeline",
            Self::Component => "component",
            Self::Transformers => "transformers",
            Self::File => "file",
        }
    }
}

/// A model on disk, headers read, nothing else.
#[derive(Debug)]
pub struct Source {
    /// What the user pointed at.
    pub path: PathBuf,
    /// The folder that becomes the output folder.
    pub root: PathBuf,
    /// Its kind.
    pub kind: SourceKind,
    /// `model_index.json`.
    pub pipeline: Option<Map<String, Value>>,
    /// `metadata.json` beside the model.
    pub metadata: Option<Map<String, Value>>,
    /// What the network predicts (`epsilon`, `v_prediction`, …), as the pipeline's scheduler says; flow matching has no such field.
    pub prediction: Option<String>,
    /// Parts with weights.
    pub components: Vec<Component>,
    /// Other files that belong to the model.
    pub carried: Vec<Carried>,
    /// Files that stay behind, with the reason.
    pub left_out: Vec<LeftOut>,
}

/// Opens a model: finds its parts and reads their headers.
pub fn open(disk: &Disk, path: &Path) -> Result<Source, IoError> {
    let meta = stat(disk, path, Missing::Model, None)?;
    if meta.is_dir() { open_folder(disk, path) } else { open_file(disk, path) }
}

fn open_file(disk: &Disk, path: &Path) -> Result<Source, IoError> {
    stat_regular(disk, path, Missing::Model, None)?;
    if let Some(detected) = detect_foreign(disk, path)? {
        return Err(IoError::Unsupported { path: path.into(), detected });
    }
    let component = Component::of_file(disk, path)?;
    let root = component.dir.clone();
    let metadata = metadata(disk, &root)?;
    let carried = around::beside_file(disk, &root)?;
    Ok(Source {
        path: path.into(),
        root,
        kind: SourceKind::File,
        pipeline: None,
        metadata,
        prediction: None,
        components: vec![component],
        carried,
        left_out: vec![],
    })
}

fn open_folder(disk: &Disk, root: &Path) -> Result<Source, IoError> {
    let index = root.join("model_index.json");
    let pipeline = if disk.find(&index)?.is_some() { Some(json::read_object(disk, &index)?) } else { None };
    let components = match &pipeline {
        Some(map) => pipeline_components(disk, root, &index, map)?,
        None => Component::open(disk, root, "", None)?.into_iter().collect(),
    };
    if components.is_empty() {
        return Err(no_weights(disk, root));
    }
    let kind = match &pipeline {
        Some(_) => SourceKind::Pipeline,
        None if components.iter().any(Component::is_transformers) => SourceKind::Transformers,
        None => SourceKind::Component,
    };
    let metadata = metadata(disk, root)?;
    let (carried, left_out) = around::of_folder(disk, root, pipeline.as_ref(), &components)?;
    Ok(Source {
        path: root.into(),
        root: root.into(),
        kind,
        prediction: prediction(disk, root)?,
        pipeline,
        metadata,
        components,
        carried,
        left_out,
    })
}

/// Every `name: [library, class]` of the index whose folder has weights; `[null, null]` parts are absent.
fn pipeline_components(disk: &Disk, root: &Path, index: &Path, map: &Map<String, Value>) -> Result<Vec<Component>, IoError> {
    let mut components = Vec::new();
    for (name, value) in map {
        let Some([library, class]) = value.as_array().map(Vec::as_slice).and_then(|a| <&[Value; 2]>::try_from(a).ok()) else { continue };
        let (Some(library), Some(class)) = (library.as_str(), class.as_str()) else { continue };
        if !stays_inside(name) {
            let problem = MetadataProblem::Outside { name: name.clone() };
            return Err(IoError::Metadata { path: index.into(), field: Some(name.clone()), problem });
        }
        let dir = root.join(name);
        if disk.is_folder(&dir)? {
            components.extend(Component::open(disk, &dir, name, Some((library.into(), class.into())))?);
        }
    }
    Ok(components)
}

fn metadata(disk: &Disk, root: &Path) -> Result<Option<Map<String, Value>>, IoError> {
    let path = root.join("metadata.json");
    // A link that leads nowhere is no metadata; a folder of that name is an error, which reading it reports.
    if disk.find(&path)?.is_some() { json::read_object(disk, &path).map(Some) } else { Ok(None) }
}

/// `prediction_type` of the scheduler's config; flow-matching schedulers may carry the field without meaning it.
fn prediction(disk: &Disk, root: &Path) -> Result<Option<String>, IoError> {
    let path = root.join("scheduler").join("scheduler_config.json");
    if !disk.is_file(&path)? {
        return Ok(None);
    }
    let config = json::read_object(disk, &path)?;
    let text = |key: &str| config.get(key).and_then(Value::as_str);
    let flow = text("_class_name").is_some_and(|c| c.contains("Flow"));
    Ok(if flow { None } else { text("prediction_type").map(str::to_owned) })
}
