//! Where the modality is read: the option, metadata.json, safetensors metadata, class names, tensor names, in this order.

use aq_core::Modality;
use aq_engine::QuantError;
use aq_engine::modality::{Found, detect};
use aq_io::Disk;
use aq_io::MetadataProblem;
use aq_io::source::open;
use aq_testkit::SafetensorsFile;
use aq_testkit::model::{pipeline, sharded_component, text};
use std::path::Path;
use tempfile::TempDir;

/// Each place names another modality, so that the answer tells who was asked.
struct Places {
    metadata: Option<&'static str>,
    header: Option<&'static str>,
    class: Option<&'static str>,
    tensor: &'static str,
}

/// metadata.json: audio; header: video; class: image; tensor names: text.
const ALL: Places = Places {
    metadata: Some("{\"modality\": \"audio\"}"),
    header: Some("video"),
    class: Some("UNet2DModel"),
    tensor: "model.layers.0.self_attn.q_proj.weight",
};

fn folder(places: &Places) -> TempDir {
    let dir = TempDir::new().expect("a temporary folder");
    let mut file = SafetensorsFile::new().f32(places.tensor, &[1, 1], &[1.0]);
    if let Some(modality) = places.header {
        file = file.metadata("modality", modality);
    }
    file.write(&dir.path().join("model.safetensors"));
    if let Some(class) = places.class {
        text(&dir.path().join("config.json"), &format!("{{\"_class_name\": \"{class}\"}}"));
    }
    if let Some(metadata) = places.metadata {
        text(&dir.path().join("metadata.json"), metadata);
    }
    dir
}

fn found_in(path: &Path, option: Option<Modality>) -> Result<Found, QuantError> {
    detect(&open(&Disk::default(), path)?, option)
}

fn found(places: &Places, option: Option<Modality>) -> Result<Found, QuantError> {
    found_in(folder(places).path(), option)
}

#[test]
fn the_first_place_that_answers_decides() {
    let steps = [
        (ALL, Some(Modality::Code), Modality::Code, "option"),
        (ALL, None, Modality::Audio, "metadata.json"),
        (Places { metadata: None, ..ALL }, None, Modality::Video, "metadata of model.safetensors"),
        (Places { metadata: None, header: None, ..ALL }, None, Modality::Image, "class UNet2DModel"),
        (Places { metadata: None, header: None, class: None, ..ALL }, None, Modality::Text, "tensor names"),
        // a class that says nothing, and a metadata.json without the field, pass the question on
        (Places { metadata: None, header: None, class: Some("Hologram"), ..ALL }, None, Modality::Text, "tensor names"),
        (Places { metadata: Some("{\"name\": \"x\"}"), ..ALL }, None, Modality::Video, "metadata of model.safetensors"),
        (Places { metadata: Some("{}"), header: None, class: None, ..ALL }, None, Modality::Text, "tensor names"),
    ];
    for (places, option, modality, source) in steps {
        assert_eq!(found(&places, option).unwrap(), Found { modality, source: source.into() });
    }
}

#[test]
fn every_modality_by_its_name() {
    for modality in Modality::ALL {
        let metadata: &'static str = Box::leak(format!("{{\"modality\": \"{}\"}}", modality.as_str()).into_boxed_str());
        assert_eq!(found(&Places { metadata: Some(metadata), ..ALL }, None).unwrap().modality, modality);
        assert_eq!(found(&Places { metadata: None, header: Some(modality.as_str()), ..ALL }, None).unwrap().modality, modality);
    }
}

#[test]
fn the_denoiser_says_more_than_the_pipeline() {
    let dir = TempDir::new().unwrap();
    let file = SafetensorsFile::new().f32("w", &[1], &[1.0]);
    let encoder = SafetensorsFile::new().metadata("modality", "text").f32("layers.0.self_attn.q_proj.weight", &[1, 1], &[1.0]);
    let parts =
        [("transformer", "diffusers", "WanTransformer3DModel", &file), ("text_encoder", "transformers", "LlamaForCausalLM", &encoder)];
    pipeline(dir.path(), "StableDiffusionPipeline", &parts);
    let expected = Found { modality: Modality::Video, source: "class WanTransformer3DModel".into() };
    assert_eq!(found_in(dir.path(), None).unwrap(), expected);
    // The pipeline's class answers where the denoiser's does not.
    let parts = [("transformer", "diffusers", "SomethingTransformerModel", &file)];
    pipeline(dir.path(), "FluxPipeline", &parts);
    text(
        &dir.path().join("model_index.json"),
        "{\"_class_name\": \"FluxPipeline\", \"transformer\": [\"diffusers\", \"SomethingTransformerModel\"]}",
    );
    assert_eq!(found_in(dir.path(), None).unwrap().source, "class FluxPipeline");
}

#[test]
fn any_shard_may_state_it() {
    let dir = TempDir::new().unwrap();
    let shard = |name: &str| SafetensorsFile::new().f32(name, &[1], &[1.0]);
    sharded_component(dir.path(), "Hologram", &[shard("a"), shard("b").metadata("modality", "audio")]);
    assert_eq!(found_in(dir.path(), None).unwrap().modality, Modality::Audio);
}

/// A model that nothing identifies.
const NOTHING: Places = Places { metadata: None, header: None, class: None, tensor: "w" };

#[test]
fn nothing_known_is_an_error_that_names_the_places() {
    for (places, expected) in [
        (NOTHING, ["metadata.json (absent)", "safetensors metadata", "class names (none)"]),
        (Places { class: Some("Hologram"), ..NOTHING }, ["metadata.json (absent)", "safetensors metadata", "class names (Hologram)"]),
    ] {
        let dir = folder(&places);
        match found_in(dir.path(), None) {
            Err(QuantError::UnknownModality { path, value: None, looked_at }) => {
                assert_eq!((path.as_path(), looked_at), (dir.path(), expected.map(str::to_owned).to_vec()));
            }
            other => unreachable!("{other:?}"),
        }
        assert_eq!(found_in(dir.path(), Some(Modality::Image)).unwrap().source, "option");
    }
}

#[test]
fn values_that_are_no_modality() {
    for value in ["hologram", "IMAGE", " image", ""] {
        let metadata: &'static str = Box::leak(format!("{{\"modality\": \"{value}\"}}").into_boxed_str());
        for (places, file) in [
            (Places { metadata: Some(metadata), ..ALL }, "metadata.json"),
            (Places { metadata: None, header: Some(Box::leak(value.to_owned().into_boxed_str())), ..ALL }, "model.safetensors"),
        ] {
            let dir = folder(&places);
            match found_in(dir.path(), None) {
                Err(QuantError::UnknownModality { path, value: Some(found), .. }) => {
                    assert_eq!((path, found.as_str()), (dir.path().join(file), value));
                }
                other => unreachable!("{value:?} in {file}: {other:?}"),
            }
            assert_eq!(found_in(dir.path(), Some(Modality::Image)).unwrap().source, "option", "the option overrules it");
        }
    }
}

#[test]
fn metadata_that_is_wrong_counts_even_beside_the_option() {
    for (content, number) in
        [("{\"modality\": 7}", "a number"), ("{\"modality\": null}", "null"), ("{\"modality\": [\"image\"]}", "an array")]
    {
        for option in [None, Some(Modality::Image)] {
            let dir = folder(&Places { metadata: Some(content), ..ALL });
            match found_in(dir.path(), option) {
                Err(QuantError::Metadata { path, field, problem }) => {
                    assert_eq!((path, field.as_deref()), (dir.path().join("metadata.json"), Some("modality")));
                    assert_eq!(problem, MetadataProblem::FieldType { expected: "a string", found: number.into() });
                }
                other => unreachable!("{content}: {other:?}"),
            }
        }
    }
    let broken = found(&Places { metadata: Some("{\"modality\": imag }"), ..ALL }, Some(Modality::Image));
    assert!(matches!(broken, Err(QuantError::Serde { source, .. }) if (source.line(), source.column()) == (1, 14)));
    let list = found(&Places { metadata: Some("[]"), ..ALL }, Some(Modality::Image));
    assert!(matches!(list, Err(QuantError::Metadata { field: None, problem: MetadataProblem::FieldType { .. }, .. })));
}

#[test]
fn metadata_without_the_field_is_the_thing_to_mend_when_nothing_else_answers() {
    let dir = folder(&Places { metadata: Some("{\"name\": \"x\"}"), ..NOTHING });
    match found_in(dir.path(), None) {
        Err(QuantError::Metadata { path, field, problem: MetadataProblem::FieldMissing }) => {
            assert_eq!((path, field.as_deref()), (dir.path().join("metadata.json"), Some("modality")));
        }
        other => unreachable!("{other:?}"),
    }
}
