//! What a model makes: the option, else metadata.json, else metadata of the weight files, else class names, else tensor names.

use crate::error::QuantError;
use crate::rules::rules;
use aq_core::Modality;
use aq_io::json::field_type;
use aq_io::source::Source;
use serde_json::Value;

/// A modality and where it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// What the model makes.
    pub modality: Modality,
    /// Where that was read, in words.
    pub source: String,
}

/// What was looked at, in order; part of the error when nothing was found.
#[derive(Debug, Default)]
pub struct Search {
    /// Places without an answer.
    pub looked_at: Vec<String>,
    /// The first answer.
    pub found: Option<Found>,
}

/// Finds the modality; unknown is an error that names what was looked at.
pub fn detect(source: &Source, option: Option<Modality>) -> Result<Found, QuantError> {
    let search = search(source, option)?;
    search.found.ok_or(QuantError::UnknownModality { path: source.path.clone(), value: None, looked_at: search.looked_at })
}

/// Looks for the modality; an unreadable or unknown statement is an error even when another place has an answer.
pub fn search(source: &Source, option: Option<Modality>) -> Result<Search, QuantError> {
    let mut search = Search::default();
    // Parsed all the same when the option decides: a wrong type is an error of the model.
    let stated = from_metadata_json(source, option.is_none())?;
    if let Some(modality) = option {
        search.found = Some(Found { modality, source: "option".into() });
        return Ok(search);
    }
    if let Some(modality) = stated {
        search.found = Some(Found { modality, source: "metadata.json".into() });
        return Ok(search);
    }
    search.looked_at.push(if source.metadata.is_some() { "metadata.json (no modality)".into() } else { "metadata.json (absent)".into() });
    from_headers(source, &mut search)?;
    from_classes(source, &mut search);
    from_tensors(source, &mut search);
    // A metadata.json that is there and says nothing is the first thing to mend, when nothing else answers.
    if search.found.is_none() && source.metadata.is_some() {
        return Err(QuantError::Metadata {
            path: source.root.join("metadata.json"),
            field: Some("modality".into()),
            problem: aq_io::MetadataProblem::FieldMissing,
        });
    }
    Ok(search)
}

fn parse(path: &std::path::Path, value: &str) -> Result<Modality, QuantError> {
    Modality::parse(value).ok_or_else(|| QuantError::UnknownModality { path: path.into(), value: Some(value.into()), looked_at: vec![] })
}

fn from_metadata_json(source: &Source, strict: bool) -> Result<Option<Modality>, QuantError> {
    let path = source.root.join("metadata.json");
    match source.metadata.as_ref().and_then(|m| m.get("modality")) {
        Some(Value::String(text)) if strict => parse(&path, text).map(Some),
        None | Some(Value::String(_)) => Ok(None),
        Some(other) => Err(field_type(&path, Some("modality"), "a string", other).into()),
    }
}

fn from_headers(source: &Source, search: &mut Search) -> Result<(), QuantError> {
    for shard in source.components.iter().filter(|c| c.is_denoiser()).flat_map(|c| &c.shards) {
        if let Some(text) = shard.header.metadata.get("modality") {
            let modality = parse(&shard.path, text)?;
            search.found = Some(Found { modality, source: format!("metadata of {}", shard.file_name) });
            return Ok(());
        }
        let architecture = shard.header.keys.as_ref().and_then(|k| k.text("general.architecture"));
        if let Some((name, modality)) = architecture.and_then(|a| Some((a, rules().modality_of_architecture(a)?))) {
            search.found = Some(Found { modality, source: format!("architecture {name}") });
            return Ok(());
        }
    }
    search.looked_at.push("safetensors metadata".into());
    Ok(())
}

fn from_classes(source: &Source, search: &mut Search) {
    if search.found.is_some() {
        return;
    }
    // The denoiser's class says more than the pipeline's: "StableDiffusionPipeline" also wraps video models.
    let denoisers = source.components.iter().filter(|c| c.is_denoiser()).filter_map(aq_io::source::Component::class_name);
    let pipeline = source.pipeline.as_ref().and_then(|p| p.get("_class_name")).and_then(Value::as_str).map(str::to_owned);
    let classes: Vec<String> = denoisers.chain(pipeline).collect();
    for class in &classes {
        if let Some(modality) = rules().modality_of_class(class) {
            search.found = Some(Found { modality, source: format!("class {class}") });
            return;
        }
    }
    search.looked_at.push(if classes.is_empty() { "class names (none)".into() } else { format!("class names ({})", classes.join(", ")) });
}

fn from_tensors(source: &Source, search: &mut Search) {
    if search.found.is_some() {
        return;
    }
    let names: Vec<&str> = source.components.iter().flat_map(|c| c.tensors().map(|(_, t)| t.name.as_str())).collect();
    let modality = rules().modality_of_tensors(&names);
    search.found = modality.map(|modality| Found { modality, source: "tensor names".into() });
}
