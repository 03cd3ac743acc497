// Codes to bytes, bytes to values, and the error of the values: `kernels/src/pack.rs`, `row.rs` and `errors.rs`.
#include "scheme.cuh"

// A thread for each byte.
KERNEL pack(const u8 *codes, u8 *bytes, u64 count, u32 bits) {
    const u32 per_byte = 8 / bits, mask = (1u << bits) - 1;
    PHASE(t) {
        const u64 at = (u64)blockIdx.x * blockDim.x + t, first = at * per_byte;
        if (first < count) {
            u32 packed = 0;
            for (u32 i = 0; i < per_byte; ++i) {
                if (first + i < count) packed |= (codes[first + i] & mask) << (i * bits);
            }
            bytes[at] = (u8)packed;
        }
    }
}

// A thread for each byte; values still rotated where the scheme rotates.
KERNEL dequantize(const u8 *bytes, const float *scales, const float *zeros, float *values, u64 count, u32 channels, u32 taps, u32 group, u32 bits,
                  u32 symmetric) {
    const u32 per_byte = 8 / bits, mask = (1u << bits) - 1;
    const float middle = (float)(1u << (bits - 1));
    const u64 row = (u64)channels * taps;
    const u32 per_row = channels / group * taps;
    PHASE(t) {
        const u64 at = (u64)blockIdx.x * blockDim.x + t, first = at * per_byte;
        if (first < count) {
            const u32 packed = bytes[at];
            for (u32 i = 0; i < per_byte && first + i < count; ++i) {
                const u64 k = first + i;
                // Rows are shorter than 2^32, so all but the row is 32 bits wide.
                const u32 in_row = (u32)(k % row), channel = in_row / taps;
                const u64 grid = k / row * per_row + channel / group * taps + in_row % taps;
                const float code = (float)((packed >> (i * bits)) & mask);
                values[k] = symmetric ? (code - middle) * scales[grid] : code * scales[grid] + zeros[grid];
            }
        }
    }
}

// Five sums a row, in f64: element `i` in lane `i % 8`, a thread for each lane, folded 8 -> 4 -> 2 -> 1.
KERNEL errors(const float *weights, const float *values, double *sums, u32 rows, u32 row) {
    TILE;
    double *const lanes = reinterpret_cast<double *>(tile);
    PHASE(t) {
        const u32 at = blockIdx.x * (blockDim.x / 8) + t / 8;
        double ww = 0.0, vv = 0.0, wv = 0.0, ee = 0.0, most = 0.0;
        if (at < rows) {
            for (u32 i = t % 8; i < row; i += 8) {
                const double w = (double)weights[(u64)at * row + i], v = (double)values[(u64)at * row + i], d = w - v;
                const double size = d < 0.0 ? -d : d;
                ww += w * w;
                vv += v * v;
                wv += w * v;
                ee += d * d;
                most = size > most ? size : most;
            }
        }
        double *const mine = lanes + t * 5;
        mine[0] = ww;
        mine[1] = vv;
        mine[2] = wv;
        mine[3] = ee;
        mine[4] = most;
    }
    PHASE(t) {
        const u32 at = blockIdx.x * (blockDim.x / 8) + t / 8;
        if (t % 8 == 0 && at < rows) {
            for (u32 k = 0; k < 4; ++k) {
                const double *const a = lanes + t * 5 + k;
                const double one = (a[0] + a[20]) + (a[10] + a[30]), two = (a[5] + a[25]) + (a[15] + a[35]);
                sums[(u64)at * 5 + k] = one + two;
            }
            double most = 0.0;
            for (u32 j = 0; j < 8; ++j) most = lanes[(t + j) * 5 + 4] > most ? lanes[(t + j) * 5 + 4] : most;
            sums[(u64)at * 5 + 4] = most;
        }
    }
}
