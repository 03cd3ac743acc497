#[path = "../../testkit/src/lib.rs"]
#[allow(dead_code, unused_imports, reason = "each test file uses a part of the kit")]
mod aq_testkit;
use aq_io::error::{IoError, MetadataProblem, Missing};
use aq_io::output::Staging;
use aq_io::source::{Source, open};
use aq_testkit::SafetensorsFile;
use aq_testkit::model::*;
use std::path::Path;
use tempfile::TempDir;
fn one(name: &str) -> SafetensorsFile {
    SafetensorsFile::new().f32(name, &[2, 2], &[1.0, 2.0, 3.0, 4.0])
}
#[test]
fn fifo_json() {
    for name in ["config.json", "metadata.json", "model_index.json", "scheduler/scheduler_config.json", "diffusion_pytorch_model.safetensors.index.json"] {
        let dir = TempDir::new().unwrap();
        component(dir.path(), "UNet2DModel", &one("a.weight"));
        let p = dir.path().join(name);
        std::fs::create_dir_all(p.parent().unwrap()).unwrap();
        let _ = std::fs::remove_file(&p);
        assert!(std::process::Command::new("mkfifo").arg(&p).status().unwrap().success());
        let (s, r) = std::sync::mpsc::channel();
        let path = dir.path().to_path_buf();
        std::thread::spawn(move || s.send(open(&path).map(|_| ()).map_err(|e| format!("{e:?}"))));
        println!("{name}: {:?}", r.recv_timeout(std::time::Duration::from_secs(2)));
        std::mem::forget(dir);
    }
}
#[test]
fn appeared() {
    let dir = TempDir::new().unwrap();
    let out = dir.path().join("out");
    let s = Staging::create(&out, false).unwrap();
    s.write(Path::new("x"), b"new").unwrap();
    text(&out.join("precious"), "p");
    println!("{:?} {:?}", s.commit().map_err(|e| format!("{e:?}")), aq_testkit::tree::names(dir.path()));
}
#[test]
fn appeared_empty() {
    let dir = TempDir::new().unwrap();
    let out = dir.path().join("out");
    let s = Staging::create(&out, false).unwrap();
    s.write(Path::new("x"), b"new").unwrap();
    drop(s);
    std::fs::write(dir.path().join(".out.aq-partial"), "users own").unwrap();
    println!("{:?} {:?}", Staging::create(&out, false).map(|_| ()).map_err(|e| format!("{e:?}")), aq_testkit::tree::names(dir.path()));
}
#[test]
fn sub_shard() {
    let dir = TempDir::new().unwrap();
    std::fs::create_dir(dir.path().join("sub")).unwrap();
    one("a.weight").write(&dir.path().join("sub/x.safetensors"));
    text(&dir.path().join("model.safetensors.index.json"), &index(0, &[("a.weight".into(), "sub/x.safetensors".into()), ("gone.weight".into(), "sub/x.safetensors".into())]));
    println!("{:?}", open(dir.path()).map(|s| s.components[0].shards.len()).map_err(|e| format!("{e:?}")));
}
#[test]
fn case_and_dot() {
    let dir = TempDir::new().unwrap();
    one("a.weight").write(&dir.path().join("x.safetensors"));
    text(&dir.path().join("model.safetensors.index.json"), &index(0, &[("a.weight".into(), "./x.safetensors".into())]));
    println!("{:?}", open(dir.path()).map(|s| s.components[0].shards.len()).map_err(|e| format!("{e:?}")));
    text(&dir.path().join("model.safetensors.index.json"), &index(0, &[("a.weight".into(), "x.safetensors/".into())]));
    println!("{:?}", open(dir.path()).map(|s| s.components[0].shards.len()).map_err(|e| format!("{e:?}")));
    text(&dir.path().join("model.safetensors.index.json"), &index(0, &[("a.weight".into(), "x.safetensors".into()),("a.weight".into(), "y.safetensors".into())]));
    println!("{:?}", open(dir.path()).map(|s| s.components[0].shards.len()).map_err(|e| format!("{e:?}")));
}
#[test]
fn linked_component_folder() {
    let dir = TempDir::new().unwrap();
    pipeline(&dir.path().join("m"), "FluxPipeline", &[("transformer", "diffusers", "FluxTransformer2DModel", &one("t.weight")), ("vae", "diffusers", "AutoencoderKL", &one("v.weight"))]);
    std::fs::rename(dir.path().join("m/vae"), dir.path().join("realvae")).unwrap();
    std::os::unix::fs::symlink("../realvae", dir.path().join("m/vae")).unwrap();
    let s = open(&dir.path().join("m")).unwrap();
    println!("{:?} {:?} {:?}", s.components.iter().map(|c| &c.name).collect::<Vec<_>>(), s.carried.iter().map(|c| &c.to).collect::<Vec<_>>(), s.left_out);
}
#[test]
fn variant_sharded() {
    let dir = TempDir::new().unwrap();
    for i in 1..3 { one(&format!("a{i}.weight")).write(&dir.path().join(format!("diffusion_pytorch_model.fp16-0000{i}-of-00002.safetensors"))); }
    text(&dir.path().join("diffusion_pytorch_model.safetensors.index.fp16.json"), &index(0, &[("a1.weight".into(), "diffusion_pytorch_model.fp16-00001-of-00002.safetensors".into()),("a2.weight".into(), "diffusion_pytorch_model.fp16-00002-of-00002.safetensors".into())]));
    println!("{:?}", open(dir.path()).map(|s| s.components[0].shards.len()).map_err(|e| format!("{e:?}")));
}
#[test]
fn huge_json() {
    let dir = TempDir::new().unwrap();
    component(dir.path(), "UNet2DModel", &one("a.weight"));
    std::fs::remove_file(dir.path().join("config.json")).unwrap();
    std::os::unix::fs::symlink("/dev/zero", dir.path().join("config.json")).unwrap();
    println!("{:?}", open(dir.path()).map(|s| s.components[0].shards.len()).map_err(|e| format!("{e:?}")));
}
