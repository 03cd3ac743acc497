//! What the caller gave, and what it means once the profile has filled the gaps.

use super::check::check;
use super::profile::{Mode, Profile, ProfileDefaults};
use super::resolved::{Device, GgufNames, Layout, MethodChoice, NonFinitePolicy, PlainDtype, Protect, ResolvedConfig};
use crate::bits::BitWidth;
use crate::error::{ConfigIssue, ErrorCode};
use crate::modality::Modality;
use crate::recipe::Recipe;
use crate::share::Share;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Five minutes without a byte read, a block finished or a byte written.
const STALL_MILLISECONDS: u64 = 300_000;
const DEFAULT_MEMORY_MB: u64 = 256;
const DEFAULT_RETRIES: u64 = 4;

/// One layout, or several at once.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(untagged)]
pub enum LayoutChoice {
    /// By its name, or `auto`.
    One(String),
    /// By their names, each into a folder of its own.
    Several(Vec<String>),
}

/// The options as they arrive: every one optional, numbers unchecked.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(missing_docs, reason = "the options of the public table; ResolvedConfig documents each")]
pub struct GivenConfig {
    pub deployment_profile: Option<Profile>,
    pub bit_width: Option<u64>,
    pub group_size: Option<u64>,
    pub num_time_groups: Option<u64>,
    pub enable_time_aware: Option<bool>,
    pub enable_spatial: Option<bool>,
    pub calibration: Option<String>,
    pub calibration_samples: Option<u64>,
    pub method: Option<MethodChoice>,
    pub symmetric: Option<bool>,
    pub min_accuracy: Option<f64>,
    pub fail_fast: Option<bool>,
    pub modality: Option<Modality>,
    pub layout: Option<LayoutChoice>,
    pub plain_dtype: Option<PlainDtype>,
    pub gguf_names: Option<GgufNames>,
    pub gguf_type: Option<String>,
    pub protect_blocks: Option<Protect>,
    pub partition: Option<String>,
    pub components: Option<Vec<String>>,
    pub skip_layers: Option<Vec<String>>,
    pub layer_bit_widths: Option<Map<String, Value>>,
    pub enable_mixed_precision: Option<bool>,
    pub target_model_size_mb: Option<f64>,
    pub num_threads: Option<u64>,
    pub non_finite: Option<NonFinitePolicy>,
    pub overwrite: Option<bool>,
    pub timeout_ms: Option<u64>,
    pub stall_timeout_ms: Option<u64>,
    pub max_memory_limit_mb: Option<u64>,
    pub io_retries: Option<u64>,
    pub device: Option<String>,
    pub device_fallback: Option<bool>,
    pub resume: Option<bool>,
}

impl GivenConfig {
    /// Checks and reads the record of given options; all problems are reported at once.
    pub fn from_value(value: Value) -> Result<Self, Vec<ConfigIssue>> {
        let expected = "a record of options";
        let Value::Object(options) = &value else {
            return Err(vec![ConfigIssue::new(ErrorCode::InvalidConfig, "config", expected, "something else")]);
        };
        let issues = check(options);
        if !issues.is_empty() {
            return Err(issues);
        }
        serde_json::from_value(value).map_err(|e| vec![ConfigIssue::new(ErrorCode::InvalidConfig, "config", expected, e.to_string())])
    }

    /// Fills the gaps from the profile, and checks what options mean together.
    pub fn resolve(&self, mode: Mode) -> Result<ResolvedConfig, Vec<ConfigIssue>> {
        let mut issues = Vec::new();
        let profile = self.deployment_profile.unwrap_or_default();
        let d = profile.defaults();
        let bit_width = self.width(&d);
        let layout = self.layout().unwrap_or(Layout::Sdnq);
        if self.plain_dtype.is_some() && !self.names(Layout::Plain) {
            issues.push(ConfigIssue::text("plainDtype", "to be given only with layout 'plain'", layout.as_str()));
        }
        // The model decides where nothing does.
        let gguf = self.names(Layout::Gguf) || (self.layout().is_none() && self.layouts().is_none());
        if self.gguf_names.is_some() && !gguf {
            issues.push(ConfigIssue::text("ggufNames", "to be given only with layout 'gguf'", layout.as_str()));
        }
        if let Some(recipe) = self.recipe() {
            if self.bit_width.is_some() && recipe.width != bit_width {
                let expected = format!("{} or nothing with ggufType '{}'", recipe.width, recipe.name);
                issues.push(ConfigIssue::new(ErrorCode::InvalidConfig, "bitWidth", expected, format!("{bit_width} (number)")));
            }
            if !gguf {
                issues.push(ConfigIssue::text("ggufType", "to be given only with layout 'gguf'", layout.as_str()));
            }
        }
        if self.method == Some(MethodChoice::Gptq) && self.calibration.is_none() {
            issues.push(ConfigIssue::text("method", "'auto', 'rtn' or 'mse' without calibration", "gptq"));
        }
        if self.resume == Some(true) && self.overwrite == Some(true) {
            issues.push(ConfigIssue::new(ErrorCode::InvalidConfig, "resume", "not together with overwrite", "true (boolean)"));
        }
        if self.partition.is_some() && self.layouts().is_some() {
            let share = self.partition.as_deref().unwrap_or_default();
            issues.push(ConfigIssue::text("partition", "not together with several layouts", share));
        }
        if !issues.is_empty() {
            return Err(issues);
        }
        Ok(ResolvedConfig {
            mode,
            deployment_profile: profile,
            bit_width,
            group_size: self.group_size.map_or(d.group_size, |v| v as usize),
            num_time_groups: self.num_time_groups.map_or(d.num_time_groups, |v| v as u32),
            enable_time_aware: self.enable_time_aware.unwrap_or(d.enable_time_aware) && mode == Mode::Diffusion,
            enable_spatial: self.enable_spatial.unwrap_or(d.enable_spatial),
            calibration: self.calibration.clone(),
            calibration_samples: self.calibration_samples.map_or(d.calibration_samples, |v| v as u32),
            method: self.method.unwrap_or(MethodChoice::Auto),
            symmetric: self.symmetric.unwrap_or(d.symmetric),
            min_accuracy: self.min_accuracy.unwrap_or_else(|| bit_width.default_min_accuracy()),
            fail_fast: self.fail_fast.unwrap_or(d.fail_fast),
            modality: self.modality,
            layout,
            gguf_names: self.gguf_names.unwrap_or_default(),
            gguf_type: self.recipe().filter(|_| layout == Layout::Gguf).map(|r| r.name),
            plain_dtype: (layout == Layout::Plain).then(|| self.plain_dtype.unwrap_or(PlainDtype::F32)),
            protect_blocks: self.protect_blocks.unwrap_or(Protect::Auto),
            partition: self.partition.as_deref().and_then(Share::parse),
            components: self.components.clone(),
            skip_layers: self.skip_layers.clone().unwrap_or_default(),
            layer_bit_widths: self.layer_bit_widths(),
            enable_mixed_precision: self.enable_mixed_precision.unwrap_or(false),
            target_model_size_mb: self.target_model_size_mb,
            num_threads: self.num_threads.unwrap_or(0) as usize,
            non_finite: self.non_finite.unwrap_or(NonFinitePolicy::Error),
            overwrite: self.overwrite.unwrap_or(false),
            timeout_ms: self.timeout_ms,
            stall_timeout_ms: self.stall_timeout_ms.unwrap_or(STALL_MILLISECONDS),
            max_memory_limit_mb: self.max_memory_limit_mb.unwrap_or(DEFAULT_MEMORY_MB),
            io_retries: self.io_retries.unwrap_or(DEFAULT_RETRIES) as u32,
            device: self.device.as_deref().and_then(Device::parse).unwrap_or(Device::Auto),
            device_fallback: self.device_fallback.unwrap_or(true),
            resume: self.resume.unwrap_or(false),
        })
    }

    /// The layout that is asked for; `None`: the model's own ecosystem decides.
    pub fn layout(&self) -> Option<Layout> {
        if let Some(LayoutChoice::One(name)) = &self.layout { Layout::parse(name) } else { None }
    }

    /// The layouts of a list; `None` where one is asked for, or none.
    pub fn layouts(&self) -> Option<Vec<Layout>> {
        if let Some(LayoutChoice::Several(names)) = &self.layout {
            Some(names.iter().filter_map(|n| Layout::parse(n)).collect())
        } else {
            None
        }
    }

    /// The options of each output.
    pub fn for_each_layout(&self) -> Vec<Self> {
        self.layouts().map_or_else(|| vec![self.clone()], |list| list.into_iter().map(|layout| self.for_layout(layout)).collect())
    }

    /// Whether a layout is asked for, alone or among others.
    fn names(&self, layout: Layout) -> bool {
        self.layout() == Some(layout) || self.layouts().is_some_and(|l| l.contains(&layout))
    }

    /// The same options with one layout, without those that only others have.
    #[must_use]
    pub fn for_layout(&self, layout: Layout) -> Self {
        Self {
            layout: Some(LayoutChoice::One(layout.as_str().into())),
            plain_dtype: self.plain_dtype.filter(|_| layout == Layout::Plain),
            gguf_names: self.gguf_names.filter(|_| layout == Layout::Gguf),
            gguf_type: self.gguf_type.clone().filter(|_| layout == Layout::Gguf),
            // The width that it stands for is that of the job.
            bit_width: self.bit_width.or(self.recipe().map(|r| u64::from(r.width.bits()))),
            ..self.clone()
        }
    }

    fn layer_bit_widths(&self) -> Vec<(String, u8)> {
        let widths = self.layer_bit_widths.iter().flatten();
        widths.filter_map(|(name, value)| Some((name.clone(), value.as_u64()? as u8))).collect()
    }

    /// The kind of GGUF file that is asked for.
    pub fn recipe(&self) -> Option<&'static Recipe> {
        Recipe::named(self.gguf_type.as_deref()?)
    }

    /// The job's width: as given, else that of the kind of file, else the profile's.
    fn width(&self, defaults: &ProfileDefaults) -> BitWidth {
        let given = self.bit_width.and_then(|v| BitWidth::try_from(v).ok());
        given.or(self.recipe().map(|r| r.width)).unwrap_or(defaults.bit_width)
    }

    /// Whether no layer is asked for at fewer than 8 bits.
    fn at_eight_bits(&self) -> bool {
        let width = self.width(&self.deployment_profile.unwrap_or_default().defaults());
        width == BitWidth::Eight && self.layer_bit_widths().iter().all(|(_, bits)| *bits >= 8)
    }

    /// Options that were given but cannot change anything in this job: the report warns about each.
    pub fn without_effect(&self) -> Vec<(&'static str, &'static str)> {
        let no_calibration = "there is no calibration in this job";
        let mut list = Vec::new();
        if self.calibration.is_none() {
            // Time groups and their switch mean the computed time path, too.
            list.extend(self.calibration_samples.map(|_| ("calibrationSamples", no_calibration)));
        }
        if self.enable_mixed_precision == Some(true) && self.target_model_size_mb.is_none() {
            list.push(("enableMixedPrecision", "there is no targetModelSizeMb in this job"));
        }
        if self.enable_spatial == Some(true) && self.at_eight_bits() && self.layout() != Some(Layout::ComfyUi) {
            list.push(("enableSpatial", "nothing is rotated at 8 bits"));
        }
        if self.layout() == Some(Layout::CompressedTensors) {
            let zeros = self.symmetric == Some(false) && self.method == Some(MethodChoice::Gptq);
            list.extend(zeros.then_some(("method", "zero points are searched by mse")));
            list.extend(
                (self.enable_spatial == Some(true)).then_some(("enableSpatial", "no reader of compressed-tensors undoes a rotation")),
            );
        }
        if self.layout() == Some(Layout::ComfyUi) {
            let own = "ComfyUI's formats have groups of their own: rows at 8 bits, 64 weights at 4";
            list.extend(self.group_size.map(|_| ("groupSize", own)));
            let eight = self.at_eight_bits();
            list.extend(
                (self.enable_spatial == Some(true) && !eight).then_some(("enableSpatial", "ComfyUI undoes a rotation of 8 bits only")),
            );
            list.extend((self.symmetric == Some(false) && eight).then_some(("symmetric", "ComfyUI's 8 bits are symmetric")));
        }
        if self.layout() == Some(Layout::Gguf) {
            let blocks = "ggml's blocks have groups, minima and searches of their own";
            list.extend(self.group_size.map(|_| ("groupSize", blocks)));
            list.extend(self.symmetric.map(|_| ("symmetric", blocks)));
            list.extend((self.method == Some(MethodChoice::Gptq)).then_some(("method", blocks)));
            list.extend((self.enable_spatial == Some(true)).then_some(("enableSpatial", "no reader of GGUF undoes a rotation")));
        }
        list
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn resolve(value: Value) -> Result<ResolvedConfig, Vec<ConfigIssue>> {
        GivenConfig::from_value(value)?.resolve(Mode::Diffusion)
    }

    #[test]
    fn profiles_fill_the_gaps() {
        let c = resolve(json!({})).unwrap();
        assert_eq!((c.bit_width, c.group_size, c.num_time_groups, c.min_accuracy), (BitWidth::Four, 64, 10, 0.985));
        let c = resolve(json!({"deploymentProfile": "edge", "groupSize": 128})).unwrap();
        assert_eq!((c.bit_width, c.group_size, c.min_accuracy), (BitWidth::Two, 128, 0.90));
        // the gate follows the job's width, not the profile
        assert!((resolve(json!({"deploymentProfile": "edge", "bitWidth": 8})).unwrap().min_accuracy - 0.9995).abs() < 1e-12);
    }

    #[test]
    fn every_problem_is_reported_at_once() {
        let issues = resolve(json!({"bitWidth": 3, "groupSize": 48, "minAccuracy": 1.5, "layerBitWidths": {"a": 5}})).unwrap_err();
        let paths: Vec<_> = issues.iter().map(|i| i.path.as_str()).collect();
        assert_eq!(paths, ["bitWidth", "groupSize", "minAccuracy", "layerBitWidths[\"a\"]"]);
        assert_eq!(issues[0].message, "Expected 2, 4, or 8 for bitWidth but received 3 (number).");
        assert!(resolve(json!({"bit_width": 4})).is_err());
        let without = resolve(json!({"method": "gptq"})).unwrap_err();
        assert_eq!(without[0].message, "Expected 'auto', 'rtn' or 'mse' without calibration for method but received \"gptq\" (string).");
        assert!(resolve(json!({"method": "gptq", "calibration": "c.jsonl"})).is_ok());
    }
}
