//! Small model folders, as the libraries write them.

use super::safetensors_file::{SafetensorsFile, quoted};
use std::fs;
use std::path::Path;

/// Writes a text file; its folders are created.
///
/// # Panics
/// If it cannot be written.
pub fn text(path: &Path, content: &str) {
    fs::create_dir_all(path.parent().expect("a file has a folder")).expect("a test's own folder can be written");
    fs::write(path, content).expect("a test's own folder can be written");
}

/// A diffusers component: `config.json` with its class, and one weight file.
///
/// # Panics
/// If it cannot be written.
pub fn component(dir: &Path, class: &str, weights: &SafetensorsFile) {
    text(&dir.join("config.json"), &format!("{{\"_class_name\": {}}}\n", quoted(class)));
    weights.write(&dir.join("diffusion_pytorch_model.safetensors"));
}

/// A diffusers component in shards with their index.
///
/// # Panics
/// If it cannot be written.
pub fn sharded_component(dir: &Path, class: &str, shards: &[SafetensorsFile]) {
    text(&dir.join("config.json"), &format!("{{\"_class_name\": {}}}\n", quoted(class)));
    self::shards(dir, "diffusion_pytorch_model", shards);
}

/// A part of a pipeline: folder name, library, class, weights.
pub type Part<'a> = (&'a str, &'a str, &'a str, &'a SafetensorsFile);

/// A diffusers pipeline: `model_index.json`, a scheduler without weights, and parts with weights.
///
/// # Panics
/// If it cannot be written.
pub fn pipeline(dir: &Path, class: &str, parts: &[Part<'_>]) {
    let mut entries = vec![
        format!("  \"_class_name\": {}", quoted(class)),
        "  \"scheduler\": [\"diffusers\", \"FlowMatchEulerDiscreteScheduler\"]".to_owned(),
        "  \"safety_checker\": [null, null]".to_owned(),
    ];
    text(&dir.join("scheduler/scheduler_config.json"), "{\"_class_name\": \"FlowMatchEulerDiscreteScheduler\"}\n");
    for (name, library, class, weights) in parts {
        entries.push(format!("  {}: [{}, {}]", quoted(name), quoted(library), quoted(class)));
        let folder = dir.join(name);
        if *library == "transformers" {
            let config = format!("{{\"architectures\": [{}], \"model_type\": \"clip_text_model\"}}\n", quoted(class));
            text(&folder.join("config.json"), &config);
            weights.write(&folder.join("model.safetensors"));
        } else {
            component(&folder, class, weights);
        }
    }
    text(&dir.join("model_index.json"), &format!("{{\n{}\n}}\n", entries.join(",\n")));
}

/// A transformers model in shards with their index.
///
/// # Panics
/// If it cannot be written.
pub fn sharded_transformers(dir: &Path, architecture: &str, shards: &[SafetensorsFile]) {
    text(&dir.join("config.json"), &format!("{{\"architectures\": [{}], \"model_type\": \"llama\"}}\n", quoted(architecture)));
    self::shards(dir, "model", shards);
}

fn shards(dir: &Path, stem: &str, shards: &[SafetensorsFile]) {
    let mut map = Vec::new();
    for (i, shard) in shards.iter().enumerate() {
        let file = format!("{stem}-{:05}-of-{:05}.safetensors", i + 1, shards.len());
        map.extend(shard.names().map(|name| (name.to_owned(), file.clone())));
        shard.write(&dir.join(file));
    }
    let total = shards.iter().map(|s| s.data().len()).sum();
    text(&dir.join(format!("{stem}.safetensors.index.json")), &index(total, &map));
}

/// The text of a shard index.
pub fn index(total: usize, map: &[(String, String)]) -> String {
    let map: Vec<String> = map.iter().map(|(tensor, file)| format!("    {}: {}", quoted(tensor), quoted(file))).collect();
    format!("{{\n  \"metadata\": {{\"total_size\": {total}}},\n  \"weight_map\": {{\n{}\n  }}\n}}\n", map.join(",\n"))
}
