//! From one layout to another: codes, scales and zeros as they are, or the values that they stand for. Nothing is rounded a second time.

pub(crate) mod plan;

use crate::control::Control;
use crate::error::QuantError;
use crate::job::archive::Archive;
use crate::job::blocks::{Block, LayerFiles, row_blocks, working_set};
use crate::job::carry::{self, Carrier};
use crate::job::files::{self, Written};
use crate::job::finish::finish;
use crate::job::manifest::WrittenFile;
use crate::job::tables::{FILE as TABLES, Table};
use crate::job::{before, manifest, pool, thread_count};
use crate::memory::Memory;
use crate::modality;
use crate::plan::{FilePlan, PlannedTensor, TensorPlan};
use aq_core::config::{Layout as LayoutName, NonFinitePolicy, PlainDtype};
use aq_core::report::{Warning, megabytes};
use aq_core::{BitWidth, Modality, Phase};
use aq_io::disk::DEFAULT_RETRIES;
use aq_io::layout::{EncodedRows, Layout};
use aq_io::output::{Existing, Placed, ShardWriter, Staging};
use aq_io::source::{self, Shard, Source};
use aq_kernels::convert::from_f32;
use plan::ExportPlan;
use rayon::prelude::*;
use serde::Serialize;
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bytes that blocks of an export may take together.
const MEMORY: u64 = 256 << 20;

/// A model to be written in another layout.
#[derive(Debug, Clone)]
pub struct ExportRequest {
    /// A model with layers in codes.
    pub from: PathBuf,
    /// The output folder.
    pub to: PathBuf,
    /// The layout to write.
    pub layout: LayoutName,
    /// Element type of decoded layers, with layout `plain`; F32 where not given.
    pub plain_dtype: Option<PlainDtype>,
    /// Replace an existing output.
    pub overwrite: bool,
    /// Worker threads; 0: as many as cores.
    pub num_threads: usize,
}

/// What was written.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ExportReport {
    exported_path: String,
    layout: &'static str,
    layers: usize,
    source_size_mb: f64,
    model_size_mb: f64,
    /// The manifest of the run that made the codes, where there is one.
    report: Option<Map<String, Value>>,
    warnings: Vec<Warning>,
}

/// Writes a quantized model in another layout.
pub fn export(request: &ExportRequest, control: &Arc<Control>) -> Result<ExportReport, QuantError> {
    control.enter(Phase::Open)?;
    let disk = control.disk(DEFAULT_RETRIES);
    let source = source::open(&disk, &request.from)?;
    before::refuse_overlap(&disk, &request.to, &source)?;
    let earlier = manifest::read(&disk, &source)?;
    control.enter(Phase::Plan)?;
    let layout = before::layout_for(request.layout, None, true, &source);
    let modality = modality::search(&source, None)?.found.map_or(Modality::Image, |f| f.modality);
    let bits = earlier.as_ref().and_then(|m| m.get("bitWidth")?.as_u64()).and_then(|b| BitWidth::try_from(b).ok());
    let planned = plan::plan(request, &source, modality, layout, bits)?;
    before::check_space(&request.to, planned.plan.written(&source, layout))?;
    control.progress.plan(planned.plan.layers.len() as u64, planned.plan.bytes(&source));
    let staging = Staging::create(&disk, &request.to, Existing { overwrite: request.overwrite, resume: false })?;
    let written = fill(
        &Filling { source: &source, earlier: earlier.as_ref(), planned: &planned, layout, origin: None, control },
        &staging,
        request.num_threads,
    )?;
    control.enter(Phase::Commit)?;
    manifest::exported(&staging, earlier.as_ref(), layout.name(), &written.files)?;
    staging.seal()?;
    control.point_of_no_return()?;
    let mut warnings = Vec::new();
    if let Some(left) = staging.commit()? {
        warnings.push(crate::job::leftover(&left));
    }
    Ok(ExportReport {
        exported_path: request.to.to_string_lossy().into_owned(),
        layout: layout.name(),
        layers: planned.plan.layers.len(),
        source_size_mb: megabytes(planned.plan.bytes(&source)),
        model_size_mb: megabytes(written.files.iter().map(|f| f.bytes).sum()),
        report: earlier,
        warnings,
    })
}

/// What an output is made of.
#[derive(Clone, Copy)]
pub(crate) struct Filling<'a> {
    /// A model with layers in codes.
    pub source: &'a Source,
    /// Its manifest.
    pub earlier: Option<&'a Map<String, Value>>,
    /// What becomes of it.
    pub planned: &'a ExportPlan,
    /// As what.
    pub layout: &'static dyn Layout,
    /// The model that the codes were made of, where it is at hand, with the options that hold for this output.
    pub origin: Option<(&'a Source, &'a Value)>,
    /// Stop flag and progress.
    pub control: &'a Control,
}

/// Writes everything but the manifest.
pub(crate) fn fill(filling: &Filling<'_>, staging: &Staging, threads: usize) -> Result<Output, QuantError> {
    let &Filling { source, earlier, planned, layout, origin, control } = filling;
    let disk = staging.disk();
    let pool = pool(threads)?;
    let memory = Memory::new(MEMORY, thread_count(threads));
    let tables = source.root.join(TABLES);
    let tables = if disk.is_file(&tables)? { Some(Shard::open(disk, &tables, None)?) } else { None };
    let archive = layout.tells().then(|| {
        let told = archive(source, planned, earlier, tables.as_ref());
        match origin {
            Some((source, config)) => Archive { source, config: config.clone(), ..told },
            None => told,
        }
    });
    let job = Export { source, planned, layout, archive: archive.as_ref(), control, memory: &memory };
    let written = pool.install(|| job.write(staging))?;
    source.components.iter().flat_map(|c| &c.shards).try_for_each(Shard::check_unchanged)?;
    let mut rewritten = Vec::new();
    for component in &planned.plan.components {
        rewritten.extend(files::write_config(source, &planned.plan, component, &written.layers, layout, staging)?);
    }
    files::carry_over(source, &planned.plan, staging, control, rewritten)?;
    if let Some(tables) = &tables {
        staging.carry(&tables.path, Path::new(TABLES), false, || control.check())?;
    }
    Ok(written)
}

/// What the end of an archive tells: what the run that made the codes has reported.
fn archive<'a>(
    source: &'a Source,
    planned: &'a ExportPlan,
    earlier: Option<&Map<String, Value>>,
    tables: Option<&'a Shard>,
) -> Archive<'a> {
    let layers = earlier.and_then(|m| m.get("layers")).and_then(Value::as_array).into_iter().flatten();
    let named = |layer: &Value| Some((layer["name"].as_str()?.to_owned(), layer.clone()));
    let table = move |i: usize| tables.map_or(Ok(None), |shard| Table::read(shard, &planned.plan.layers[i].name));
    Archive {
        source,
        plan: &planned.plan,
        config: earlier.and_then(|m| m.get("config")).cloned().unwrap_or_default(),
        reports: layers.filter_map(named).collect(),
        tables: Box::new(table),
    }
}

struct Export<'a> {
    source: &'a Source,
    planned: &'a ExportPlan,
    layout: &'static dyn Layout,
    archive: Option<&'a Archive<'a>>,
    control: &'a Control,
    memory: &'a Memory,
}

/// What was written.
pub(crate) struct Output {
    /// Weight files.
    pub files: Vec<WrittenFile>,
    /// Where each layer is.
    pub layers: Vec<Written>,
}

impl Export<'_> {
    fn write(&self, staging: &Staging) -> Result<Output, QuantError> {
        self.control.enter(Phase::Quantize)?;
        let disk = staging.disk();
        let mut layers: Vec<Written> = vec![Written { spec: None, placed: vec![] }; self.planned.plan.layers.len()];
        let mut outputs = Vec::new();
        for file in self.planned.plan.files(self.source, self.layout) {
            let folder = files::folder(self.source, &self.source.components[file.component]);
            let path = staging.path(&folder.join(&file.name))?;
            disk.remove(&path)?; // an interrupted job may have left one
            let (writer, flat) = ShardWriter::create(disk, &path, &file.container, &file.out())?;
            let mut flat = flat.into_iter();
            let placed: Vec<Vec<Placed>> = file.tensors.iter().map(|t| flat.by_ref().take(t.out.len()).collect()).collect();
            self.tensors(&file, &writer, &placed)?;
            for (tensor, placed) in file.tensors.iter().zip(&placed) {
                if let TensorPlan::Quantize(i) = tensor.plan {
                    layers[i] = Written { spec: Some(self.planned.plan.layers[i].spec.clone()), placed: placed.clone() };
                }
            }
            outputs.push((file, writer, placed));
        }
        let files = finish(self.source, &self.planned.plan, outputs, &layers, self.layout, self.archive, staging, self.control)?;
        Ok(Output { files, layers })
    }

    fn tensors(&self, file: &FilePlan<'_>, writer: &ShardWriter, placed: &[Vec<Placed>]) -> Result<(), QuantError> {
        file.tensors.par_iter().zip(placed).try_for_each(|(tensor, placed)| {
            match tensor.plan {
                TensorPlan::Quantize(i) => self.layer(i, tensor, writer, placed)?,
                TensorPlan::Carry => {
                    let files = LayerFiles { source: &tensor.source, writer };
                    let carrier = Carrier { control: self.control, memory: self.memory, non_finite: NonFinitePolicy::Keep };
                    carry::copy(&carrier, &files, &placed[0], Some(&tensor.source.info.name))?;
                }
            }
            Ok(placed.iter().try_for_each(|p| writer.complete(p))?)
        })
    }

    /// One layer, block by block.
    fn layer(&self, index: usize, tensor: &PlannedTensor<'_>, writer: &ShardWriter, placed: &[Placed]) -> Result<(), QuantError> {
        let to = &self.planned.plan.layers[index].spec;
        let (component, weight) = &self.planned.weights[index];
        let component = &self.source.components[*component];
        let Some(coded) = weight.coded() else { return Ok(()) };
        row_blocks(to.geometry, 4).par_iter().try_for_each(|&Block { first, rows }| {
            self.control.check()?;
            let _permit = self.memory.acquire(rows as u64 * working_set(to.geometry, 4), self.control)?;
            let bytes = coded.read(component, first, rows)?;
            let bytes: Vec<&[u8]> = bytes.iter().map(Vec::as_slice).collect();
            let mut out = vec![Vec::new(); placed.len()];
            if self.layout.holds_codes() {
                let mut encoded = EncodedRows::default();
                coded.layout.read_codes(&coded.spec, &bytes, rows, &mut encoded);
                self.layout.write_rows(to, &encoded, &mut out);
            } else {
                let mut values = vec![0.0; rows * to.geometry.row()];
                coded.layout.read_rows(&coded.spec, &bytes, rows, &mut values);
                from_f32(&values, to.dtype, &mut out[0]);
            }
            for (placed, bytes) in placed.iter().zip(&out).filter(|(placed, _)| placed.tensor.row_bits > 0) {
                writer.write(placed, placed.tensor.row_offset(first), bytes)?;
            }
            Ok::<(), QuantError>(())
        })?;
        self.control.progress.bytes(&tensor.source.info.name, weight.tensors(component).map(|(_, t)| t.len).sum());
        self.control.progress.layer(&self.planned.plan.layers[index].name);
        Ok(())
    }
}
