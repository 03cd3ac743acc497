//! Switches of the methods that are no options: each part is worth what a job without it loses (`npm run bench:quality`).

use serde::Deserialize;

/// What jobs use is the default: everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "switches that have nothing to do with each other")]
pub struct Tuning {
    /// Restore the row's gain after the search.
    pub gain: bool,
    /// Weight errors by magnitude at 2 bits.
    pub magnitude: bool,
    /// Sweep after compensating.
    pub sweep: bool,
    /// Refit scales and zeros when sweeping.
    pub refit: bool,
    /// Columns in the order of their inputs' energy at 4 and 8 bits.
    pub order: bool,
    /// Compute the inputs of time layers.
    pub time_path: bool,
}

impl Default for Tuning {
    fn default() -> Self {
        Self { gain: true, magnitude: true, sweep: true, refit: true, order: true, time_path: true }
    }
}

impl Tuning {
    /// Those of the kernels.
    pub const fn rows(self) -> aq_kernels::Tuning {
        let Self { gain, magnitude, sweep, refit, .. } = self;
        aq_kernels::Tuning { gain, magnitude, sweep, refit }
    }
}
