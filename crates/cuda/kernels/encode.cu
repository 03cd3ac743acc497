// Rows to codes, scales and zeros: a thread for each group, whose values are brought to shared memory together, column by column. Groups that
// do not fit there are read where they stand.
#include "search.cuh"

// Lane `j` with lane `j + HALF`. The bound is a constant, so that lanes stay in registers.
template <u32 HALF> DEVICE void fold(float *lo, float *hi) {
#pragma unroll
    for (u32 j = 0; j < HALF; ++j) {
        lo[j] = lo[j + HALF] < lo[j] ? lo[j + HALF] : lo[j];
        hi[j] = hi[j + HALF] > hi[j] ? hi[j + HALF] : hi[j];
    }
}

// Min/max in sixteen lanes, folded as `kernels/src/lanes.rs` does: of zeros of both signs it takes the same one.
DEVICE void lane_range(const float *values, u32 step, u32 n, float &least_of, float &most_of) {
    float lo[16], hi[16];
#pragma unroll
    for (u32 j = 0; j < 16; ++j) {
        lo[j] = AQ_INFINITY;
        hi[j] = -AQ_INFINITY;
    }
    u32 i = 0;
    for (; i + 16 <= n; i += 16) {
#pragma unroll
        for (u32 j = 0; j < 16; ++j) {
            const float value = values[(i + j) * step];
            lo[j] = value < lo[j] ? value : lo[j];
            hi[j] = value > hi[j] ? value : hi[j];
        }
    }
#pragma unroll
    for (u32 j = 0; j < 16; ++j) {
        if (i + j < n) {
            const float value = values[(i + j) * step];
            lo[j] = value < lo[j] ? value : lo[j];
            hi[j] = value > hi[j] ? value : hi[j];
        }
    }
    fold<8>(lo, hi);
    fold<4>(lo, hi);
    fold<2>(lo, hi);
    fold<1>(lo, hi);
    least_of = lo[0];
    most_of = hi[0];
}

struct Plain {
    static const bool MOMENTS = false;
    MEMBER static Params fit(const float *values, u32 step, u32 n, const Wanted &q, Moments &) {
        float lo, hi;
        lane_range(values, step, n, lo, hi);
        return from_range(lo, hi, q);
    }
    MEMBER static float middle(const Wanted &) { return 0.0f; }
};

struct PlainSymmetric {
    static const bool MOMENTS = false;
    MEMBER static Params fit(const float *values, u32 step, u32 n, const Wanted &q, Moments &) {
        float lo, hi;
        lane_range(values, step, n, lo, hi);
        return from_magnitude(larger_magnitude(lo, hi), q);
    }
    MEMBER static float middle(const Wanted &q) { return (q.max + 1.0f) * 0.5f; }
};

template <bool WEIGHTED, bool SYMMETRIC> struct Searched {
    static const bool MOMENTS = true;
    MEMBER static Params fit(const float *values, u32 step, u32 n, const Wanted &q, Moments &found) {
        Search<WEIGHTED, SYMMETRIC> search;
        search.values = values;
        search.step = step;
        search.n = n;
        search.q = q;
        return search.run(found);
    }
    MEMBER static float middle(const Wanted &q) { return SYMMETRIC ? (q.max + 1.0f) * 0.5f : 0.0f; }
};

template <class Method>
DEVICE Params fitted(const float *values, u32 step, u32 g, const Rows &s, const Wanted &q, float *scales, float *zeros, Moments *moments) {
    Moments found;
    const Params p = Method::fit(values, step, s.group, q, found);
    const u32 at = grid_of(s, g);
    scales[at] = p.scale;
    zeros[at] = p.zero;
    if (Method::MOMENTS && moments) moments[g] = found;
    return p;
}

// The walk of a thread over the elements of a tile's groups, group after group: `k` counts elements, the group and its element follow.
#define OVER_TILE(t, count, s) \
    for (u32 k = t, g = t / s.group, i = t % s.group; k < count * s.group; k += blockDim.x, g += over_g, i += over_i, \
             g += i >= s.group ? 1 : 0, i -= i >= s.group ? s.group : 0)

// Brings values to the tile, and codes from it. Groups of linear layers stand one behind the other; there many loads must be under way at a
// time, which is what unrolling is for.
DEVICE void fill(const float *weights, float *tile, u32 first, u32 count, u32 pitch, const Rows &s) {
    const u32 over_g = blockDim.x / s.group, over_i = blockDim.x % s.group;
    PHASE(t) {
        if (s.taps == 1) {
            const float *const from = weights + (u64)first * s.group;
            UNROLL OVER_TILE(t, count, s) tile[i * pitch + g] = from[k];
        } else {
            ONCE OVER_TILE(t, count, s) {
                const Place place = place_of(s, first + g);
                tile[i * pitch + g] = weights[place.first + (u64)i * place.step];
            }
        }
    }
}

DEVICE void empty(const float *tile, u8 *codes, u32 first, u32 count, u32 pitch, const Rows &s) {
    const u32 over_g = blockDim.x / s.group, over_i = blockDim.x % s.group;
    PHASE(t) {
        if (s.taps == 1) {
            u8 *const to = codes + (u64)first * s.group;
            UNROLL OVER_TILE(t, count, s) to[k] = byte(tile[i * pitch + g]);
        } else {
            ONCE OVER_TILE(t, count, s) {
                const Place place = place_of(s, first + g);
                codes[place.first + (u64)i * place.step] = byte(tile[i * pitch + g]);
            }
        }
    }
}

// `shared`: the groups of a block fit into shared memory.
template <class Method>
DEVICE void encode(const float *weights, u8 *codes, float *scales, float *zeros, Moments *moments, const Rows &s, const Wanted &q, bool shared) {
    TILE;
    // One column more than threads: neighbours within a group then lie in different banks.
    const u32 first = blockIdx.x * blockDim.x, count = least(blockDim.x, s.groups - first), pitch = blockDim.x + 1;
    if (shared) fill(weights, tile, first, count, pitch, s);
    PHASE(t) {
        if (t < count) {
            const Place place = place_of(s, first + t);
            float *const column = tile + t;
            const float *const values = shared ? column : weights + place.first;
            const u32 step = shared ? pitch : place.step;
            const Params p = fitted<Method>(values, step, first + t, s, q, scales, zeros, moments);
            const float inverse = 1.0f / p.scale, middle = Method::middle(q);
            ONCE for (u32 i = 0; i < s.group; ++i) {
                const float found = code((values[(u64)i * step] - p.zero) * inverse + middle, q.max);
                if (shared) column[i * pitch] = found;
                else codes[place.first + (u64)i * place.step] = byte(found);
            }
        }
    }
    if (shared) empty(tile, codes, first, count, pitch, s);
}

#define ENCODE(name, ...) \
    KERNEL name(const float *weights, u8 *codes, float *scales, float *zeros, float *moments, u32 groups, u32 channels, u32 taps, u32 group, \
                float max, u32 dtype, u32 whole, u32 shared) { \
        const Rows s = {groups, channels, taps, group}; \
        const Wanted q = {max, dtype, whole}; \
        encode<__VA_ARGS__>(weights, codes, scales, zeros, reinterpret_cast<Moments *>(moments), s, q, shared != 0); \
    }

ENCODE(rtn, Plain)
ENCODE(rtn_symmetric, PlainSymmetric)
ENCODE(mse, Searched<false, false>)
ENCODE(mse_weighted, Searched<true, false>)
ENCODE(mse_symmetric, Searched<false, true>)
ENCODE(mse_weighted_symmetric, Searched<true, true>)

// Multiplies the scales of a row by what least squares shrank it by: `kernels/src/gain.rs`. A thread for each row.
KERNEL gain(const float *all_moments, float *scales, float *zeros, u32 groups, u32 channels, u32 taps, u32 group, float max, u32 dtype, u32 whole,
            u32 symmetric) {
    const Rows s = {groups, channels, taps, group};
    const Wanted q = {max, dtype, whole};
    const u32 per_row = groups_of_tap(s) * s.taps;
    PHASE(t) {
        const u32 row = blockIdx.x * blockDim.x + t;
        if ((u64)row * per_row < s.groups) {
            const Moments *const moments = reinterpret_cast<const Moments *>(all_moments) + (u64)row * per_row;
            double own = 0.0, cross = 0.0;
            ONCE for (u32 i = 0; i < per_row; ++i) {
                own += (double)moments[i].own;
                cross += (double)moments[i].cross;
            }
            // Both differences are 0 only where the number is finite.
            if (cross > 0.0 && own - own == 0.0 && cross - cross == 0.0) {
                double k = own / cross;
                k = k < 0.5 ? 0.5 : k;
                k = k > 2.0 ? 2.0 : k;
                ONCE for (u32 i = 0; i < per_row; ++i) {
                    const Moments m = moments[i];
                    const u32 at = grid_of(s, row * per_row + i);
                    const float scale = to_stored(scales[at] * (float)k, q.dtype);
                    const float zero = symmetric ? 0.0f : zero_to_stored(m.mean_w - scale * m.mean_q, scale, q);
                    if (!(m.own <= 0.0f) && is_finite(scale) && is_finite(zero) && scale > 0.0f) {
                        scales[at] = scale;
                        zeros[at] = zero;
                    }
                }
            }
        }
    }
}
