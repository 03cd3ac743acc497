//! Which files are a model's weights, what else belongs to it, and what stays behind.

use aq_io::Disk;
use aq_io::error::{IoError, MetadataProblem, Missing};
use aq_io::source::{Source, SourceKind, open};
use aq_testkit::SafetensorsFile;
use aq_testkit::model::{component, index, pipeline, sharded_transformers, text};
use std::path::Path;
use tempfile::TempDir;

fn one(name: &str) -> SafetensorsFile {
    SafetensorsFile::new().f32(name, &[2, 2], &[1.0, 2.0, 3.0, 4.0])
}

/// A folder of weight files, each with a tensor of its own name.
fn folder(files: &[&str]) -> TempDir {
    let dir = TempDir::new().expect("a temporary folder");
    for file in files {
        one(file).write(&dir.path().join(file));
    }
    dir
}

/// Weight files chosen in such a folder, of the first component.
fn chosen(source: &Source) -> Vec<&str> {
    source.components[0].shards.iter().map(|s| s.file_name.as_str()).collect()
}

fn carried(source: &Source) -> Vec<(String, bool)> {
    source.carried.iter().map(|c| (c.to.to_string_lossy().replace('\\', "/"), c.weight)).collect()
}

fn left_out(source: &Source) -> Vec<(String, String)> {
    source.left_out.iter().map(|l| (l.name.replace('\\', "/"), l.why.clone())).collect()
}

#[test]
fn usual_names_go_before_others() {
    for (files, want) in [
        (&["diffusion_pytorch_model.safetensors", "other.safetensors"][..], "diffusion_pytorch_model.safetensors"),
        (&["model.safetensors", "consolidated.safetensors", "a.safetensors"], "model.safetensors"),
        (&["diffusion_pytorch_model.fp16.safetensors"], "diffusion_pytorch_model.fp16.safetensors"),
        (&["diffusion_pytorch_model.fp16.safetensors", "other.safetensors"], "diffusion_pytorch_model.fp16.safetensors"),
        (&["model.fp16.safetensors", "model.safetensors"], "model.safetensors"),
        (&["flux1-dev.safetensors"], "flux1-dev.safetensors"),
        // a name that only begins like a usual one is not a variant
        (&["model-merged.safetensors"], "model-merged.safetensors"),
    ] {
        let dir = folder(files);
        let source = open(&Disk::default(), dir.path()).unwrap();
        assert_eq!(chosen(&source), [want], "{files:?}");
        assert_eq!(source.kind, SourceKind::Component);
    }
}

#[test]
fn several_candidates_are_an_error_that_lists_them() {
    for files in [
        &["a.safetensors", "b.safetensors"][..],
        &["diffusion_pytorch_model.bf16.safetensors", "diffusion_pytorch_model.fp16.safetensors"],
        &["diffusion_pytorch_model.safetensors", "model.safetensors"],
    ] {
        let dir = folder(files);
        match open(&Disk::default(), dir.path()) {
            Err(IoError::Metadata { path, problem: MetadataProblem::Ambiguous { candidates }, .. }) => {
                assert_eq!((path, candidates), (dir.path().to_owned(), files.iter().map(|f| (*f).to_owned()).collect()));
            }
            other => unreachable!("{files:?}: {other:?}"),
        }
    }
}

#[test]
fn calibration_and_reference_files_do_not_count() {
    let dir = folder(&["weights.safetensors"]);
    for kind in ["calibration", "reference"] {
        let file = one("x@0").metadata("format", &format!("arrow-quant-{kind}"));
        file.write(&dir.path().join(format!("{kind}.safetensors")));
    }
    let source = open(&Disk::default(), dir.path()).unwrap();
    assert_eq!(chosen(&source), ["weights.safetensors"]);
    assert_eq!(left_out(&source).len(), 2, "and they are not carried over silently");
    // alone they are no model
    std::fs::remove_file(dir.path().join("weights.safetensors")).unwrap();
    assert!(matches!(open(&Disk::default(), dir.path()), Err(IoError::NotFound { what: Missing::Weights, .. })));
}

#[test]
fn an_index_goes_before_everything() {
    let dir = folder(&["model.safetensors", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]);
    let shard = |i: usize| format!("model-0000{i}-of-00002.safetensors");
    let map = [2, 1].map(|i| (shard(i), shard(i)));
    text(&dir.path().join("model.safetensors.index.json"), &index(32, &map));
    let source = open(&Disk::default(), dir.path()).unwrap();
    assert_eq!(chosen(&source), ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]);
    let weight_map = &source.components[0].index.as_ref().unwrap().weight_map;
    assert_eq!(weight_map[0].0, shard(2), "the index keeps its order");
    assert_eq!(left_out(&source), [("model.safetensors".into(), "a weight file that the model does not load".into())]);
    assert!(carried(&source).contains(&("model.safetensors.index.json".into(), false)));
}

#[test]
fn pickles_are_refused_and_never_preferred() {
    let dir = TempDir::new().unwrap();
    text(&dir.path().join("diffusion_pytorch_model.bin"), "PK\u{3}\u{4}");
    match open(&Disk::default(), dir.path()) {
        Err(IoError::Unsupported { path, detected }) => {
            assert!(path.ends_with("diffusion_pytorch_model.bin") && detected.contains("pickle"));
        }
        other => unreachable!("{other:?}"),
    }
    one("a.weight").write(&dir.path().join("diffusion_pytorch_model.safetensors"));
    let source = open(&Disk::default(), dir.path()).unwrap();
    assert_eq!(chosen(&source), ["diffusion_pytorch_model.safetensors"]);
    assert_eq!(left_out(&source)[0].0, "diffusion_pytorch_model.bin");
}

#[test]
fn a_single_file_takes_its_config_along() {
    let dir = folder(&["a.safetensors", "b.safetensors"]);
    text(&dir.path().join("config.json"), "{\"_class_name\": \"UNet2DModel\"}");
    text(&dir.path().join("readme.md"), "x");
    let source = open(&Disk::default(), &dir.path().join("b.safetensors")).unwrap();
    assert_eq!((source.kind, chosen(&source)), (SourceKind::File, vec!["b.safetensors"]));
    assert_eq!(source.components[0].class_name().as_deref(), Some("UNet2DModel"));
    assert_eq!(carried(&source), [("config.json".into(), false)]);
}

#[test]
fn a_transformers_folder() {
    let dir = TempDir::new().unwrap();
    sharded_transformers(dir.path(), "LlamaForCausalLM", &[one("model.a.weight"), one("lm_head.weight")]);
    text(&dir.path().join("tokenizer.json"), "{}");
    let source = open(&Disk::default(), dir.path()).unwrap();
    assert_eq!(source.kind, SourceKind::Transformers);
    let c = &source.components[0];
    assert!(c.is_transformers() && c.is_denoiser() && c.name.is_empty());
    assert_eq!((c.class_name().as_deref(), c.shards.len(), c.parameters()), (Some("LlamaForCausalLM"), 2, 8));
    assert!(carried(&source).contains(&("tokenizer.json".into(), false)) && source.left_out.is_empty());
}

fn whole_pipeline(dir: &Path) {
    let parts = [
        ("transformer", "diffusers", "FluxTransformer2DModel", &one("t.weight")),
        ("text_encoder", "transformers", "CLIPTextModel", &one("e.weight")),
        ("vae", "diffusers", "AutoencoderKL", &one("v.weight")),
    ];
    pipeline(dir, "FluxPipeline", &parts);
}

#[test]
fn parts_of_a_pipeline() {
    let dir = TempDir::new().unwrap();
    whole_pipeline(dir.path());
    // [null, null]: absent, whatever lies in its folder
    one("s.weight").write(&{
        std::fs::create_dir(dir.path().join("safety_checker")).unwrap();
        dir.path().join("safety_checker/model.safetensors")
    });
    let source = open(&Disk::default(), dir.path()).unwrap();
    assert_eq!(source.kind, SourceKind::Pipeline);
    let parts: Vec<(&str, bool)> = source.components.iter().map(|c| (c.name.as_str(), c.is_denoiser())).collect();
    assert_eq!(parts, [("transformer", true), ("text_encoder", false), ("vae", false)]);
    assert_eq!(left_out(&source)[0].0, "safety_checker/model.safetensors");
    let mut carried = carried(&source);
    carried.sort();
    let want = [
        ("model_index.json", false),
        ("scheduler/scheduler_config.json", false),
        ("text_encoder/config.json", false),
        ("text_encoder/model.safetensors", true),
        ("transformer/config.json", false),
        ("transformer/diffusion_pytorch_model.safetensors", true),
        ("vae/config.json", false),
        ("vae/diffusion_pytorch_model.safetensors", true),
    ];
    assert_eq!(carried, want.map(|(name, weight)| (name.to_owned(), weight)));
}

#[test]
fn a_pipeline_whose_folders_are_not_there() {
    let dir = TempDir::new().unwrap();
    text(&dir.path().join("model_index.json"), "{\"unet\": [\"diffusers\", \"UNet2DModel\"], \"x\": [1, 2], \"y\": \"z\", \"w\": [\"a\"]}");
    assert!(matches!(open(&Disk::default(), dir.path()), Err(IoError::NotFound { what: Missing::Weights, .. })));
    component(&dir.path().join("unet"), "UNet2DModel", &one("a.weight"));
    assert_eq!(open(&Disk::default(), dir.path()).unwrap().components.len(), 1);
}

#[test]
fn what_stays_behind_and_why() {
    let dir = TempDir::new().unwrap();
    whole_pipeline(dir.path());
    let at = |name: &str| dir.path().join(name);
    one("root").write(&at("flux1-dev.safetensors"));
    one("variant").write(&at("transformer/diffusion_pytorch_model.fp16.safetensors"));
    text(&at("transformer/model.onnx"), "x");
    text(&at("unused/diffusion_pytorch_model.safetensors.index.json"), "{}");
    text(&at("assets/card.md"), "x");
    text(&at(".git/config"), "x");
    text(&at(".cache/huggingface/x.json"), "x");
    let sparse = |name: &str, len: u64| std::fs::File::create(at(name)).unwrap().set_len(len).unwrap();
    sparse("assets/video.mp4", 10_000_000);
    sparse("assets/picture.png", 9_999_999);
    // what the index names comes along whatever its size
    sparse("text_encoder/merges.txt", 10_000_001);

    let source = open(&Disk::default(), dir.path()).unwrap();
    let left = left_out(&source);
    let names: Vec<&str> = left.iter().map(|l| l.0.as_str()).collect();
    let want = [
        "assets/video.mp4",
        "flux1-dev.safetensors",
        "transformer/diffusion_pytorch_model.fp16.safetensors",
        "transformer/model.onnx",
        "unused/diffusion_pytorch_model.safetensors.index.json",
    ];
    assert_eq!(names, want);
    assert!(left.iter().all(|l| !l.1.is_empty()));
    assert_eq!(source.left_out[0].bytes, 10_000_000);
    let carried = carried(&source);
    for name in ["assets/card.md", "assets/picture.png", "text_encoder/merges.txt"] {
        assert!(carried.contains(&(name.into(), false)), "{name}");
    }
    assert!(!carried.iter().any(|c| c.0.starts_with('.')), "hidden folders are not the model");
}

#[test]
fn the_scheduler_tells_what_is_predicted() {
    let dir = TempDir::new().unwrap();
    whole_pipeline(dir.path());
    assert_eq!(open(&Disk::default(), dir.path()).unwrap().prediction, None);
    let config = |class: &str| format!("{{\"_class_name\": \"{class}\", \"prediction_type\": \"epsilon\"}}");
    text(&dir.path().join("scheduler/scheduler_config.json"), &config("DDPMScheduler"));
    assert_eq!(open(&Disk::default(), dir.path()).unwrap().prediction.as_deref(), Some("epsilon"));
    text(&dir.path().join("scheduler/scheduler_config.json"), &config("FlowMatchEulerDiscreteScheduler"));
    assert_eq!(open(&Disk::default(), dir.path()).unwrap().prediction, None);
}

#[cfg(unix)]
#[test]
fn links_in_the_folder_are_followed_to_files() {
    use std::os::unix::fs::symlink;
    // as a hub cache lies on disk: snapshots of links into blobs
    let cache = TempDir::new().unwrap();
    let real = cache.path().join("real");
    whole_pipeline(&real);
    let snapshot = cache.path().join("snapshots/abc");
    for (i, (name, content)) in aq_testkit::snapshot(&real).into_iter().filter(|(n, _)| !n.ends_with('/')).enumerate() {
        let (blob, link) = (cache.path().join("blobs").join(i.to_string()), snapshot.join(name));
        std::fs::create_dir_all(blob.parent().unwrap()).unwrap();
        std::fs::create_dir_all(link.parent().unwrap()).unwrap();
        std::fs::write(&blob, content).unwrap();
        symlink(blob, link).unwrap();
    }
    symlink("absent", snapshot.join("gone.json")).unwrap();
    let (linked, plain) = (open(&Disk::default(), &snapshot).unwrap(), open(&Disk::default(), &real).unwrap());
    assert_eq!(carried(&linked), carried(&plain));
    assert_eq!(chosen(&linked), ["diffusion_pytorch_model.safetensors"]);
    assert_eq!(linked.components[0].shards[0].header, plain.components[0].shards[0].header);
    assert_eq!(left_out(&linked), [("gone.json".into(), "a link that leads nowhere".into())]);
}
