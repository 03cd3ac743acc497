//! Time where it counts: the recorded steps in groups, and what a layer's output loses in each of them.
//!
//! Pure functions of numbers. A layer is judged by its worst group; groups do not change the weights.

pub mod activations;
pub mod curve;
pub mod groups;
pub mod outputs;

pub use curve::{GroupQuality, measure, worst};
pub use groups::segment;
pub use outputs::{OutputSums, StepInputs, accumulate, row_sums};
