//! `*.safetensors.index.json`: which shard holds which tensor.

use crate::disk::Disk;
use crate::error::{IoError, MetadataProblem};
use crate::json;
use serde_json::{Map, Value};
use std::path::{Component, Path};

/// A parsed index.
#[derive(Debug, Clone)]
pub struct ShardIndex {
    /// Name of the index file.
    pub file_name: String,
    /// Everything but the weight map, to be written back.
    pub metadata: Option<Map<String, Value>>,
    /// Tensor to shard file name, in file order.
    pub weight_map: Vec<(String, String)>,
}

impl ShardIndex {
    /// Reads an index; no name in it may lead out of the folder.
    pub fn read(disk: &Disk, path: &Path) -> Result<Self, IoError> {
        let mut root = json::read_object(disk, path)?;
        let field = "weight_map";
        let missing = || IoError::Metadata { path: path.into(), field: Some(field.into()), problem: MetadataProblem::FieldMissing };
        let map = match root.get(field).ok_or_else(missing)? {
            Value::Object(map) => map,
            other => return Err(json::field_type(path, Some(field), "an object", other)),
        };
        let mut weight_map = Vec::with_capacity(map.len());
        for (tensor, file) in map {
            let Value::String(file) = file else {
                return Err(json::field_type(path, Some(&format!("{field}.{tensor}")), "a file name", file));
            };
            if !stays_inside(file) {
                let problem = MetadataProblem::Outside { name: file.clone() };
                return Err(IoError::Metadata { path: path.into(), field: Some(format!("{field}.{tensor}")), problem });
            }
            weight_map.push((tensor.clone(), file.clone()));
        }
        let metadata = match root.remove("metadata") {
            Some(Value::Object(m)) => Some(m),
            _ => None,
        };
        let file_name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        Ok(Self { file_name, metadata, weight_map })
    }

    /// Shard names in order of first mention, each once.
    pub fn shards(&self) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        let mut seen = std::collections::HashSet::new();
        for (_, file) in &self.weight_map {
            if seen.insert(file) {
                names.push(file.clone());
            }
        }
        names.sort();
        names
    }
}

/// A plain file name, or a relative path that never climbs.
pub fn stays_inside(name: &str) -> bool {
    !name.is_empty() && !name.contains(['\\', '\0']) && Path::new(name).components().all(|c| matches!(c, Component::Normal(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_climb_are_refused() {
        for bad in ["../x.safetensors", "/etc/passwd", "a/../../b", "", "..", "a\\..\\b"] {
            assert!(!stays_inside(bad), "{bad}");
        }
        assert!(stays_inside("model-00001-of-00002.safetensors") && stays_inside("sub/x.safetensors"));
    }
}
