//! Folders that lie: indexes that lead out or name what is not there, JSON that is too deep, special files.

use aq_io::Disk;
use aq_io::error::{Defect, IoError, MetadataProblem, Missing};
use aq_io::source::{Source, open};
use aq_testkit::SafetensorsFile;
use aq_testkit::model::{component, index, sharded_component, text};
use std::path::Path;
use tempfile::TempDir;

const INDEX: &str = "diffusion_pytorch_model.safetensors.index.json";
const FIRST: &str = "diffusion_pytorch_model-00001-of-00002.safetensors";
const SECOND: &str = "diffusion_pytorch_model-00002-of-00002.safetensors";

fn one(name: &str) -> SafetensorsFile {
    SafetensorsFile::new().f32(name, &[2, 2], &[1.0, 2.0, 3.0, 4.0])
}

fn sharded() -> TempDir {
    let dir = TempDir::new().expect("a temporary folder");
    sharded_component(dir.path(), "UNet2DModel", &[one("a.weight"), one("b.weight")]);
    dir
}

fn with_map(map: &[(&str, &str)]) -> (TempDir, Result<Source, IoError>) {
    let dir = sharded();
    let map: Vec<(String, String)> = map.iter().map(|(t, f)| ((*t).to_owned(), (*f).to_owned())).collect();
    text(&dir.path().join(INDEX), &index(0, &map));
    let source = open(&Disk::default(), dir.path());
    (dir, source)
}

#[test]
fn an_index_that_names_a_missing_shard() {
    let dir = sharded();
    assert!(open(&Disk::default(), dir.path()).is_ok());
    std::fs::remove_file(dir.path().join(SECOND)).unwrap();
    match open(&Disk::default(), dir.path()) {
        Err(IoError::NotFound { path, what: Missing::Shard, referenced_by, source }) => {
            assert_eq!((path, referenced_by), (dir.path().join(SECOND), Some(dir.path().join(INDEX))));
            assert_eq!(source.unwrap().kind(), std::io::ErrorKind::NotFound);
        }
        other => unreachable!("{other:?}"),
    }
}

#[test]
fn an_index_that_leads_out_of_the_folder() {
    for bad in ["../x.safetensors", "/etc/passwd", "sub/../../x.safetensors", "..", "", "a\\..\\..\\x", "x\0.safetensors"] {
        let (dir, source) = with_map(&[("a.weight", FIRST), ("b.weight", bad)]);
        match source {
            Err(IoError::Metadata { path, field, problem: MetadataProblem::Outside { name } }) => {
                assert_eq!((path, name.as_str()), (dir.path().join(INDEX), bad));
                assert_eq!(field.as_deref(), Some("weight_map.b.weight"));
            }
            other => unreachable!("{bad:?}: {other:?}"),
        }
    }
}

#[test]
fn an_index_that_lists_a_tensor_its_shard_lacks() {
    let (dir, source) = with_map(&[("a.weight", FIRST), ("b.weight", SECOND), ("c.weight", FIRST)]);
    match source {
        Err(IoError::Metadata { path, field, problem: MetadataProblem::Contradiction { other, about } }) => {
            assert_eq!((path, other), (dir.path().join(INDEX), dir.path().join(FIRST)));
            assert!(field.as_deref() == Some("weight_map.c.weight") && about.contains("c.weight"));
        }
        other => unreachable!("{other:?}"),
    }
}

#[test]
fn indexes_of_the_wrong_form() {
    let dir = sharded();
    let at = dir.path().join(INDEX);
    let metadata = |content: &str| {
        text(&at, content);
        match open(&Disk::default(), dir.path()) {
            Err(IoError::Metadata { field, problem, .. }) => (field, problem),
            other => unreachable!("{content}: {other:?}"),
        }
    };
    assert_eq!(metadata("{}"), (Some("weight_map".into()), MetadataProblem::FieldMissing));
    let (field, problem) = metadata("{\"weight_map\": []}");
    assert_eq!(field.as_deref(), Some("weight_map"));
    assert_eq!(problem, MetadataProblem::FieldType { expected: "an object", found: "an array".into() });
    let (field, problem) = metadata("{\"weight_map\": {\"a.weight\": 7}}");
    assert_eq!(field.as_deref(), Some("weight_map.a.weight"));
    assert!(matches!(problem, MetadataProblem::FieldType { found, .. } if found == "a number"));
    let (field, problem) = metadata("[]");
    assert!(field.is_none() && matches!(problem, MetadataProblem::FieldType { .. }));
    text(&at, "{\"weight_map\": {}}");
    assert!(matches!(open(&Disk::default(), dir.path()), Err(IoError::NotFound { what: Missing::Weights, .. })));
}

#[test]
fn a_pipeline_that_names_a_folder_outside() {
    let dir = TempDir::new().unwrap();
    let inside = dir.path().join("model");
    text(&inside.join("model_index.json"), "{\"../evil\": [\"diffusers\", \"UNet2DModel\"]}");
    component(&dir.path().join("evil"), "UNet2DModel", &one("a.weight"));
    match open(&Disk::default(), &inside) {
        Err(IoError::Metadata { problem: MetadataProblem::Outside { name }, .. }) => assert_eq!(name, "../evil"),
        other => unreachable!("{other:?}"),
    }
}

#[test]
fn json_that_is_too_deep_or_broken() {
    let deep = "[".repeat(200);
    for (name, content) in [
        ("config.json", deep.clone()),
        ("config.json", format!("{{\"a\": {deep}")),
        (INDEX, deep.clone()),
        (INDEX, format!("{{\"weight_map\": {deep}")),
        ("metadata.json", deep),
        ("metadata.json", "{\"modality\": imag }".into()),
        ("config.json", "{\"a\": 1,}".into()),
        ("config.json", String::new()),
    ] {
        let dir = sharded();
        text(&dir.path().join(name), &content);
        match open(&Disk::default(), dir.path()) {
            Err(IoError::Json { path, source }) => {
                assert_eq!(path, dir.path().join(name));
                if content.contains("imag") {
                    assert_eq!((source.line(), source.column()), (1, 14));
                }
            }
            other => unreachable!("{name}: {other:?}"),
        }
    }
    let dir = sharded();
    text(&dir.path().join("config.json"), "[1]");
    assert!(matches!(open(&Disk::default(), dir.path()), Err(IoError::Metadata { problem: MetadataProblem::FieldType { .. }, .. })));
}

#[test]
fn paths_that_are_not_a_model() {
    let dir = TempDir::new().unwrap();
    assert!(matches!(open(&Disk::default(), &dir.path().join("absent")), Err(IoError::NotFound { what: Missing::Model, .. })));
    match open(&Disk::default(), dir.path()) {
        Err(IoError::NotFound { path, what: Missing::Weights, .. }) => assert_eq!(path, dir.path()),
        other => unreachable!("{other:?}"),
    }
    let file = |name: &str, bytes: &[u8]| {
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).expect("the file can be written");
        path
    };
    for (name, bytes, word) in [
        ("m.ckpt", &b"PK\x03\x04rest"[..], "pickle"),
        ("m.bin", b"anything", "pickle"),
        ("renamed.safetensors", b"PK\x03\x04rest", "pickle"),
        ("m.gguf", b"GGUF\x01\0\0\0", "GGUF"),
        ("m.txt", b"hello", ".txt"),
        ("noextension", b"hello", "without extension"),
    ] {
        match open(&Disk::default(), &file(name, bytes)) {
            Err(IoError::Unsupported { path, detected }) => assert!(path.ends_with(name) && detected.contains(word), "{name}: {detected}"),
            other => unreachable!("{name}: {other:?}"),
        }
    }
    let cut = open(&Disk::default(), &file("m.parquet", b"PAR1rest"));
    assert!(matches!(cut, Err(IoError::Corrupt(damage)) if damage.defect == Defect::ParquetFooter));
    assert!(matches!(open(&Disk::default(), &dir.path().join("m.txt/below")), Err(IoError::NotFound { .. })));
}

#[cfg(unix)]
mod special {
    use super::*;
    use std::process::Command;
    use std::sync::mpsc::channel;
    use std::time::Duration;

    fn fifo(path: &Path) {
        let made = Command::new("mkfifo").arg(path).status().expect("mkfifo can be started");
        assert!(made.success());
    }

    /// Opens in another thread, so that a reader that blocks fails the test instead of hanging it.
    fn open_at_once(path: &Path) -> IoError {
        let (sender, receiver) = channel();
        let path = path.to_path_buf();
        std::thread::spawn(move || sender.send(open(&Disk::default(), &path).map(|_| ())));
        receiver.recv_timeout(Duration::from_secs(5)).expect("an answer at once").expect_err("a special file is no model")
    }

    #[test]
    fn special_files_are_answered_at_once() {
        let special = |error: IoError| matches!(error, IoError::Unsupported { detected, .. } if detected.contains("special file"));
        let dir = TempDir::new().unwrap();
        let model = dir.path().join("model.safetensors");
        fifo(&model);
        assert!(special(open_at_once(&model)));
        assert!(special(open_at_once(dir.path())));

        std::fs::remove_file(&model).unwrap();
        std::os::unix::fs::symlink("/dev/zero", &model).unwrap();
        assert!(special(open_at_once(&model)));
        assert!(special(open_at_once(dir.path())));

        let dir = sharded();
        std::fs::remove_file(dir.path().join(SECOND)).unwrap();
        fifo(&dir.path().join(SECOND));
        assert!(special(open_at_once(dir.path())));

        for name in ["config.json", "metadata.json", "model_index.json"] {
            let dir = sharded();
            let _ = std::fs::remove_file(dir.path().join(name));
            fifo(&dir.path().join(name));
            assert!(special(open_at_once(dir.path())), "{name}");
        }
    }

    #[test]
    fn links_that_lead_nowhere_or_in_circles() {
        let dir = TempDir::new().unwrap();
        let link = |to: &str, name: &str| std::os::unix::fs::symlink(to, dir.path().join(name)).unwrap();
        link("absent", "model.safetensors");
        assert!(matches!(open(&Disk::default(), dir.path()), Err(IoError::NotFound { .. })));
        link("b.safetensors", "a.safetensors");
        link("a.safetensors", "b.safetensors");
        match open(&Disk::default(), &dir.path().join("a.safetensors")) {
            Err(IoError::File { source, .. }) => assert_eq!(aq_io::errno::name(&source), "ELOOP"),
            other => unreachable!("{other:?}"),
        }
    }

    #[test]
    fn a_folder_where_a_file_belongs() {
        let dir = TempDir::new().unwrap();
        component(dir.path(), "UNet2DModel", &one("a.weight"));
        std::fs::create_dir(dir.path().join("metadata.json")).unwrap();
        match open(&Disk::default(), dir.path()) {
            Err(IoError::File { source, path, .. }) => {
                assert!(path.ends_with("metadata.json"));
                assert_eq!(aq_io::errno::name(&source), "EISDIR");
            }
            other => unreachable!("{other:?}"),
        }
    }
}
