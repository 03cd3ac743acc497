//! A job's configuration: what the caller gave, the profiles that fill the gaps, and the result.

mod check;
mod given;
mod profile;
mod resolved;

pub use given::{GivenConfig, LayoutChoice};
pub use profile::{Mode, Profile, ProfileDefaults};
pub use resolved::{Device, GgufNames, Layout, MethodChoice, NonFinitePolicy, PlainDtype, Protect, ResolvedConfig};
