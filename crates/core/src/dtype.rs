//! Element types of tensors in a file.

use crate::blocks::BlockType;

/// What can be done with a tensor of some element type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dtype {
    /// IEEE double.
    F64,
    /// IEEE single.
    F32,
    /// IEEE half.
    F16,
    /// bfloat16: the upper half of an IEEE single.
    Bf16,
    /// Eight bits, four of them exponent, no infinities (`F8_E4M3`, the "fn" variant). Read only.
    F8E4m3,
    /// Eight bits, five of them exponent: the upper half of an IEEE half. Read only.
    F8E5m2,
    /// Integers and booleans: carried over unchanged, never quantized. Holds the format's own name and the bytes per element.
    Carried(&'static str, usize),
    /// ggml's blocks: quantized already.
    Blocks(BlockType),
}

const CARRIED: [(&str, usize); 9] =
    [("BOOL", 1), ("U8", 1), ("I8", 1), ("U16", 2), ("I16", 2), ("U32", 4), ("I32", 4), ("U64", 8), ("I64", 8)];

impl Dtype {
    /// From the name in a safetensors header; `None` for types that are not supported (complex, other 8-bit and smaller floats).
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "F64" => Some(Self::F64),
            "F32" => Some(Self::F32),
            "F16" => Some(Self::F16),
            "BF16" => Some(Self::Bf16),
            "F8_E4M3" => Some(Self::F8E4m3),
            "F8_E5M2" => Some(Self::F8E5m2),
            _ => CARRIED.iter().find(|(n, _)| *n == name).map(|&(n, s)| Self::Carried(n, s)),
        }
    }

    /// The name in a safetensors header; ggml's own of its blocks.
    pub const fn name(self) -> &'static str {
        match self {
            Self::F64 => "F64",
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::Bf16 => "BF16",
            Self::F8E4m3 => "F8_E4M3",
            Self::F8E5m2 => "F8_E5M2",
            Self::Carried(name, _) => name,
            Self::Blocks(kind) => kind.name(),
        }
    }

    /// Bytes of so many elements; `None` where that overflows, or they are no whole blocks.
    pub fn bytes(self, elements: u64) -> Option<u64> {
        let per = if let Self::Blocks(kind) = self { kind.weights() as u64 } else { 1 };
        elements.is_multiple_of(per).then(|| (elements / per).checked_mul(self.size() as u64)).flatten()
    }

    /// Bytes per element; of blocks, per block.
    pub const fn size(self) -> usize {
        match self {
            Self::F64 => 8,
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
            Self::F8E4m3 | Self::F8E5m2 => 1,
            Self::Carried(_, size) => size,
            Self::Blocks(kind) => kind.bytes(),
        }
    }

    /// Whether values of this type are floating point, and so can be quantized.
    pub const fn is_float(self) -> bool {
        !matches!(self, Self::Carried(..) | Self::Blocks(_))
    }

    /// Whether values are of eight bits, which nothing is written in.
    pub const fn is_f8(self) -> bool {
        matches!(self, Self::F8E4m3 | Self::F8E5m2)
    }
}

impl std::fmt::Display for Dtype {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
