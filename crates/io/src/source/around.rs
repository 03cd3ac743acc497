//! The files around the weights: what is carried over into the output, and what stays behind (design, section 7).

use super::classify::{WEIGHT_EXTENSIONS, extension};
use super::component::Component;
use super::weight_files::is_index;
use crate::disk::Disk;
use crate::error::IoError;
use serde_json::{Map, Value};
use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// Where tables and reports stand beside a quantized model.
const BESIDE: &str = "arrow-quant";
/// Other files are carried over below this size.
const SMALL: u64 = 10_000_000;
/// Tokenizers and their like: a model does not run without them, and those of large vocabularies pass the bound.
const TEXT_EXTENSIONS: [&str; 6] = ["json", "txt", "model", "tiktoken", "py", "jinja"];
/// Folders nested deeper are not part of any model layout.
const DEEPEST: usize = 8;

/// A file that belongs to the model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Carried {
    /// Where it is.
    pub from: PathBuf,
    /// Its path in the output, relative.
    pub to: PathBuf,
    /// Weights may be linked; everything else is copied, since editing a linked JSON would edit the source.
    pub weight: bool,
}

/// A file that stays behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// Its path, relative to the model.
    pub name: String,
    /// Why.
    pub why: String,
    /// Its bytes.
    pub bytes: u64,
}

struct Walk<'a> {
    disk: &'a Disk,
    root: &'a Path,
    /// Weight files that are components' own.
    chosen: HashSet<PathBuf>,
    /// Indexes that components were opened by.
    indexes: HashSet<PathBuf>,
    /// Folders that the pipeline's index names: carried over whatever their size.
    named: HashSet<PathBuf>,
    carried: Vec<Carried>,
    left_out: Vec<LeftOut>,
}

/// Files of a folder, weights of its components included (the planner replaces those it quantizes).
pub fn of_folder(
    disk: &Disk,
    root: &Path,
    pipeline: Option<&Map<String, Value>>,
    components: &[Component],
) -> Result<(Vec<Carried>, Vec<LeftOut>), IoError> {
    let chosen = components.iter().flat_map(|c| c.shards.iter().map(|s| s.path.clone())).collect();
    let indexes = components.iter().filter_map(|c| c.index.as_ref().map(|i| c.dir.join(&i.file_name))).collect();
    let named = pipeline.into_iter().flatten().filter(|(_, v)| v.as_array().is_some_and(|a| a.iter().any(Value::is_string)));
    let named = named.map(|(name, _)| root.join(name)).collect();
    let mut walk = Walk { disk, root, chosen, indexes, named, carried: vec![], left_out: vec![] };
    walk.folder(root, false, 0)?;
    Ok((walk.carried, walk.left_out))
}

/// What goes with a single file: its config and metadata.
pub fn beside_file(disk: &Disk, dir: &Path) -> Result<Vec<Carried>, IoError> {
    let mut carried = Vec::new();
    for name in ["config.json", "metadata.json"] {
        let from = dir.join(name);
        if disk.is_file(&from)? {
            carried.push(Carried { from, to: name.into(), weight: false });
        }
    }
    Ok(carried)
}

impl Walk<'_> {
    fn folder(&mut self, dir: &Path, named: bool, depth: usize) -> Result<(), IoError> {
        for name in self.disk.names(dir)? {
            // Version control and download caches are not the model; what an earlier job wrote beside it describes other bytes.
            if name.starts_with('.') || (depth == 0 && name == BESIDE) {
                continue;
            }
            let path = dir.join(&name);
            let Some(link) = self.disk.find_link(&path)? else { continue };
            // A circle of links fails here; nothing can be carried over from it.
            let Ok(Some(meta)) = self.disk.find(&path) else {
                self.leave(&path, "a link that leads nowhere", 0);
                continue;
            };
            if meta.is_dir() {
                if (link.file_type().is_symlink() && !self.named.contains(&path)) || depth >= DEEPEST {
                    self.leave(&path, "a linked or too deeply nested folder", 0);
                } else {
                    let named = named || self.named.contains(&path);
                    self.folder(&path, named, depth + 1)?;
                }
            } else if meta.is_file() {
                self.file(&path, meta.len(), named);
            } else {
                self.leave(&path, "not a regular file", 0);
            }
        }
        Ok(())
    }

    fn file(&mut self, path: &Path, bytes: u64, named: bool) {
        let weight = WEIGHT_EXTENSIONS.contains(&extension(path).as_str());
        let index = path.file_name().is_some_and(|n| is_index(&n.to_string_lossy()));
        if self.chosen.contains(path) {
            self.carry(path, true);
        } else if weight {
            self.leave(path, "a weight file that the model does not load", bytes);
        } else if !named && bytes >= SMALL && !TEXT_EXTENSIONS.contains(&extension(path).as_str()) {
            self.leave(path, "not a model file, and larger than 10 MB", bytes);
        } else if index && !self.indexes.contains(path) {
            self.leave(path, "an index of weights that the model does not load", bytes);
        } else {
            self.carry(path, false);
        }
    }

    fn relative(&self, path: &Path) -> PathBuf {
        path.strip_prefix(self.root).unwrap_or(path).to_path_buf()
    }

    fn carry(&mut self, path: &Path, weight: bool) {
        self.carried.push(Carried { from: path.into(), to: self.relative(path), weight });
    }

    fn leave(&mut self, path: &Path, why: &str, bytes: u64) {
        let name = self.relative(path).to_string_lossy().into_owned();
        self.left_out.push(LeftOut { name, why: why.into(), bytes });
    }
}
