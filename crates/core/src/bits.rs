//! Bits per code.

use serde::{Deserialize, Serialize};

/// Bits per code; the only widths a scheme can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "u8", try_from = "u64")]
pub enum BitWidth {
    /// Four codes a byte.
    Two,
    /// Two codes a byte.
    Four,
    /// One code a byte.
    Eight,
}

impl BitWidth {
    /// All widths, narrowest first.
    pub const ALL: [Self; 3] = [Self::Two, Self::Four, Self::Eight];

    /// The number of bits.
    pub const fn bits(self) -> u32 {
        match self {
            Self::Two => 2,
            Self::Four => 4,
            Self::Eight => 8,
        }
    }

    /// The largest code: `2^bits - 1`.
    pub const fn max_code(self) -> u32 {
        (1 << self.bits()) - 1
    }

    /// Codes that share a byte.
    pub const fn codes_per_byte(self) -> usize {
        8 / self.bits() as usize
    }

    /// The next width of the ladder 2 -> 4 -> 8.
    pub const fn wider(self) -> Option<Self> {
        match self {
            Self::Two => Some(Self::Four),
            Self::Four => Some(Self::Eight),
            Self::Eight => None,
        }
    }

    /// The similarity every layer must reach when the user names none, by the job's width: what a sound quantizer attains with room to spare.
    pub const fn default_min_accuracy(self) -> f64 {
        match self {
            Self::Two => 0.90,
            Self::Four => 0.985,
            Self::Eight => 0.9995,
        }
    }
}

impl From<BitWidth> for u8 {
    fn from(value: BitWidth) -> Self {
        value.bits() as Self
    }
}

impl TryFrom<u64> for BitWidth {
    type Error = String;

    fn try_from(value: u64) -> Result<Self, Self::Error> {
        Self::ALL.into_iter().find(|b| u64::from(b.bits()) == value).ok_or_else(|| format!("{value} is not 2, 4, or 8"))
    }
}

impl std::fmt::Display for BitWidth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.bits())
    }
}
