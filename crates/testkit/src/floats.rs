//! The float types of weight files, written by hand: round half to even, little-endian.

/// A float type that weights are stored in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Float {
    /// IEEE double.
    F64,
    /// IEEE single.
    F32,
    /// IEEE half.
    F16,
    /// bfloat16.
    Bf16,
}

impl Float {
    /// All of them, widest first.
    pub const ALL: [Self; 4] = [Self::F64, Self::F32, Self::F16, Self::Bf16];

    /// The name in a safetensors header.
    pub const fn name(self) -> &'static str {
        match self {
            Self::F64 => "F64",
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::Bf16 => "BF16",
        }
    }

    /// The bytes of these values.
    pub fn encode(self, values: &[f32]) -> Vec<u8> {
        match self {
            Self::F64 => values.iter().flat_map(|v| f64::from(*v).to_le_bytes()).collect(),
            Self::F32 => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
            Self::F16 => values.iter().flat_map(|v| half(*v).to_le_bytes()).collect(),
            Self::Bf16 => values.iter().flat_map(|v| bfloat(*v).to_le_bytes()).collect(),
        }
    }
}

fn bfloat(value: f32) -> u16 {
    let bits = value.to_bits();
    if value.is_nan() {
        return (bits >> 16) as u16 | 0x40;
    }
    // Carries into the exponent are what rounding up to the next power of two, or to infinity, means.
    ((bits + 0x7fff + ((bits >> 16) & 1)) >> 16) as u16
}

fn half(value: f32) -> u16 {
    let sign = ((value.to_bits() >> 16) & 0x8000) as u16;
    let magnitude = f64::from(value.abs());
    if value.is_nan() {
        return sign | 0x7e00;
    }
    // The step between neighbours is 2^-24 below 2^-14 and doubles with each power of two above; division by it is exact.
    let exponent = ((magnitude.to_bits() >> 52) as i32 - 1023).max(-14);
    let steps = (magnitude / f64::powi(2.0, exponent - 10)).round_ties_even();
    if magnitude >= 65520.0 {
        return sign | 0x7c00;
    }
    // 1024 steps or more carry the implicit bit, which adds one to the exponent field of `exponent - 1`.
    let field = (exponent + 14) as u16;
    sign | ((field << 10) + steps as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_by_hand() {
        for (value, bits) in [
            (0.0, 0),
            (-0.0, 0x8000),
            (1.0, 0x3c00),
            (-2.0, 0xc000),
            (65504.0, 0x7bff),
            (65519.0, 0x7bff),
            (65520.0, 0x7c00),
            (f32::INFINITY, 0x7c00),
            (f32::powi(2.0, -24), 1),
            (f32::powi(2.0, -25), 0),
            (f32::powi(2.0, -14), 0x0400),
            (1.0 / 3.0, 0x3555),
            (2049.0, 0x6800),
            (2051.0, 0x6802),
        ] {
            assert_eq!(half(value), bits, "{value}");
        }
    }

    #[test]
    fn bfloats_by_hand() {
        for (value, bits) in [(1.0, 0x3f80), (-0.5, 0xbf00), (f32::MAX, 0x7f80), (1.0 + 1.0 / 256.0, 0x3f80), (1.0 + 3.0 / 256.0, 0x3f82)] {
            assert_eq!(bfloat(value), bits, "{value}");
        }
        assert_eq!(bfloat(f32::NAN) & 0x7fc0, 0x7fc0);
    }
}
