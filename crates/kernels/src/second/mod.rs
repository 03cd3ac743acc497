//! Rounding under second moments: rows are encoded so that the layer's *output* on recorded inputs changes least.
//!
//! With inputs `x` and `H = mean(x x')` the mean squared error of an output row is `d H d'`, `d` being what its weights were changed by.
//! GPTQ (Frantar et al. 2022, arXiv:2210.17323; here in the form of LDLQ, Chee et al. 2023, arXiv:2307.13304, which is the same) rounds column
//! after column and makes up for the errors so far; coordinate descent (arXiv:2309.01885, arXiv:2406.17542) rounds each
//! column once more given all others; scale and zero of each group are refitted under `H`.
//!
//! Sixteen output rows stand side by side in the lanes of a register ([`panel`]), since all of them go through the same columns of `H`. Sums
//! are taken by [`product`] in ascending order with fused multiply-add: results depend neither on the level nor on what is worked on beside.

mod compensate;
mod factor;
mod factored;
mod linear;
mod moments;
mod packed;
mod panel;
mod product;
mod rows;
mod span;
mod sweep;

pub use factor::Factor;
pub use factored::Factored;
pub use linear::linear;
pub use moments::{DAMPING, Moments};
pub use packed::{Inputs, Packed, STRIP};
pub use rows::{Encoded, Second};
pub use span::Span;
