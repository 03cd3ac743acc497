//! Shares of a job joined into the output of a single one: the job is planned anew, and where it would encode a tensor, the tensor is taken
//! from its share, its bytes held against their checksum.

use super::before;
use super::checksum::Reread;
use super::context::JobContext;
use super::layer::{LayerEnd, room};
use super::report::layer_report;
use super::run::{Encoded, Prepared, committed, complete, decide, prepare, tables_of};
use super::share::{self, Done};
use super::tables::Tables;
use super::tasks::{Found, OutputFile, made_of, open_files};
use crate::control::Control;
use crate::error::QuantError;
use crate::plan::{PlannedTensor, TensorPlan};
use crate::tuning::Tuning;
use aq_core::report::QuantizeReport;
use aq_core::{GivenConfig, Phase, Share};
use aq_io::disk::DEFAULT_RETRIES;
use aq_io::error::{Defect, Missing};
use aq_io::output::{Existing, Placed, Staging};
use aq_io::{Disk, IoError, MetadataProblem};
use rayon::prelude::*;
use serde::Serialize;
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Shares to be joined.
#[derive(Debug, Clone)]
pub struct MergeRequest {
    /// Their folders, in any order.
    pub shares: Vec<PathBuf>,
    /// Folder to be created.
    pub output_path: PathBuf,
    /// The model, where it is no longer where the first share found it.
    pub model_path: Option<PathBuf>,
    /// The calibration file, likewise.
    pub calibration: Option<String>,
    /// Replace an existing output.
    pub overwrite: bool,
    /// Worker threads; 0: as many as cores.
    pub num_threads: usize,
}

/// What was joined.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MergeReport {
    /// The report of a single job.
    #[serde(flatten)]
    pub report: QuantizeReport,
    /// The model that the shares are of.
    pub model_path: String,
}

/// Joins the shares of a job. The output is that of a single job, byte for byte.
pub fn merge(request: &MergeRequest, control: &Arc<Control>) -> Result<MergeReport, QuantError> {
    control.enter(Phase::Open)?;
    let disk = control.disk(DEFAULT_RETRIES);
    let mut shares = request.shares.iter().map(|folder| Done::open(&disk, folder)).collect::<Result<Vec<_>, _>>()?;
    check_whole(&mut shares)?;
    for share in &shares {
        before::refuse_output_at(&disk, &request.output_path, &share.folder, "a path apart from the shares")?;
    }
    let first = &shares[0];
    let model = request.model_path.as_ref().unwrap_or(&first.told.model);
    let given = options(first, request)?;
    let mut p = prepare(model, Some(&request.output_path), &given, first.told.mode, Tuning::default(), control)?;
    decide(&mut p, control)?;
    let (config, files) = share::identity(&p)?;
    if let Some(about) = first.differs(crate::VERSION, &config, &files) {
        return Err(contradiction(&first.file(), model, about));
    }
    before::check_space(&request.output_path, share::written(&p))?;
    let existing = Existing { overwrite: request.overwrite, resume: false };
    let staging = Staging::create(&disk, &request.output_path, existing)?;
    let written = gather(&p, &shares, control, &staging);
    let written = written.and_then(|encoded| complete(&p, &request.output_path, control, &staging, encoded, true));
    let report = committed(written, control, staging)?;
    Ok(MergeReport { report, model_path: model.to_string_lossy().into_owned() })
}

/// The options of a share, for the job that joins.
fn options(first: &Done, request: &MergeRequest) -> Result<GivenConfig, QuantError> {
    let mut options = first.told.options.clone();
    if let Some(path) = &request.calibration {
        options.insert("calibration".into(), Value::from(path.clone()));
    }
    options.insert("numThreads".into(), request.num_threads.into());
    options.insert("overwrite".into(), request.overwrite.into());
    GivenConfig::from_value(Value::Object(options)).map_err(QuantError::InvalidConfig)
}

fn contradiction(path: &Path, other: &Path, about: String) -> QuantError {
    let problem = MetadataProblem::Contradiction { other: other.into(), about };
    QuantError::Metadata { path: path.into(), field: None, problem }
}

/// Sorts the shares and checks that they are all there, each once, and of one job.
fn check_whole(shares: &mut [Done]) -> Result<(), QuantError> {
    shares.sort_by_key(|s| s.share);
    let Some(first) = shares.first() else {
        let path = "1/1".into();
        return Err(QuantError::ModelNotFound { path, what: Missing::Share, referenced_by: None, source: None });
    };
    for other in &shares[1..] {
        if other.share.count != first.share.count {
            let about = format!("the number of shares ({} and {})", other.share, first.share);
            return Err(contradiction(&other.file(), &first.file(), about));
        }
        if let Some(about) = other.differs(&first.told.version, &first.told.config, &first.told.files) {
            return Err(contradiction(&other.file(), &first.file(), about));
        }
    }
    let mut pairs = shares.iter().zip(&shares[1..]);
    if let Some((a, b)) = pairs.find(|(a, b)| a.share == b.share) {
        return Err(contradiction(&b.file(), &a.file(), format!("which of them is share {}", a.share)));
    }
    let number = shares.iter().zip(1..).take_while(|(s, number)| s.share.number == *number).count() as u32 + 1;
    if number > first.share.count {
        return Ok(());
    }
    let path = Share { number, count: first.share.count }.to_string().into();
    Err(QuantError::ModelNotFound { path, what: Missing::Share, referenced_by: Some(first.folder.clone()), source: None })
}

/// Takes every tensor from its share.
fn gather<'a>(p: &'a Prepared, shares: &[Done], control: &'a Arc<Control>, staging: &Staging) -> Result<Encoded<'a>, QuantError> {
    let Prepared { disk, source, plan, layout, pool, .. } = p;
    control.enter(Phase::Quantize)?;
    let files = open_files(disk, source, plan, *layout, staging, &mut BTreeMap::new(), None)?;
    let tables = tables_of(p, staging)?;
    let job = JobContext::new(control, p, tables.as_ref());
    let places: HashMap<usize, (&OutputFile<'_>, usize)> =
        files.iter().flat_map(|file| file.tasks.iter().enumerate().map(move |(at, task)| (*task, (file, at)))).collect();
    let taken: Vec<Result<Vec<(usize, LayerEnd)>, QuantError>> =
        pool.install(|| shares.par_iter().map(|share| take_share(&job, disk, share, &places)).collect());
    drop((places, job));
    let mut ends: Vec<Option<LayerEnd>> = vec![None; plan.layers.len()];
    for share in taken {
        for (layer, end) in share? {
            ends[layer] = Some(end);
        }
    }
    Ok(Encoded { files, tables, ends })
}

/// Takes the tensors of one share; how its layers ended.
fn take_share(
    job: &JobContext<'_>,
    disk: &Disk,
    share: &Done,
    places: &HashMap<usize, (&OutputFile<'_>, usize)>,
) -> Result<Vec<(usize, LayerEnd)>, QuantError> {
    let mut ends = Vec::new();
    let tables = job.tables.map(|_| Tables::of_share(disk, &share.folder.join(share::TABLES))).transpose()?.flatten();
    for (plan, tasks) in share::files(job.plan.files(job.source, job.layout), Some(share.share)) {
        let folder = super::files::folder(job.source, &job.source.components[plan.component]);
        let path = share.folder.join(folder).join(share::weights(&plan.name));
        if !disk.is_file(&path)? {
            return Err(QuantError::ModelNotFound { path, what: Missing::Shard, referenced_by: Some(share.file()), source: None });
        }
        let from = Taken { share, path: &path, file: disk.open(&path)?, reread: Reread::open(disk, &path)?, tables: tables.as_ref() };
        let mut placed = plan.container.placed(&plan.out()).into_iter();
        for (tensor, task) in plan.tensors.iter().zip(tasks) {
            job.control.check()?;
            let planned: Vec<Placed> = placed.by_ref().take(tensor.out.len()).collect();
            let end = from.take(job, tensor, &planned, task, places)?;
            if let (TensorPlan::Quantize(layer), Some(end)) = (tensor.plan, end) {
                job.control.progress.layer(&job.plan.layers[layer].name);
                ends.push((layer, end));
            }
        }
    }
    Ok(ends)
}

/// A weight file of a share.
struct Taken<'a> {
    share: &'a Done,
    path: &'a Path,
    file: File,
    reread: Reread<'a>,
    tables: Option<&'a Tables>,
}

impl Taken<'_> {
    /// Takes one tensor; how it ended, where it is a layer.
    fn take(
        &self,
        job: &JobContext<'_>,
        tensor: &PlannedTensor<'_>,
        planned: &[Placed],
        task: usize,
        places: &HashMap<usize, (&OutputFile<'_>, usize)>,
    ) -> Result<Option<LayerEnd>, QuantError> {
        let name = &tensor.source.info.name;
        let missing = || {
            let problem = MetadataProblem::FieldMissing;
            IoError::Metadata { path: self.share.file(), field: Some(name.clone()), problem }
        };
        let entry = self.share.entries.get(&task).ok_or_else(missing)?;
        let (to, at) = places.get(&task).ok_or_else(missing)?;
        let found = made_of(job, tensor, planned, entry)?.ok_or_else(missing)?;
        if !found.is_whole(&self.reread, tensor, entry)? {
            return Err(IoError::damaged(self.path, Some(name), Defect::Checksum).into());
        }
        let end = match found {
            Found::Carried(from) => {
                self.copy(job, &[from], &to.placed[*at], to)?;
                None
            }
            Found::Layer(end) => {
                let tensors = end.placed().iter().map(|p| p.tensor.clone()).collect();
                let placed = room(&to.writer, tensors, to.placed[*at].clone())?;
                self.copy(job, end.placed(), &placed, to)?;
                Some(self.moved(job, end, placed)?)
            }
        };
        job.control.progress.bytes(name, tensor.source.info.len);
        if let (Some(LayerEnd::Done(done)), TensorPlan::Quantize(i)) = (&end, tensor.plan) {
            job.control.ledger.layer(layer_report(&job.plan.layers[i], done));
        }
        Ok(end)
    }

    fn copy(&self, job: &JobContext<'_>, from: &[Placed], to: &[Placed], file: &OutputFile<'_>) -> Result<(), QuantError> {
        for (from, to) in from.iter().zip(to) {
            file.writer.take((&self.file, self.path), from, to, &|| job.control.check())?;
            file.writer.complete(to)?;
        }
        Ok(())
    }

    /// The same end, in the file of the output, with its table among those of this job.
    fn moved(&self, job: &JobContext<'_>, end: LayerEnd, placed: Vec<Placed>) -> Result<LayerEnd, QuantError> {
        Ok(match end {
            LayerEnd::Kept(old) => LayerEnd::Kept(placed.into_iter().next().unwrap_or(old)),
            LayerEnd::Done(mut done) => {
                done.placed = placed;
                if let Some((tables, aside)) = job.tables.zip(done.table) {
                    let table = self.tables.map(|t| t.read(&aside)).transpose()?.flatten();
                    let lost = || IoError::damaged(&self.share.folder.join(share::TABLES), Some(&done.spec.tensor), Defect::Checksum);
                    done.table = Some(tables.lay(aside.groups(), &table.ok_or_else(lost)?)?);
                }
                LayerEnd::Done(done)
            }
        })
    }
}
