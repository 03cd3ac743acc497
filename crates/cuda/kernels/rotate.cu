// Hadamard rotation in place: `kernels/src/rotate.rs`. A block of threads works on `span` values at a time, a multiple of the rotation's block.
#include "device.cuh"

KERNEL rotate(float *values, u32 *not_finite, u64 len, u32 block, u32 span, float scale) {
    TILE;
    const u64 first = (u64)blockIdx.x * span;
    const u32 count = len - first < span ? (u32)(len - first) : span;
    PHASE(t) {
        for (u32 k = t; k < count; k += blockDim.x) tile[k] = values[first + k];
    }
    // A power of four in steps of four, another power of two in steps of two.
    const bool by_four = (block & 0x55555555u) != 0;
    for (u32 stride = 1; stride < block; stride *= by_four ? 4 : 2) {
        PHASE(t) {
            if (by_four) {
                for (u32 k = t; k < count / 4; k += blockDim.x) {
                    float *const at = tile + k / stride * (4 * stride) + k % stride;
                    const float a = at[0], b = at[stride], c = at[2 * stride], d = at[3 * stride];
                    const float ab = a + b, amb = a - b, cd = c + d, cmd = c - d;
                    at[0] = ab + cmd;
                    at[stride] = ab - cmd;
                    at[2 * stride] = amb + cd;
                    at[3 * stride] = cd - amb;
                }
            } else {
                for (u32 k = t; k < count / 2; k += blockDim.x) {
                    float *const at = tile + k / stride * (2 * stride) + k % stride;
                    const float a = at[0], b = at[stride];
                    at[0] = a + b;
                    at[stride] = a - b;
                }
            }
        }
    }
    PHASE(t) {
        for (u32 k = t; k < count; k += blockDim.x) {
            const float value = tile[k] * scale;
            values[first + k] = value;
            if (!is_finite(value)) raise_flag(not_finite);
        }
    }
}
