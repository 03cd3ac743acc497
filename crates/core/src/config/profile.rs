//! Deployment profiles: the one table of defaults. `npm run generate` writes the facade's copy from it.

use crate::bits::BitWidth;
use serde::{Deserialize, Serialize};

/// What the quantized model is for; supplies defaults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// Smallest files.
    Edge,
    /// Middle way, the default.
    #[default]
    Local,
    /// Least error.
    Cloud,
}

/// Whether the model has a time axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Diffusion: time steps exist.
    #[default]
    Diffusion,
    /// No time axis: time-awareness is off.
    Base,
}

/// The options a profile sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_excessive_bools, reason = "these are the public options, one field each")]
pub struct ProfileDefaults {
    /// Bits per code.
    pub bit_width: BitWidth,
    /// Wanted group size.
    pub group_size: usize,
    /// Time groups.
    pub num_time_groups: u32,
    /// Time-aware statistics.
    pub enable_time_aware: bool,
    /// Rotation.
    pub enable_spatial: bool,
    /// Method.
    pub method: &'static str,
    /// No zero point.
    pub symmetric: bool,
    /// Stop at the first failing layer.
    pub fail_fast: bool,
    /// Calibration rows per layer and step, at most.
    pub calibration_samples: u32,
}

impl Profile {
    /// All profiles, in the order of messages.
    pub const ALL: [Self; 3] = [Self::Edge, Self::Local, Self::Cloud];

    /// The name in options.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Edge => "edge",
            Self::Local => "local",
            Self::Cloud => "cloud",
        }
    }

    /// The defaults of the profile.
    pub const fn defaults(self) -> ProfileDefaults {
        let (bit_width, group_size, num_time_groups, enable_spatial, calibration_samples) = match self {
            Self::Edge => (BitWidth::Two, 64, 5, true, 32),
            Self::Local => (BitWidth::Four, 64, 10, true, 128),
            Self::Cloud => (BitWidth::Eight, 128, 20, false, 512),
        };
        ProfileDefaults {
            bit_width,
            group_size,
            num_time_groups,
            enable_time_aware: true,
            enable_spatial,
            method: "auto",
            symmetric: false,
            fail_fast: false,
            calibration_samples,
        }
    }
}
