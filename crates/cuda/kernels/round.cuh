// Rounding: to stored types, and to codes. `kernels/src/round.rs` is the specification.
#pragma once
#include "scheme.cuh"

DEVICE float to_bf16(float x) {
    const u32 bits = bits_of(x);
    return is_nan(x) ? x : float_of((bits + 0x7fffu + ((bits >> 16) & 1u)) & 0xffff0000u);
}

DEVICE float to_f16(float x) {
    const u32 bits = bits_of(x);
    const float size = magnitude(x);
    const float normal = float_of((bits + 0xfffu + ((bits >> 13) & 1u)) & ~0x1fffu);
    // A float near 1/2 has steps of 2^-24, those of subnormal halves.
    const float subnormal = signed_as((size + 0.5f) - 0.5f, x);
    float rounded = size < 6.103515625e-5f ? subnormal : normal;
    rounded = size >= 65520.0f ? signed_as(AQ_INFINITY, x) : rounded;
    return is_nan(x) ? x : rounded;
}

DEVICE float to_stored(float x, u32 dtype) { return dtype == STORED_BF16 ? to_bf16(x) : dtype == STORED_F16 ? to_f16(x) : x; }

// Adding and subtracting 2^23 rounds a float in 0..2^22 to an integer, half to even.
#define MAGIC 8388608.0f

DEVICE float clamped(float t, float max) {
    t = t > 0.0f ? t : 0.0f;
    return t < max ? t : max;
}

DEVICE float code(float t, float max) { return (clamped(t, max) + MAGIC) - MAGIC; }

// Less `middle`, a whole number up to 128.
DEVICE float code_around(float t, float max, float middle) { return (clamped(t, max) + MAGIC) - (MAGIC + middle); }

DEVICE u8 byte(float code) { return (u8)bits_of(code + MAGIC); }

DEVICE float zero_to_stored(float zero, float scale, const Wanted &q) {
    if (!q.whole) return to_stored(zero, q.dtype);
    return 0.0f - code(-zero * (1.0f / scale), q.max) * scale;
}
