// The two-stage search for scale and zero of one group, element after element: `kernels/src/search.rs` and `symmetric.rs`, whose lanes are
// the threads here. WEIGHTED: errors weigh as much as their weight's distance from the group's mean.
#pragma once
#include "range.cuh"

// Ranges tried first, as fractions of the group's own; without a zero, of the largest magnitude.
CONSTANT float clips_2[2][6] = {{0.45f, 0.63f, 0.82f, 1.0f}, {0.3f, 0.38f, 0.46f, 0.56f, 0.72f, 1.0f}};
CONSTANT float clips_4[2][6] = {{0.68f, 0.76f, 0.84f, 0.92f, 0.96f, 1.0f}, {0.66f, 0.74f, 0.82f, 0.875f, 0.94f, 1.0f}};
CONSTANT float clips_8[2][6] = {{1.0f}, {0.9922f, 1.0f}};
// Shifts of the winner's zero, in steps.
CONSTANT float phases[4] = {-0.2f, 0.2f, -0.4f, 0.4f};

struct Moments {
    float mean_w, mean_q, own, cross;
};

struct Fit {
    float scale, zero, error;
};

template <bool WEIGHTED, bool SYMMETRIC> struct Search {
    const float *values; // as given; the mean is subtracted where they are read
    u32 step, n;
    Wanted q;
    float middle, plain, floor, mean, s1, sww;

    MEMBER float weight(float value) const { return magnitude(value - plain) + floor; }

    // Least-squares parameters for the codes of a candidate, whose true error is measured on the way where MEASURED.
    template <bool MEASURED> MEMBER Fit pass(float scale, float zero, float &error) const {
        const float inverse = 1.0f / scale;
        float sq = 0.0f, sqq = 0.0f, sqw = 0.0f;
        error = 0.0f;
        for (u32 i = 0; i < n; ++i) {
            const float value = values[i * step], w = SYMMETRIC ? value : value - mean, h = WEIGHTED ? weight(value) : 1.0f;
            const float code = code_around(SYMMETRIC ? w * inverse + middle : (w - zero) * inverse, q.max, middle);
            const float hq = WEIGHTED ? h * code : code, hw = WEIGHTED ? h * w : w;
            if (!SYMMETRIC) sq += hq;
            sqq += hq * code;
            sqw += hw * code;
            if (MEASURED) {
                const float d = SYMMETRIC ? w - code * scale : w - (code + middle) * scale - zero;
                error += (WEIGHTED ? h * d : d) * d;
            }
        }
        if (SYMMETRIC) {
            const bool fits = sqq > 0.0f && sqw > 0.0f;
            const float fitted = sqw / sqq;
            return {fits ? fitted : scale, 0.0f, fits ? sww - sqw * fitted : sww};
        }
        // Around the weighted mean sum(h w) = 0, so the fitted zero is -scale * mean(q).
        const float mean_q = sq / s1, variance = sqq - sq * mean_q;
        const bool fits = variance > 1e-12f * sqq && sqw > 0.0f;
        const float fitted = sqw / variance;
        return {fits ? fitted : scale, fits ? -fitted * (mean_q + middle) : zero, fits ? sww - sqw * fitted : sww};
    }

    // A candidate that is not rounded to its stored type enters the contest for `fit`.
    MEMBER void tried(float scale, float zero, Fit &fit) const {
        float unused;
        const Fit other = pass<false>(scale > LEAST_SCALE ? scale : LEAST_SCALE, zero, unused);
        if (other.error < fit.error) fit = other;
    }

    // One that is rounded enters the contest for `best` with its true error.
    MEMBER Fit rounded(const Fit &fit, Fit &best) const {
        const float scale = to_stored(fit.scale, q.dtype);
        // The zero follows the rounded scale: the group's mean error stays 0 but for the zero's own rounding.
        const float stored = SYMMETRIC ? 0.0f : zero_to_stored(fit.zero * (scale / fit.scale) + mean, scale, q);
        if (!(scale >= LEAST_SCALE && is_finite(scale) && is_finite(stored))) return fit;
        float error;
        const Fit next = pass<true>(scale, SYMMETRIC ? 0.0f : stored - mean, error);
        if (error < best.error) best = {scale, stored, error};
        return next;
    }

    MEMBER void centre(float lo, float hi) {
        const float count = (float)n;
        float sum = 0.0f;
        ONCE for (u32 i = 0; i < n; ++i) sum += values[i * step];
        plain = sum / count;
        mean = plain;
        s1 = count;
        if (WEIGHTED) {
            const float below = magnitude(lo - plain), above = magnitude(hi - plain);
            floor = 1e-3f * (above > below ? above : below);
            float sh = 0.0f, shw = 0.0f;
            ONCE for (u32 i = 0; i < n; ++i) {
                const float value = values[i * step], h = weight(value);
                sh += h;
                shw += h * value;
            }
            s1 = sh;
            mean = shw / sh;
        }
        mean = SYMMETRIC ? 0.0f : mean;
        sww = 0.0f;
        ONCE for (u32 i = 0; i < n; ++i) {
            const float value = values[i * step], w = value - mean;
            sww += (WEIGHTED ? weight(value) * w : w) * w;
        }
    }

    // What the row's gain needs to know; sums around the subtracted mean and the middle code, moved to the plain means afterwards.
    MEMBER Moments moments(const Fit &best) const {
        const float inverse = 1.0f / best.scale, zero = best.zero - mean, count = (float)n;
        float sw = 0.0f, sq = 0.0f, ww = 0.0f, wq = 0.0f;
        ONCE for (u32 i = 0; i < n; ++i) {
            const float value = values[i * step], w = SYMMETRIC ? value : value - mean;
            const float code = code_around(SYMMETRIC ? w * inverse + middle : (w - zero) * inverse, q.max, middle);
            sw += w;
            sq += code;
            ww += w * w;
            wq += w * code;
        }
        if (SYMMETRIC) return {0.0f, middle, ww, wq * best.scale};
        const float mean_w = sw / count, mean_q = sq / count;
        return {mean + mean_w, mean_q + middle, ww - sw * mean_w, (wq - sw * mean_q) * best.scale};
    }

    MEMBER Params run(Moments &found) {
        float lo = AQ_INFINITY, hi = -AQ_INFINITY;
        ONCE for (u32 i = 0; i < n; ++i) {
            const float value = values[i * step];
            lo = value < lo ? value : lo;
            hi = value > hi ? value : hi;
        }
        middle = (q.max + 1.0f) * 0.5f;
        centre(lo, hi);
        const float most = larger_magnitude(lo, hi);
        const Params start = SYMMETRIC ? from_magnitude(most, q) : from_range(lo, hi, q);
        lo = lo - mean;
        hi = hi - mean;
        const bool wide = SYMMETRIC ? most > 0.0f : hi > lo;
        if (!(wide && is_finite(s1) && is_finite(sww) && sww > 1.17549435e-38f)) {
            // A constant group has nothing to stretch; one beyond f32 says nothing of its row.
            found = {0.0f, 0.0f, is_finite(sww) ? 0.0f : AQ_INFINITY, 0.0f};
            return start;
        }
        Fit fit = {start.scale, SYMMETRIC ? 0.0f : start.zero - mean, AQ_INFINITY}, best = fit;
        // Min/max, shrunken ranges, shifts of the winner's zero, and two rounded passes. One loop, so that a pass stands here but twice.
        const bool two = q.max == 3.0f, four = q.max == 15.0f;
        const u32 clips = two ? (SYMMETRIC ? 6 : 4) : four ? 6 : (SYMMETRIC ? 2 : 1), unrounded = clips + (SYMMETRIC ? 0 : 4);
        Fit first = fit;
        for (u32 k = 0; k < unrounded + 3; ++k) {
            if (k == 0 || k > unrounded) {
                const Fit next = rounded(fit, best);
                if (k > 0) fit = next;
            } else {
                float scale = first.scale, zero = 0.0f;
                if (k <= clips) {
                    const float c = two ? clips_2[SYMMETRIC][k - 1] : four ? clips_4[SYMMETRIC][k - 1] : clips_8[SYMMETRIC][k - 1];
                    scale = SYMMETRIC ? most * c / largest_of(q) : (hi - lo) * c / q.max;
                    zero = SYMMETRIC ? 0.0f : lo * c;
                } else if (!SYMMETRIC) {
                    zero = first.zero + phases[k - clips - 1] * first.scale;
                }
                tried(scale, zero, fit);
                if (k <= clips) first = fit;
            }
        }
        found = moments(best);
        return {best.scale, best.zero};
    }
};
