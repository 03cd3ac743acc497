//! What the driver's statuses mean for the work. Numbers decide, never texts: asking the driver for a text calls the driver.

use cudarc::driver::{DriverError, sys::CUresult};

/// What a failure means for the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Fewer rows may fit.
    OutOfMemory,
    /// The same may work again.
    Passing,
    /// The context is dead until the process ends.
    Sticky,
}

/// How a call failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{op} failed with {status}")]
pub struct Failure {
    /// What was being done: `allocate`, `copy`, `launch`, `wait`, `open`.
    pub op: &'static str,
    /// The driver's name for it.
    pub status: String,
    /// What it means.
    pub kind: Kind,
}

impl Failure {
    /// Of a status.
    pub fn new(op: &'static str, error: DriverError) -> Self {
        Self { op, status: format!("{:?}", error.0), kind: kind_of(error.0) }
    }

    /// A panic where the driver was called: it lacks a function.
    pub fn panicked(op: &'static str) -> Self {
        Self { op, status: "a function that the driver lacks".into(), kind: Kind::Sticky }
    }
}

/// For `map_err`.
pub fn during(op: &'static str) -> impl Fn(DriverError) -> Failure {
    move |error| Failure::new(op, error)
}

/// The statuses after which the driver documents the context as unusable.
fn kind_of(status: CUresult) -> Kind {
    use CUresult as S;
    match status {
        S::CUDA_ERROR_OUT_OF_MEMORY => Kind::OutOfMemory,
        S::CUDA_ERROR_DEINITIALIZED
        | S::CUDA_ERROR_ECC_UNCORRECTABLE
        | S::CUDA_ERROR_NVLINK_UNCORRECTABLE
        | S::CUDA_ERROR_ILLEGAL_ADDRESS
        | S::CUDA_ERROR_LAUNCH_TIMEOUT
        | S::CUDA_ERROR_CONTEXT_IS_DESTROYED
        | S::CUDA_ERROR_ASSERT
        | S::CUDA_ERROR_HARDWARE_STACK_ERROR
        | S::CUDA_ERROR_ILLEGAL_INSTRUCTION
        | S::CUDA_ERROR_MISALIGNED_ADDRESS
        | S::CUDA_ERROR_INVALID_ADDRESS_SPACE
        | S::CUDA_ERROR_INVALID_PC
        | S::CUDA_ERROR_LAUNCH_FAILED => Kind::Sticky,
        _ => Kind::Passing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_have_their_meaning_and_name() {
        for (status, kind, name) in [
            (CUresult::CUDA_ERROR_OUT_OF_MEMORY, Kind::OutOfMemory, "CUDA_ERROR_OUT_OF_MEMORY"),
            (CUresult::CUDA_ERROR_ILLEGAL_ADDRESS, Kind::Sticky, "CUDA_ERROR_ILLEGAL_ADDRESS"),
            (CUresult::CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES, Kind::Passing, "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES"),
        ] {
            let failure = Failure::new("launch", DriverError(status));
            assert_eq!((failure.kind, failure.status.as_str()), (kind, name));
        }
    }
}
