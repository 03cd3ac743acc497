// Min/max quantization of one group: `kernels/src/group.rs`.
#pragma once
#include "round.cuh"

DEVICE Params from_range(float lo, float hi, const Wanted &q) {
    if (q.whole) {
        lo = lo < 0.0f ? lo : 0.0f;
        hi = hi > 0.0f ? hi : 0.0f;
        float scale = to_stored((hi - lo) / q.max, q.dtype);
        scale = scale >= LEAST_SCALE ? scale : 1.0f;
        return {scale, zero_to_stored(lo, scale, q)};
    }
    const float zero = to_stored(lo, q.dtype);
    const float scale = to_stored((hi - zero) / q.max, q.dtype);
    return {lo < hi && scale >= LEAST_SCALE ? scale : 1.0f, zero};
}

// The largest positive code of a symmetric scheme.
DEVICE float largest_of(const Wanted &q) { return (float)((u32)q.max / 2u); }

DEVICE float larger_magnitude(float lo, float hi) { return -lo > hi ? -lo : hi; }

DEVICE Params from_magnitude(float most, const Wanted &q) {
    const float scale = to_stored(most / largest_of(q), q.dtype);
    return {scale >= LEAST_SCALE ? scale : 1.0f, 0.0f};
}
