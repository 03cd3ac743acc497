//! A share of a job: the same plan and the same tasks, of which it does those that fall to it. What it leaves is what a job that resumes
//! would find: weight files with its own tensors, a line for each of them, and tables. `merge` joins the shares of all.
//!
//! Shares are made on machines that do not know of each other, so what says that they belong together holds no path and no time.

use super::journal::{self, Entry};
use super::run::{Encoded, Prepared, as_json, report_of};
use super::tasks::OutputFile;
use super::{files, manifest};
use crate::control::Control;
use crate::error::QuantError;
use crate::plan::{FilePlan, TensorPlan};
use aq_core::report::QuantizeReport;
use aq_core::{GivenConfig, Mode, Phase, Share};
use aq_io::Disk;
use aq_io::output::Staging;
use aq_io::source::Shard;
use aq_io::{IoError, MetadataProblem};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What tells of a share, in its folder.
pub const FILE: &str = "arrow-quant-share.jsonl";
/// Its tables over time.
pub const TABLES: &str = "arrow-quant-share.tables";
const FORMAT: &str = "arrow-quant-share";
const FORMAT_VERSION: u64 = 1;

/// The first line of its file.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Told {
    format: String,
    format_version: u64,
    /// The version that made it.
    pub version: String,
    /// Which share, such as `2/8`.
    pub share: String,
    /// Where the model was, for whoever joins the shares on the same machine.
    pub model: PathBuf,
    /// With a time axis or without.
    pub mode: Mode,
    /// Options as given.
    pub options: Map<String, Value>,
    /// What shares of one job have in common: the options with their defaults, and the input files.
    pub config: Value,
    /// Input files by what they are to the job.
    pub files: Map<String, Value>,
}

/// The name of a file with some tensors of a weight file: what loads models does not take it for one.
pub fn weights(name: &str) -> String {
    format!("{name}.share")
}

/// Whether a share has written a file, by its name.
pub fn is_of_share(path: &Path) -> bool {
    let name = path.file_name().map(|n| n.to_string_lossy()).unwrap_or_default();
    name == FILE || name == TABLES || name.ends_with(".share")
}

/// The files of a share with the numbers of their tasks, or all files.
pub fn files(plans: Vec<FilePlan<'_>>, share: Option<Share>) -> Vec<(FilePlan<'_>, Vec<usize>)> {
    let sizes: Vec<u64> = plans.iter().flat_map(|p| &p.tensors).map(|t| t.source.info.len).collect();
    let owners = share.map(|s| Share::owners(&sizes, s.count));
    let mine = |task: usize| owners.as_ref().zip(share).is_none_or(|(owners, share)| owners[task] == share.number);
    let mut next = 0;
    let mut list = Vec::new();
    for mut plan in plans {
        let numbered = plan.tensors.drain(..).map(|tensor| {
            next += 1;
            (tensor, next - 1)
        });
        let (tensors, tasks): (Vec<_>, Vec<usize>) = numbered.filter(|(_, task)| mine(*task)).unzip();
        if share.is_none() || !tasks.is_empty() {
            list.push((FilePlan { tensors, ..plan }, tasks));
        }
    }
    list
}

/// How much falls to a job, of all or to its share: layers, and bytes that are read.
pub fn extent(p: &Prepared) -> (u64, u64) {
    if p.config.partition.is_none() {
        return (p.plan.layers.len() as u64, p.plan.bytes(&p.source));
    }
    let files = files(p.plan.files(&p.source, p.layout), p.config.partition);
    let tensors = || files.iter().flat_map(|(plan, _)| &plan.tensors);
    let layers = tensors().filter(|t| matches!(t.plan, TensorPlan::Quantize(_))).count();
    (layers as u64, tensors().map(|t| t.source.info.len).sum())
}

/// Bytes of the weight files that a job is to write, about.
pub fn written(p: &Prepared) -> u64 {
    let files = files(p.plan.files(&p.source, p.layout), p.config.partition);
    files.iter().map(|(plan, _)| plan.container.planned_len(&plan.out())).sum()
}

/// What shares of one job have in common.
pub fn identity(p: &Prepared) -> Result<(Value, Map<String, Value>), QuantError> {
    let mut files = Map::new();
    for component in p.plan.components.iter().map(|c| &p.source.components[c.component]) {
        for shard in &component.shards {
            let name = files::folder(&p.source, component).join(&shard.file_name).to_string_lossy().replace('\\', "/");
            files.insert(name, json!({"bytes": shard.len, "header": shard.header_hash()?, "sample": shard.sample()?}));
        }
    }
    if let Some(calibration) = p.judge.as_ref().map_or(Ok(None), super::judge::Judge::sample)? {
        files.insert("calibration".into(), calibration);
    }
    Ok((manifest::what_is_written(&as_json(&p.config)), files))
}

/// The end of a share's job: its files made durable, and what tells of them.
pub fn close(
    p: &Prepared,
    given: &GivenConfig,
    output: &Path,
    control: &Control,
    staging: &Staging,
    encoded: Encoded<'_>,
) -> Result<QuantizeReport, QuantError> {
    p.source.components.iter().flat_map(|c| &c.shards).try_for_each(Shard::check_unchanged)?;
    control.enter(Phase::Commit)?;
    let Encoded { files, tables, ends } = encoded;
    files.iter().try_for_each(|f: &OutputFile<'_>| f.writer.sync())?;
    let (config, inputs) = identity(p)?;
    let told = Told {
        format: FORMAT.into(),
        format_version: FORMAT_VERSION,
        version: crate::VERSION.into(),
        share: p.config.partition.map(|s| s.to_string()).unwrap_or_default(),
        model: std::path::absolute(&p.source.path).unwrap_or_else(|_| p.source.path.clone()),
        mode: p.config.mode,
        options: options(given),
        config,
        files: inputs,
    };
    let mut text = serde_json::to_string(&told).unwrap_or_default();
    for entry in journal::entries(&p.disk, staging)?.values() {
        text.push('\n');
        text += &serde_json::to_string(entry).unwrap_or_default();
    }
    text.push('\n');
    staging.write(Path::new(FILE), text.as_bytes())?;
    if tables.is_some() {
        staging.carry(&staging.tables(), Path::new(TABLES), false, || control.check())?;
    }
    let written = files.iter().flat_map(|f| f.plan.tensors.iter().zip(&f.placed)).map(|(tensor, placed)| {
        let end = if let TensorPlan::Quantize(i) = tensor.plan { ends[i].as_ref() } else { None };
        end.map_or(placed.as_slice(), |end| end.placed()).iter().map(|p| p.tensor.len).sum::<u64>()
    });
    let of_share = p.plan.layers.iter().zip(&ends).filter_map(|(layer, end)| Some((layer, end.as_ref()?)));
    let mut report = report_of(p, output, control, of_share.collect(), written.sum());
    let file = output.join(FILE).to_string_lossy().into_owned();
    (report.manifest_path, report.report_path) = (file.clone(), file);
    Ok(report)
}

/// Options as given, without those of this run and this machine. Which rows of a calibration are held is decided by two of these.
fn options(given: &GivenConfig) -> Map<String, Value> {
    const KEPT: [&str; 2] = ["calibration", "maxMemoryLimitMb"];
    let stays = |name: &str| KEPT.contains(&name) || !manifest::HOW_IT_RUNS.contains(&name);
    let Ok(Value::Object(mut options)) = serde_json::to_value(given) else { return Map::new() };
    options.retain(|name, value| !value.is_null() && stays(name));
    options
}

/// A share as it was found.
pub struct Done {
    /// Its folder.
    pub folder: PathBuf,
    /// Which it is.
    pub share: Share,
    /// What it says of itself.
    pub told: Told,
    /// What it made.
    pub entries: BTreeMap<usize, Entry>,
}

impl Done {
    /// Reads what a folder says of its share.
    pub fn open(disk: &Disk, folder: &Path) -> Result<Self, QuantError> {
        let path = folder.join(FILE);
        if !disk.is_file(&path)? {
            let what = aq_io::error::Missing::Share;
            return Err(IoError::NotFound { path: folder.into(), what, referenced_by: None, source: None }.into());
        }
        let (first, entries) = journal::read(disk, &path)?;
        let wrong = |field: &str, expected, found: String| IoError::Metadata {
            path: path.clone(),
            field: Some(field.into()),
            problem: MetadataProblem::FieldType { expected, found },
        };
        let found = first["format"].as_str().unwrap_or("nothing of that kind");
        if found != FORMAT {
            return Err(wrong("format", FORMAT, found.into()).into());
        }
        match first["formatVersion"].as_u64() {
            Some(FORMAT_VERSION) => {}
            Some(found) if found > FORMAT_VERSION => {
                let problem = MetadataProblem::Version { found, newest: FORMAT_VERSION };
                return Err(IoError::Metadata { path, field: Some("formatVersion".into()), problem }.into());
            }
            _ => return Err(wrong("formatVersion", "a format version", first["formatVersion"].to_string()).into()),
        }
        let told: Told =
            serde_json::from_value(first).map_err(|e| wrong("the first line", "what a share says of itself", e.to_string()))?;
        let share = Share::parse(&told.share).ok_or_else(|| wrong("share", "a share such as '2/8'", told.share.clone()))?;
        Ok(Self { folder: folder.into(), share, told, entries })
    }

    /// Its file, for errors.
    pub fn file(&self) -> PathBuf {
        self.folder.join(FILE)
    }

    /// What it disagrees about with another one of its job, or with the model; `None` where they belong together.
    pub fn differs(&self, version: &str, config: &Value, files: &Map<String, Value>) -> Option<String> {
        let differing = |a: &Map<String, Value>, b: &Map<String, Value>| {
            let key = a.keys().chain(b.keys()).find(|k| a.get(*k) != b.get(*k));
            key.cloned()
        };
        let options = |v: &Value| v.as_object().cloned().unwrap_or_default();
        if self.told.version != version {
            return Some("the version of arrow-quant".into());
        }
        let option = differing(&options(&self.told.config), &options(config)).map(|name| format!("option {name}"));
        option.or_else(|| differing(&self.told.files, files).map(|name| format!("the model's file {name}")))
    }
}
