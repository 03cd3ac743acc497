//! Kernel levels: the same arithmetic compiled for wider registers, chosen when the program runs.
//!
//! Every kernel is written once, over fixed lanes, as a function that is always inlined. A level is that function inside another one for
//! which the compiler may use more instructions. There is no second source to differ from: Rust neither contracts a product and a sum nor
//! reorders sums, so every level gives the same bits, and a suite checks that it does. On aarch64 the generic level is NEON already.

use std::sync::OnceLock;

/// The variable that forces a level, for tests and for finding out: `generic`, `avx2` or `avx512`. One that this machine lacks, or another
/// word, is as if it were not set.
const VARIABLE: &str = "ARROW_QUANT_SIMD";

/// Instructions that kernels may use. Only what this machine has can be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Level(Set);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Set {
    Generic,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Level {
    /// What every machine of this architecture has.
    pub const GENERIC: Self = Self(Set::Generic);

    /// The levels of this machine, the widest last.
    pub fn available() -> Vec<Self> {
        #[cfg_attr(not(target_arch = "x86_64"), expect(unused_mut, reason = "there is one level"))]
        let mut list = vec![Self::GENERIC];
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                list.push(Self(Set::Avx2));
            }
            let wide = is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw");
            if wide && is_x86_feature_detected!("avx512dq") && is_x86_feature_detected!("avx512vl") {
                list.push(Self(Set::Avx512));
            }
        }
        list
    }

    /// The level that kernels use: the widest, or the one that the environment forces.
    pub fn current() -> Self {
        static CURRENT: OnceLock<Level> = OnceLock::new();
        *CURRENT.get_or_init(|| {
            let available = Self::available();
            let forced = std::env::var(VARIABLE).ok().and_then(|name| available.iter().find(|l| l.name() == name).copied());
            forced.or(available.last().copied()).unwrap_or(Self::GENERIC)
        })
    }

    /// The name in reports.
    pub const fn name(self) -> &'static str {
        match self.0 {
            Set::Generic => "generic",
            #[cfg(target_arch = "x86_64")]
            Set::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            Set::Avx512 => "avx512",
        }
    }

    pub(crate) const fn set(self) -> Set {
        self.0
    }
}

/// Calls a function that is always inlined, compiled for a level.
macro_rules! at_level {
    ($level:expr, $body:path, ($($arg:ident : $type:ty),* $(,)?) -> $out:ty) => {{
        match $level.set() {
            #[cfg(target_arch = "x86_64")]
            $crate::level::Set::Avx512 => {
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
                fn wide($($arg: $type),*) -> $out {
                    $body($($arg),*)
                }
                // SAFETY: a `Level` of this set exists only where all four features were detected.
                unsafe { wide($($arg),*) }
            }
            #[cfg(target_arch = "x86_64")]
            $crate::level::Set::Avx2 => {
                #[target_feature(enable = "avx2,fma")]
                fn wide($($arg: $type),*) -> $out {
                    $body($($arg),*)
                }
                // SAFETY: a `Level` of this set exists only where both features were detected.
                unsafe { wide($($arg),*) }
            }
            $crate::level::Set::Generic => $body($($arg),*),
        }
    }};
}
pub(crate) use at_level;
