// How rows are cut into groups, and what is searched for: the kernels' view of `Geometry` and `Scheme`.
#pragma once
#include "device.cuh"

// Stored types of scales and zeros.
#define STORED_BF16 0u
#define STORED_F16 1u

// No stored scale is smaller: 2^-100.
#define LEAST_SCALE (float_of(0x0d800000u))

struct Rows {
    u32 groups;   // of all rows together
    u32 channels; // of a row
    u32 taps;     // kernel positions
    u32 group;    // channels in a group
};

struct Wanted {
    float max;    // largest code
    u32 dtype;    // of scales and zeros
    u32 whole;    // zeros are whole numbers of steps
};

struct Params {
    float scale;
    float zero;
};

// Where a group's elements stand among the weights of all rows: the first, and the step to the next. Groups are counted by (row, tap, group).
struct Place {
    u64 first;
    u32 step;
};

DEVICE u32 groups_of_tap(const Rows &s) { return s.channels / s.group; }

DEVICE Place place_of(const Rows &s, u32 g) {
    if (s.taps == 1) return {(u64)g * s.group, 1};
    const u32 per_tap = groups_of_tap(s), per_row = per_tap * s.taps;
    const u32 row = g / per_row, tap = g % per_row / per_tap, group = g % per_tap;
    return {((u64)row * s.channels + (u64)group * s.group) * s.taps + tap, s.taps};
}

// Where a group's scale stands: by (row, group, tap).
DEVICE u32 grid_of(const Rows &s, u32 g) {
    if (s.taps == 1) return g;
    const u32 per_tap = groups_of_tap(s), per_row = per_tap * s.taps;
    return g / per_row * per_row + g % per_tap * s.taps + g % per_row / per_tap;
}
