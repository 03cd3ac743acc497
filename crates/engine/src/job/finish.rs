//! The end of the writing: shards put together, synced and hashed, and their indexes.

use super::archive::Archive;
use super::files::{self, Written};
use super::manifest::WrittenFile;
use crate::control::Control;
use crate::error::QuantError;
use crate::plan::{FilePlan, Plan, TensorPlan};
use aq_io::layout::Layout;
use aq_io::output::{Placed, ShardWriter, Staging};
use aq_io::source::Source;
use rayon::prelude::*;

/// Puts the shards together, syncs and hashes them, writes the indexes. `archive`: what is told at their ends, in the layout that does so.
#[expect(clippy::too_many_arguments, reason = "the two jobs share this one step")]
pub fn finish(
    source: &Source,
    plan: &Plan,
    output: Vec<(FilePlan<'_>, ShardWriter, Vec<Vec<Placed>>)>,
    layers: &[Written],
    layout: &dyn Layout,
    archive: Option<&Archive<'_>>,
    staging: &Staging,
    control: &Control,
) -> Result<Vec<WrittenFile>, QuantError> {
    let done: Vec<(usize, WrittenFile, String, Vec<Placed>)> = output
        .into_par_iter()
        .map(|(plan, writer, placed)| {
            let last: Vec<Placed> = plan
                .tensors
                .iter()
                .zip(placed)
                .flat_map(|(tensor, placed)| match tensor.plan {
                    TensorPlan::Carry => placed,
                    TensorPlan::Quantize(i) => layers[i].placed.clone(),
                })
                .collect();
            let closing = archive.map(|archive| archive.closing(&plan, layers)).transpose()?;
            let file = writer.finish(&last, closing.as_ref(), || control.check())?;
            let relative = files::folder(source, &source.components[plan.component]).join(&plan.name);
            let name = relative.to_string_lossy().replace('\\', "/");
            let written = WrittenFile { name, bytes: file.len, blake3: file.hash };
            Ok((plan.component, written, plan.name.clone(), last))
        })
        .collect::<Result<_, QuantError>>()?;
    for component in plan.components.iter().filter(|c| layout.merged(&source.components[c.component]).is_none()) {
        let placed: Vec<(String, Vec<Placed>)> =
            done.iter().filter(|d| d.0 == component.component).map(|d| (d.2.clone(), d.3.clone())).collect();
        files::write_index(source, component, &placed, staging)?;
    }
    Ok(done.into_iter().map(|d| d.1).collect())
}
