//! A scheme: everything needed to encode one layer; and its geometry: how a weight's shape is cut into groups.

use crate::bits::BitWidth;
use crate::blocks::BlockType;
use crate::dtype::Dtype;
use serde::{Deserialize, Serialize};

/// How codes are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// Min/max of the group, nearest rounding.
    Rtn,
    /// Scale and zero searched for the least squared error, then the row's gain restored.
    Mse,
    /// Codes, scales and zeros chosen for the least error of the output, from the second moments of the layer's inputs.
    Gptq,
}

/// The type that scales and zeros have on disk. They are rounded to it before codes are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ScaleDtype {
    /// bfloat16: costs under 0.02 dB at 2 and 4 bits, 0.6 dB at 8.
    Bf16,
    /// IEEE half: 11 bits of precision, but values under 2^-14 lose them.
    F16,
    /// IEEE single: for layers whose scales do not fit f16.
    F32,
}

impl ScaleDtype {
    /// Bytes per value.
    pub const fn size(self) -> usize {
        match self {
            Self::Bf16 | Self::F16 => 2,
            Self::F32 => 4,
        }
    }

    /// The name in a safetensors header.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bf16 => "BF16",
            Self::F16 => "F16",
            Self::F32 => "F32",
        }
    }

    /// Of a tensor that holds scales; `None` where its type is none of these.
    pub const fn of(dtype: Dtype) -> Option<Self> {
        match dtype {
            Dtype::Bf16 => Some(Self::Bf16),
            Dtype::F16 => Some(Self::F16),
            Dtype::F32 => Some(Self::F32),
            _ => None,
        }
    }

    /// The type a layer starts with at a width (design, section 6).
    pub const fn for_bits(bits: BitWidth) -> Self {
        match bits {
            BitWidth::Two | BitWidth::Four => Self::Bf16,
            BitWidth::Eight => Self::F16,
        }
    }
}

/// What stands at code 0 of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ZeroKind {
    /// Symmetric: `w^ = (q - 2^(b-1)) * scale`.
    None,
    /// Asymmetric: `w^ = q * scale + zero`, zero a float.
    Float,
    /// Asymmetric: `w^ = (q - z) * scale`, z a whole number among the codes, so that 0 is among the values.
    Integer,
    /// Asymmetric around the middle code: `w^ = (q - 2^(b-1)) * scale + zero`.
    Middle,
}

/// Everything needed to encode one layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Scheme {
    /// Bits per code.
    pub bits: BitWidth,
    /// The wanted group size; the stored one follows from [`group_for`].
    pub group_size: usize,
    /// Symmetric or float zero.
    pub zero: ZeroKind,
    /// How codes are chosen.
    pub method: Method,
    /// Stored type of scales and zeros.
    pub scale_dtype: ScaleDtype,
    /// Values that are rotated together before they are encoded (Hadamard, along the row as it is stored); `None`: no rotation.
    pub rotation: Option<usize>,
    /// ggml's blocks instead of grouped integers; the fields above say what these are.
    pub blocks: Option<BlockType>,
}

impl Scheme {
    /// Whether there is no zero point.
    pub fn symmetric(&self) -> bool {
        self.zero == ZeroKind::None
    }

    /// The same scheme at another width, with that width's stored type. What a layout makes of it is for the layout to say again.
    #[must_use]
    pub fn with_bits(self, bits: BitWidth) -> Self {
        Self { bits, scale_dtype: ScaleDtype::for_bits(bits), ..self }
    }

    /// The same scheme with its zero, where it has one, at code 0.
    #[must_use]
    pub fn with_float_zero(self) -> Self {
        let zero = if self.symmetric() { ZeroKind::None } else { ZeroKind::Float };
        Self { zero, ..self }
    }

    /// Bytes of codes, scales and zeros of a layer.
    pub fn coded_bytes(&self, g: &Geometry) -> u64 {
        if let Some(kind) = self.blocks {
            return (g.numel() / kind.weights() * kind.bytes()) as u64;
        }
        let bits = u64::from(self.bits.bits());
        let groups = (g.out * g.scales_per_row()) as u64;
        let scales = groups * self.scale_dtype.size() as u64;
        let zeros = match self.zero {
            ZeroKind::None => 0,
            ZeroKind::Float | ZeroKind::Middle => scales,
            ZeroKind::Integer => groups * bits / 8,
        };
        g.numel() as u64 * bits / 8 + scales + zeros
    }

    /// The same scheme with codes chosen in another way.
    #[must_use]
    pub fn with_method(self, method: Method) -> Self {
        Self { method, ..self }
    }

    /// The same scheme on rows that are rotated in blocks, or not.
    #[must_use]
    pub fn with_rotation(self, rotation: Option<usize>) -> Self {
        Self { rotation, ..self }
    }

    /// The same scheme with scales stored in another type.
    #[must_use]
    pub fn with_scale_dtype(self, scale_dtype: ScaleDtype) -> Self {
        Self { scale_dtype, ..self }
    }
}

/// The group size stored for `channels` input channels when `wanted` is asked for: the rule that the SDNQ loader derives again from the
/// shape (`sdnq/quantizer.py`), so it must be followed to the letter. The result always divides `channels`.
pub fn group_for(channels: usize, wanted: usize) -> usize {
    if wanted == 0 || wanted >= channels {
        return channels;
    }
    let mut n = channels / wanted;
    let mut size = wanted;
    while n * size != channels {
        n -= 1;
        if n <= 1 {
            return channels;
        }
        size = channels / n;
    }
    size
}

/// The block in which rows of `channels` input channels are rotated when `wanted` (a power of two) is asked for: the largest power of two up
/// to it that divides the channels. The rule that the SDNQ loader derives again, which rotates nothing under 4.
pub fn rotation_for(channels: usize, wanted: usize) -> Option<usize> {
    let block = wanted.min(1 << channels.trailing_zeros().min(usize::BITS - 2));
    (channels > 0 && block >= 4).then_some(block)
}

/// How a weight `[out, channels, taps..]` is cut into groups: along the input channels, separately for each kernel tap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    /// Output rows.
    pub out: usize,
    /// Input channels per row.
    pub channels: usize,
    /// Kernel positions; 1 for linear layers.
    pub taps: usize,
    /// Channels per group; divides `channels`.
    pub group: usize,
}

impl Geometry {
    /// Of a weight's shape; `None` where there is nothing to group (fewer than two dimensions, or an empty one) or a product overflows.
    pub fn of(shape: &[usize], wanted: usize) -> Option<Self> {
        let (&out, rest) = shape.split_first()?;
        let (&channels, kernel) = rest.split_first()?;
        let taps = kernel.iter().try_fold(1usize, |a, &d| a.checked_mul(d))?;
        out.checked_mul(channels)?.checked_mul(taps)?;
        (out > 0 && channels > 0 && taps > 0).then(|| Self { out, channels, taps, group: group_for(channels, wanted) })
    }

    /// Weights in one output row.
    pub const fn row(&self) -> usize {
        self.channels * self.taps
    }

    /// Groups along the input channels.
    pub const fn groups(&self) -> usize {
        self.channels / self.group
    }

    /// Scales in one output row.
    pub const fn scales_per_row(&self) -> usize {
        self.groups() * self.taps
    }

    /// All weights.
    pub const fn numel(&self) -> usize {
        self.out * self.row()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn group_rule_follows_the_loader() {
        // (channels, wanted, stored), worked by hand from the rule in sdnq 0.2.8
        for (channels, wanted, stored) in [
            (192, 64, 64),
            (192, 128, 192),
            (144, 64, 144),
            (256, 64, 64),
            (216, 64, 108),
            (96, 64, 96),
            (48, 64, 48),
            (640, 128, 128),
            (320, 128, 320),
            (960, 256, 480),
            (1, 32, 1),
            (100, 32, 50),
            (150, 32, 50),
            (97, 32, 97),
            (3072, 256, 256),
        ] {
            assert_eq!(group_for(channels, wanted), stored, "{channels} {wanted}");
        }
        for channels in 1..600 {
            for wanted in [32, 64, 128, 256] {
                assert_eq!(channels % group_for(channels, wanted), 0);
            }
        }
    }

    #[test]
    fn rotation_follows_the_loader() {
        // next_power_of_2(min(channels, 256)), halved until it divides: sdnq 0.2.8, quant_utils.py
        for (channels, block) in [
            (192, Some(64)),
            (640, Some(128)),
            (96, Some(32)),
            (48, Some(16)),
            (3072, Some(256)),
            (4, Some(4)),
            (6, None),
            (1, None),
            (0, None),
        ] {
            assert_eq!(rotation_for(channels, 256), block, "{channels}");
        }
        assert_eq!(rotation_for(3072, 64), Some(64));
    }

    #[test]
    fn geometry_of_shapes() {
        let g = Geometry::of(&[96, 128, 3, 3], 64).unwrap();
        assert_eq!((g.taps, g.group, g.groups(), g.scales_per_row(), g.row()), (9, 64, 2, 18, 1152));
        assert_eq!(Geometry::of(&[5], 64), None);
        assert_eq!(Geometry::of(&[5, 0], 64), None);
        assert_eq!(Geometry::of(&[usize::MAX, 2], 64), None);
    }
}
