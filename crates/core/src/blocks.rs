//! ggml's block types: how a row of weights stands in a GGUF file. Facts of each are those of `ggml-common.h` and `ggml-quants.c` of
//! ggml-org/ggml; a block never crosses a row.

use crate::bits::BitWidth;
use serde::{Deserialize, Serialize};

/// A block type that is read and written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[expect(missing_docs, reason = "ggml's own names")]
pub enum BlockType {
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    #[serde(rename = "Q2_K")]
    Q2K,
    #[serde(rename = "Q3_K")]
    Q3K,
    #[serde(rename = "Q4_K")]
    Q4K,
    #[serde(rename = "Q5_K")]
    Q5K,
    #[serde(rename = "Q6_K")]
    Q6K,
}

/// Weights of a block of the K types.
pub const SUPER: usize = 256;

impl BlockType {
    /// All of them, by falling number of bytes for a weight within each family.
    pub const ALL: [Self; 10] =
        [Self::Q8_0, Self::Q5_1, Self::Q5_0, Self::Q4_1, Self::Q4_0, Self::Q6K, Self::Q5K, Self::Q4K, Self::Q3K, Self::Q2K];

    /// The type that a width stands for in rows of so many weights: the K type where its blocks fill the row, else the next one that does;
    /// `None` where there is none of this width.
    pub const fn for_bits(bits: BitWidth, row: usize) -> Option<Self> {
        match bits {
            BitWidth::Two => Self::Q2K.filling(row),
            BitWidth::Four => Self::Q4K.filling(row),
            BitWidth::Eight => Self::Q8_0.filling(row),
        }
    }

    /// This type where its blocks fill rows of so many weights, else the next one of 32 weights that has no fewer bits; `None` where there is
    /// none.
    pub const fn filling(self, row: usize) -> Option<Self> {
        if row.is_multiple_of(self.weights()) {
            return Some(self);
        }
        match self {
            Self::Q3K if row.is_multiple_of(32) => Some(Self::Q4_0),
            Self::Q4K if row.is_multiple_of(32) => Some(Self::Q4_1),
            Self::Q5K if row.is_multiple_of(32) => Some(Self::Q5_1),
            Self::Q6K if row.is_multiple_of(32) => Some(Self::Q8_0),
            _ => None,
        }
    }

    /// Bits of a code.
    pub const fn bits(self) -> u32 {
        match self {
            Self::Q2K => 2,
            Self::Q3K => 3,
            Self::Q4_0 | Self::Q4_1 | Self::Q4K => 4,
            Self::Q5_0 | Self::Q5_1 | Self::Q5K => 5,
            Self::Q6K => 6,
            Self::Q8_0 => 8,
        }
    }

    /// Weights that share a scale.
    pub const fn group(self) -> usize {
        match self {
            Self::Q2K | Self::Q3K | Self::Q6K => 16,
            _ => 32,
        }
    }

    /// Whether groups have no minimum.
    pub const fn symmetric(self) -> bool {
        matches!(self, Self::Q4_0 | Self::Q5_0 | Self::Q8_0 | Self::Q3K | Self::Q6K)
    }

    /// The number in files.
    pub const fn id(self) -> u32 {
        match self {
            Self::Q4_0 => 2,
            Self::Q4_1 => 3,
            Self::Q5_0 => 6,
            Self::Q5_1 => 7,
            Self::Q8_0 => 8,
            Self::Q2K => 10,
            Self::Q3K => 11,
            Self::Q4K => 12,
            Self::Q5K => 13,
            Self::Q6K => 14,
        }
    }

    /// From the number in a file.
    pub fn of(id: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|t| t.id() == id)
    }

    /// ggml's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Q4_0 => "Q4_0",
            Self::Q4_1 => "Q4_1",
            Self::Q5_0 => "Q5_0",
            Self::Q5_1 => "Q5_1",
            Self::Q8_0 => "Q8_0",
            Self::Q2K => "Q2_K",
            Self::Q3K => "Q3_K",
            Self::Q4K => "Q4_K",
            Self::Q5K => "Q5_K",
            Self::Q6K => "Q6_K",
        }
    }

    /// Weights of a block.
    pub const fn weights(self) -> usize {
        match self {
            Self::Q4_0 | Self::Q4_1 | Self::Q5_0 | Self::Q5_1 | Self::Q8_0 => 32,
            Self::Q2K | Self::Q3K | Self::Q4K | Self::Q5K | Self::Q6K => SUPER,
        }
    }

    /// Bytes of a block.
    pub const fn bytes(self) -> usize {
        match self {
            Self::Q4_0 => 18,
            Self::Q4_1 => 20,
            Self::Q5_0 => 22,
            Self::Q5_1 => 24,
            Self::Q8_0 => 34,
            Self::Q2K => 84,
            Self::Q3K => 110,
            Self::Q4K => 144,
            Self::Q5K => 176,
            Self::Q6K => 210,
        }
    }
}
