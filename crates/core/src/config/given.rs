//! What the caller gave. The facade has checked it already, with better words; this is the second lock on the door.

use super::profile::{Mode, Profile};
use super::resolved::{Device, Layout, MethodChoice, NonFinitePolicy, PlainDtype, Protect, ResolvedConfig};
use crate::bits::BitWidth;
use crate::error::{ConfigIssue, ErrorCode};
use crate::modality::Modality;
use serde::Deserialize;
use serde_json::{Map, Value};

/// What a timer can hold.
const MOST_MILLISECONDS: u64 = (1 << 31) - 1;
/// Five minutes without a byte read, a block finished or a byte written.
const STALL_MILLISECONDS: u64 = 300_000;
const LEAST_STALL_MILLISECONDS: u64 = 1_000;
/// Bounds of the job's own buffers, MiB.
const MEMORY_MB: std::ops::RangeInclusive<u64> = 16..=16_777_216;
const DEFAULT_MEMORY_MB: u64 = 256;
const DEFAULT_RETRIES: u64 = 4;
const GROUP_SIZES: [u64; 4] = [32, 64, 128, 256];

/// The options as they arrive: every one optional, numbers unchecked.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(missing_docs, reason = "the options of the public table; ResolvedConfig documents each")]
pub struct GivenConfig {
    pub deployment_profile: Option<Profile>,
    pub bit_width: Option<u64>,
    pub group_size: Option<u64>,
    pub num_time_groups: Option<u64>,
    pub enable_time_aware: Option<bool>,
    pub enable_spatial: Option<bool>,
    pub calibration_samples: Option<u64>,
    pub method: Option<MethodChoice>,
    pub symmetric: Option<bool>,
    pub min_accuracy: Option<f64>,
    pub fail_fast: Option<bool>,
    pub modality: Option<Modality>,
    pub layout: Option<String>,
    pub plain_dtype: Option<PlainDtype>,
    pub protect_blocks: Option<Protect>,
    pub components: Option<Vec<String>>,
    pub skip_layers: Option<Vec<String>>,
    pub layer_bit_widths: Option<Map<String, Value>>,
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

struct HowItRuns {
    stall_timeout_ms: u64,
    max_memory_limit_mb: u64,
    io_retries: u64,
    device: Device,
}

impl GivenConfig {
    /// Parses the JSON record of given options.
    pub fn from_value(value: Value) -> Result<Self, Vec<ConfigIssue>> {
        serde_json::from_value(value).map_err(|e| {
            vec![ConfigIssue::new(ErrorCode::InvalidConfig, "config", "known options with values of their types", e.to_string())]
        })
    }

    /// Fills the gaps from the profile and checks every value; all problems are reported at once.
    pub fn resolve(&self, mode: Mode) -> Result<ResolvedConfig, Vec<ConfigIssue>> {
        let mut issues = Vec::new();
        let profile = self.deployment_profile.unwrap_or_default();
        let d = profile.defaults();
        let bit_width = self.bit_width.map_or(d.bit_width, |v| {
            BitWidth::try_from(v).unwrap_or_else(|_| {
                issues.push(ConfigIssue::number(ErrorCode::InvalidBitWidth, "bitWidth", "2, 4, or 8", v));
                d.bit_width
            })
        });
        let group_size = self.group_size.unwrap_or(d.group_size as u64);
        if !GROUP_SIZES.contains(&group_size) {
            issues.push(ConfigIssue::number(ErrorCode::InvalidGroupSize, "groupSize", "32, 64, 128, or 256", group_size));
        }
        let num_time_groups = self.num_time_groups.unwrap_or(u64::from(d.num_time_groups));
        if !(1..=100).contains(&num_time_groups) {
            let expected = "an integer between 1 and 100";
            issues.push(ConfigIssue::number(ErrorCode::InvalidTimeGroups, "numTimeGroups", expected, num_time_groups));
        }
        let calibration_samples = self.calibration_samples.unwrap_or(u64::from(d.calibration_samples));
        if !(1..=1_000_000).contains(&calibration_samples) {
            let expected = "an integer between 1 and 1000000";
            issues.push(ConfigIssue::number(ErrorCode::InvalidConfig, "calibrationSamples", expected, calibration_samples));
        }
        let min_accuracy = self.min_accuracy.unwrap_or_else(|| bit_width.default_min_accuracy());
        if !(0.0..=1.0).contains(&min_accuracy) {
            issues.push(ConfigIssue::number(ErrorCode::InvalidAccuracy, "minAccuracy", "a number between 0.0 and 1.0", min_accuracy));
        }
        let num_threads = self.num_threads.unwrap_or(0);
        if num_threads > 1024 {
            issues.push(ConfigIssue::number(ErrorCode::InvalidConfig, "numThreads", "an integer between 0 and 1024", num_threads));
        }
        if self.timeout_ms.is_some_and(|ms| !(1..=MOST_MILLISECONDS).contains(&ms)) {
            let expected = "a whole number of milliseconds, at least 1";
            issues.push(ConfigIssue::number(ErrorCode::InvalidConfig, "timeoutMs", expected, self.timeout_ms.unwrap_or_default()));
        }
        let layout = match self.layout.as_deref() {
            None | Some("auto" | "sdnq") => Layout::Sdnq,
            Some("plain") => Layout::Plain,
            Some(other) => {
                issues.push(ConfigIssue::text("layout", "'auto', 'sdnq' or 'plain'", other));
                Layout::Sdnq
            }
        };
        if self.plain_dtype.is_some() && layout != Layout::Plain {
            issues.push(ConfigIssue::text("plainDtype", "to be given only with layout 'plain'", layout.as_str()));
        }
        let run = self.how_it_runs(&mut issues);
        let layer_bit_widths = self.layer_bit_widths(&mut issues);
        if !issues.is_empty() {
            return Err(issues);
        }
        Ok(ResolvedConfig {
            mode,
            deployment_profile: profile,
            bit_width,
            group_size: group_size as usize,
            num_time_groups: num_time_groups as u32,
            enable_time_aware: self.enable_time_aware.unwrap_or(d.enable_time_aware) && mode == Mode::Diffusion,
            enable_spatial: self.enable_spatial.unwrap_or(d.enable_spatial),
            calibration_samples: calibration_samples as u32,
            method: self.method.unwrap_or(MethodChoice::Auto),
            symmetric: self.symmetric.unwrap_or(d.symmetric),
            min_accuracy,
            fail_fast: self.fail_fast.unwrap_or(d.fail_fast),
            modality: self.modality,
            layout,
            plain_dtype: (layout == Layout::Plain).then(|| self.plain_dtype.unwrap_or(PlainDtype::F32)),
            protect_blocks: self.protect_blocks.unwrap_or(Protect::Auto),
            components: self.components.clone(),
            skip_layers: self.skip_layers.clone().unwrap_or_default(),
            layer_bit_widths,
            num_threads: num_threads as usize,
            non_finite: self.non_finite.unwrap_or(NonFinitePolicy::Error),
            overwrite: self.overwrite.unwrap_or(false),
            timeout_ms: self.timeout_ms,
            stall_timeout_ms: run.stall_timeout_ms,
            max_memory_limit_mb: run.max_memory_limit_mb,
            io_retries: run.io_retries as u32,
            device: run.device,
            device_fallback: self.device_fallback.unwrap_or(true),
            resume: self.resume.unwrap_or(false),
        })
    }

    /// Options that do not change what is written.
    fn how_it_runs(&self, issues: &mut Vec<ConfigIssue>) -> HowItRuns {
        let mut refuse = |path, expected, value: u64| issues.push(ConfigIssue::number(ErrorCode::InvalidConfig, path, expected, value));
        let stall_timeout_ms = self.stall_timeout_ms.unwrap_or(STALL_MILLISECONDS);
        if stall_timeout_ms != 0 && !(LEAST_STALL_MILLISECONDS..=MOST_MILLISECONDS).contains(&stall_timeout_ms) {
            refuse("stallTimeoutMs", "a whole number of milliseconds, 0 or at least 1000", stall_timeout_ms);
        }
        let max_memory_limit_mb = self.max_memory_limit_mb.unwrap_or(DEFAULT_MEMORY_MB);
        if !MEMORY_MB.contains(&max_memory_limit_mb) {
            refuse("maxMemoryLimitMb", "an integer of at least 16", max_memory_limit_mb);
        }
        let io_retries = self.io_retries.unwrap_or(DEFAULT_RETRIES);
        if io_retries > 10 {
            refuse("ioRetries", "an integer between 0 and 10", io_retries);
        }
        let device = self.device.as_deref().map_or(Some(Device::Auto), Device::parse);
        if device.is_none() {
            let expected = "'auto', 'cpu', 'cuda' or 'cuda:N'";
            issues.push(ConfigIssue::text("device", expected, self.device.as_deref().unwrap_or_default()));
        }
        if self.resume == Some(true) && self.overwrite == Some(true) {
            issues.push(ConfigIssue::new(ErrorCode::InvalidConfig, "resume", "not together with overwrite", "true (boolean)"));
        }
        HowItRuns { stall_timeout_ms, max_memory_limit_mb, io_retries, device: device.unwrap_or(Device::Auto) }
    }

    fn layer_bit_widths(&self, issues: &mut Vec<ConfigIssue>) -> Vec<(String, u8)> {
        let mut widths = Vec::new();
        for (name, value) in self.layer_bit_widths.iter().flatten() {
            if let Some(bits @ (2 | 4 | 8 | 16)) = value.as_u64() {
                widths.push((name.clone(), bits as u8));
            } else {
                let path = format!("layerBitWidths[\"{name}\"]");
                issues.push(ConfigIssue::new(ErrorCode::InvalidBitWidth, path, "2, 4, 8, or 16", format!("{value} (number)")));
            }
        }
        widths
    }

    /// Options that were given but cannot change anything in a job without calibration and rotation: the report warns about each.
    pub fn without_effect(&self) -> Vec<(&'static str, &'static str)> {
        let no_calibration = "there is no calibration in this job";
        let mut list = Vec::new();
        if self.num_time_groups.is_some() {
            list.push(("numTimeGroups", no_calibration));
        }
        if self.enable_time_aware.is_some() {
            list.push(("enableTimeAware", no_calibration));
        }
        if self.calibration_samples.is_some() {
            list.push(("calibrationSamples", no_calibration));
        }
        if self.enable_spatial == Some(true) {
            list.push(("enableSpatial", "rotation is not built into this version yet"));
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
    }
}
