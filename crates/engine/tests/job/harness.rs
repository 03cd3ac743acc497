//! Running a job, and reading what it wrote.

use aq_core::progress::Silent;
use aq_core::report::{LayerReport, QuantizeReport};
use aq_core::{CancelToken, GivenConfig, Mode, ProgressSink};
use aq_engine::job::{QuantizeRequest, quantize};
use aq_engine::supervise::supervise;
use aq_engine::tuning::Tuning;
use aq_engine::{Control, QuantError};
use aq_io::Disk;
use aq_io::weights::weights;
use aq_testkit::{SafetensorsFile, Tree, gauss, heavy, model, snapshot};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;

/// A class that the rules know as an image model.
pub const CLASS: &str = "DiTTransformer2DModel";
/// The weight file of a component.
pub const FILE: &str = "diffusion_pytorch_model.safetensors";

/// A temporary folder with a model in it, and room for outputs.
pub struct Bench {
    dir: TempDir,
}

impl Bench {
    /// With nothing in it.
    pub fn empty() -> Self {
        Self { dir: TempDir::new().expect("a temporary folder") }
    }

    /// With a component of these weights.
    pub fn new(weights: &SafetensorsFile) -> Self {
        let bench = Self::empty();
        std::fs::create_dir(bench.model()).expect("a folder can be made");
        model::component(&bench.model(), CLASS, weights);
        bench
    }

    /// The folder around model and outputs.
    pub fn root(&self) -> &Path {
        self.dir.path()
    }

    /// The model.
    pub fn model(&self) -> PathBuf {
        self.dir.path().join("model")
    }

    /// An output.
    pub fn out(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Quantizes the model to an output; no gate unless the options have one.
    pub fn run(&self, out: &str, options: &Value) -> Result<QuantizeReport, QuantError> {
        self.run_on(&self.model(), out, options)
    }

    /// The same with any input.
    pub fn run_on(&self, model: &Path, out: &str, options: &Value) -> Result<QuantizeReport, QuantError> {
        self.run_watched(model, out, options, CancelToken::default(), Arc::new(Silent))
    }

    /// The same with a stop flag and a listener.
    pub fn run_watched(
        &self,
        model: &Path,
        out: &str,
        options: &Value,
        cancel: CancelToken,
        sink: Arc<dyn ProgressSink>,
    ) -> Result<QuantizeReport, QuantError> {
        let mut config = json!({"minAccuracy": 0, "numThreads": 2});
        for (key, value) in options.as_object().expect("options are an object") {
            config[key] = value.clone();
        }
        let config = GivenConfig::from_value(config).map_err(QuantError::InvalidConfig)?;
        let request = QuantizeRequest {
            model_path: model.into(),
            output_path: self.out(out),
            mode: Mode::Diffusion,
            config,
            tuning: Tuning::default(),
        };
        let control = Arc::new(Control::new(cancel, sink));
        supervise(&control, move |control| quantize(&request, control))
    }

    /// The error of a job that must fail and leave everything as it was.
    pub fn fails(&self, options: &Value) -> QuantError {
        self.fails_on(&self.model(), options)
    }

    /// The same with any input.
    pub fn fails_on(&self, model: &Path, options: &Value) -> QuantError {
        let before = snapshot(self.root());
        let error = self.run_on(model, "not/made/out", options).expect_err("the job must fail");
        assert!(snapshot(self.root()) == before, "nothing is left behind by {error:?}");
        error
    }

    /// Bytes of every file of an output.
    pub fn tree(&self, out: &str) -> Tree {
        snapshot(&self.out(out))
    }

    /// A JSON file.
    pub fn json(&self, path: &str) -> Value {
        let bytes = std::fs::read(self.root().join(path)).expect("the file can be read");
        serde_json::from_slice(&bytes).expect("the file is JSON")
    }
}

/// A decoded weight: shape, values, bits per code if it is stored in codes.
pub type Decoded = (Vec<usize>, Vec<f32>, Option<u32>);

/// Every weight of a model folder, decoded, by module name; with `component/` where there are several.
pub fn decoded(path: &Path) -> BTreeMap<String, Decoded> {
    let source = aq_io::source::open(&Disk::default(), path).expect("the folder is a model");
    let mut all = BTreeMap::new();
    for component in &source.components {
        for weight in weights(component).expect("the weights can be decoded") {
            let mut values = vec![0.0; weight.shape.iter().product()];
            weight.read_rows(component, 0, &mut values).expect("the weights can be read");
            let module = weight.name.strip_suffix(".weight").unwrap_or(&weight.name);
            let name = if component.name.is_empty() { module.to_owned() } else { format!("{}/{module}", component.name) };
            all.insert(name, (weight.shape.clone(), values, weight.bits()));
        }
    }
    all
}

/// Type, shape and bytes of every tensor of a file, as another library reads them.
pub fn tensors(path: &Path) -> BTreeMap<String, (String, Vec<usize>, Vec<u8>)> {
    let bytes = std::fs::read(path).expect("the file can be read");
    let file = safetensors::SafeTensors::deserialize(&bytes).expect("another library can read it");
    file.iter().map(|(name, t)| (name.to_owned(), (format!("{:?}", t.dtype()), t.shape().to_vec(), t.data().to_vec()))).collect()
}

/// A layer of a report.
pub fn layer<'a>(report: &'a QuantizeReport, name: &str) -> &'a LayerReport {
    report.layers.iter().find(|l| l.name == name).unwrap_or_else(|| unreachable!("{name} is in the report"))
}

/// Why a layer or file was left alone.
pub fn why<'a>(report: &'a QuantizeReport, name: &str) -> &'a str {
    report.skipped.iter().find(|s| s.name == name).map_or("it was not skipped", |s| s.why.as_str())
}

/// Codes of a report's warnings.
pub fn warnings(report: &QuantizeReport) -> Vec<&str> {
    report.warnings.iter().map(|w| w.code).collect()
}

/// A small model with every kind of tensor; layers long enough for two blocks of rows, and odd ones.
pub fn varied() -> SafetensorsFile {
    SafetensorsFile::new()
        .metadata("format", "pt")
        .f32("pos_embed.proj.weight", &[16, 4, 2, 2], &gauss(16, 16, 1))
        .f32("transformer_blocks.0.attn1.to_q.weight", &[64, 96], &heavy(64, 96, 2))
        .f32("transformer_blocks.1.attn1.to_q.weight", &[96, 128], &heavy(96, 128, 3))
        .f32("transformer_blocks.1.attn1.to_q.bias", &[96], &gauss(1, 96, 4))
        .f32("transformer_blocks.1.ff.net.0.proj.weight", &[2500, 128], &heavy(2500, 128, 5))
        .f32("transformer_blocks.1.norm1.linear.weight", &[64, 64], &gauss(64, 64, 6))
        .f32("transformer_blocks.2.conv.weight", &[16, 64, 3, 3], &heavy(16, 576, 7))
        .f32("transformer_blocks.2.odd.weight", &[33, 97], &gauss(33, 97, 8))
        .f32("transformer_blocks.2.norm.weight", &[96], &gauss(1, 96, 9))
        .tensor("position_ids", "I64", &[1, 3], [7; 24])
        .f32("proj_out.weight", &[16, 96], &gauss(16, 96, 10))
}
