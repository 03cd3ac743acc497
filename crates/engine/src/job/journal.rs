//! The journal in the staging folder: what an interrupted job had finished, so that one that resumes need not do it again.
//!
//! JSON lines. The first says what the job was (options that change the output, the source's files, the program's version); each other one
//! that a task is finished: where its bytes are, their checksum, and the figures for the report. Lines are appended as tasks end and never
//! changed; a line that a crash cut short is not there. Nothing is believed: bytes are read again and hashed before they are reused.

use super::judge::{Judge, Judged};
use super::layer::LayerDone;
use super::tables::Aside;
use crate::error::QuantError;
use aq_core::error::{ConfigIssue, ErrorCode, IssueSource};
use aq_core::report::{Attempt, LayerOutcome, SecondReport, TimeGroup};
use aq_core::{BitWidth, Method, ScaleDtype};
use aq_io::Disk;
use aq_io::output::Staging;
use aq_io::source::Source;
use aq_kernels::RowSums;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

const FORMAT: &str = "arrow-quant-journal";
const FORMAT_VERSION: u64 = 1;
/// A line of a layer has some hundred bytes.
const MOST_BYTES: u64 = 1 << 30;

/// A finished task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Its index in the plan.
    pub task: usize,
    /// XXH3 of what it wrote.
    pub checksum: u64,
    /// What it made.
    pub made: Made,
}

/// What a task made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Made {
    /// A tensor carried over, where it was planned.
    Carried,
    /// A tensor kept because of values that are not finite: its position.
    Kept(u64),
    /// A quantized layer.
    Layer(Box<LayerEntry>),
}

/// A quantized layer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LayerEntry {
    /// Scheme it ended with.
    pub bits: BitWidth,
    /// Type of its scales.
    pub scale_dtype: ScaleDtype,
    /// Block in which its rows are rotated.
    pub rotation: Option<usize>,
    /// First bytes of its tensors.
    pub positions: Vec<u64>,
    /// `ww, vv, wv, ee, max_abs`.
    pub sums: [f64; 5],
    /// Lowest cosine of a row.
    pub worst: f64,
    /// Quality over time.
    pub time_groups: Vec<TimeGroup>,
    /// Widths and similarities.
    pub attempts: Vec<(BitWidth, f64)>,
    /// How it ended.
    pub outcome: LayerOutcome,
    /// How its codes were chosen.
    pub method: Method,
    /// In which form its inputs decided about them.
    pub second: Option<SecondReport>,
    /// Its table over time.
    pub table: Option<Aside>,
}

impl LayerEntry {
    /// Of a finished layer.
    pub fn of(done: &LayerDone) -> Self {
        let RowSums { ww, vv, wv, ee, max_abs } = done.sums;
        Self {
            bits: done.spec.scheme.bits,
            scale_dtype: done.spec.scheme.scale_dtype,
            rotation: done.spec.scheme.rotation,
            positions: done.placed.iter().map(|p| p.position).collect(),
            sums: [ww, vv, wv, ee, max_abs],
            worst: done.judged.figures.worst_row_cosine,
            time_groups: done.judged.groups.clone(),
            attempts: done.attempts.iter().map(|a| (a.bit_width, a.similarity)).collect(),
            outcome: done.outcome,
            method: done.spec.scheme.method,
            second: done.second,
            table: done.table,
        }
    }

    /// Sums over the layer.
    pub const fn row_sums(&self) -> RowSums {
        let [ww, vv, wv, ee, max_abs] = self.sums;
        RowSums { ww, vv, wv, ee, max_abs }
    }

    /// Figures of the layer.
    pub fn judged(&self) -> Judged {
        Judged::new(&self.row_sums(), self.worst, self.time_groups.clone())
    }

    /// Widths tried.
    pub fn attempts(&self) -> Vec<Attempt> {
        self.attempts.iter().map(|&(bit_width, similarity)| Attempt { bit_width, similarity }).collect()
    }
}

/// What makes two jobs the same.
pub fn identity(config: &Value, source: &Source, judge: Option<&Judge>, layouts: &[&str]) -> Value {
    let mut files: Map<String, Value> = source
        .components
        .iter()
        .flat_map(|c| &c.shards)
        .map(|s| (s.path.to_string_lossy().into_owned(), json!({"bytes": s.len, "modified": s.modified_ms()})))
        .collect();
    files.extend(judge.and_then(Judge::identity));
    let share = config.get("partition").cloned();
    let mut config = super::manifest::what_is_written(config);
    if let Some(share) = share {
        config["partition"] = share;
    }
    if !layouts.is_empty() {
        config["layout"] = json!(layouts);
    }
    json!({
        "format": FORMAT,
        "formatVersion": FORMAT_VERSION,
        "version": crate::VERSION,
        "config": config,
        "files": files,
    })
}

/// An open journal.
pub struct Journal {
    disk: Disk,
    path: PathBuf,
    file: File,
    end: Mutex<u64>,
}

impl Journal {
    /// Starts one, or goes on with the one of the staging. Entries of an earlier job come back by task; other settings are an error.
    pub fn open(disk: &Disk, staging: &Staging, identity: &Value) -> Result<(Self, BTreeMap<usize, Entry>), QuantError> {
        let path = staging.journal();
        let mut first = identity.to_string();
        first.push('\n');
        let earlier = if staging.resumed() && disk.is_file(&path)? { Some(Read::of(disk, &path)?) } else { None };
        // Of several journals one may have lost its beginning while the first was whole: it tells of nothing.
        let Some(Read { first: earlier, entries, whole }) = earlier.filter(|read| read.first.is_object()) else {
            disk.remove(&path)?;
            let file = disk.create_new(&path)?;
            disk.write_at(&file, &path, first.as_bytes(), 0)?;
            let journal = Self { disk: disk.clone(), path, file, end: Mutex::new(first.len() as u64) };
            return Ok((journal, BTreeMap::new()));
        };
        let issues = differences(&earlier, identity);
        if !issues.is_empty() {
            return Err(QuantError::ResumeMismatch { path: staging.output().to_path_buf(), issues });
        }
        let file = disk.open_or_create(&path)?;
        disk.set_len(&file, &path, whole)?;
        Ok((Self { disk: disk.clone(), path, file, end: Mutex::new(whole) }, entries))
    }

    /// Notes a finished task.
    pub fn note(&self, entry: &Entry) -> Result<(), QuantError> {
        let mut line = serde_json::to_string(entry).map_err(|e| QuantError::Internal {
            message: format!("a journal entry could not be written as JSON: {e}"),
            location: None,
            panic: false,
        })?;
        line.push('\n');
        let mut end = self.end.lock().unwrap_or_else(PoisonError::into_inner);
        self.disk.write_at(&self.file, &self.path, line.as_bytes(), *end)?;
        *end += line.len() as u64;
        Ok(())
    }
}

/// What stands in a file of lines.
struct Read {
    first: Value,
    entries: BTreeMap<usize, Entry>,
    /// Bytes of whole lines: a last one without its end was being written when the job died.
    whole: u64,
}

impl Read {
    fn of(disk: &Disk, path: &Path) -> Result<Self, QuantError> {
        let bytes = disk.read_file(path, MOST_BYTES)?;
        let whole = bytes.iter().rposition(|&b| b == b'\n').map_or(0, |i| i + 1);
        let text = String::from_utf8_lossy(&bytes[..whole]);
        let mut lines = text.lines();
        let first = lines.next().and_then(|line| serde_json::from_str(line).ok()).unwrap_or(Value::Null);
        let entries = lines.filter_map(|line| serde_json::from_str::<Entry>(line).ok()).map(|e| (e.task, e)).collect();
        Ok(Self { first, entries, whole: whole as u64 })
    }
}

/// The tasks that the journal of a staging says are finished.
pub fn entries(disk: &Disk, staging: &Staging) -> Result<BTreeMap<usize, Entry>, QuantError> {
    Ok(Read::of(disk, &staging.journal())?.entries)
}

/// What a finished share has in the place of a journal: its first line, and its tasks.
pub fn read(disk: &Disk, path: &Path) -> Result<(Value, BTreeMap<usize, Entry>), QuantError> {
    let Read { first, entries, .. } = Read::of(disk, path)?;
    Ok((first, entries))
}

/// One issue for each setting that differs.
fn differences(earlier: &Value, now: &Value) -> Vec<ConfigIssue> {
    let mut issues = Vec::new();
    let mut issue = |path: String, was: &Value, is: &Value| {
        let (was, is) = (was.to_string(), is.to_string());
        let mut issue = ConfigIssue::new(ErrorCode::ResumeMismatch, path, was, is);
        issue.source = IssueSource::Journal;
        issues.push(issue);
    };
    for (field, whole) in [("format", true), ("formatVersion", true), ("version", true), ("config", false), ("files", false)] {
        let (was, is) = (&earlier[field], &now[field]);
        let maps = (was.as_object(), is.as_object());
        match maps {
            (Some(was), Some(is)) if !whole => {
                let keys: std::collections::BTreeSet<&String> = was.keys().chain(is.keys()).collect();
                for key in keys {
                    let (a, b) = (was.get(key).unwrap_or(&Value::Null), is.get(key).unwrap_or(&Value::Null));
                    if a != b {
                        issue(key.clone(), a, b);
                    }
                }
            }
            _ if was != is => issue(field.into(), was, is),
            _ => {}
        }
    }
    issues.truncate(50);
    issues
}
