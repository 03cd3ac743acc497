// What differs between a device and a host. The tests compile the same kernels for the host (`AQ_HOST`), one block after another, where a
// phase is a loop over the threads of the block; that is why a kernel is a sequence of phases, and nothing but shared memory lives from one
// phase to the next.
#pragma once

// Loops that are walked once a group are not unrolled: the PTX is part of the addon, and its size is mostly theirs.
#define ONCE _Pragma("unroll 1")
#define UNROLL _Pragma("unroll 4")

#ifdef AQ_HOST

#undef ONCE
#undef UNROLL
#define ONCE
#define UNROLL
#include <cmath>
#include <cstdint>
#include <cstring>

typedef uint8_t u8;
typedef uint32_t u32;
typedef uint64_t u64;

struct Index {
    u32 x;
};
extern Index blockIdx, blockDim, gridDim;
extern float *host_tile;

#define KERNEL extern "C" void
#define DEVICE static inline
#define MEMBER inline
#define CONSTANT static const
#define TILE float *const tile = host_tile
#define PHASE(t) for (u32 t = 0; t < blockDim.x; ++t)

DEVICE u32 bits_of(float x) {
    u32 bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

DEVICE float float_of(u32 bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

DEVICE void raise_flag(u32 *flag) { *flag = 1; }

#else

typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long long u64;

// Aligned for doubles, too.
extern __shared__ __align__(16) float shared_tile[];

#define KERNEL extern "C" __global__ void
#define DEVICE __device__ __forceinline__
#define MEMBER __device__ __forceinline__
#define CONSTANT __constant__ const
#define TILE float *const tile = shared_tile
// Ends with a barrier, so it must be reached by all threads of a block or by none.
#define PHASE(t) for (u32 t = threadIdx.x, aq_more = 1; aq_more; aq_more = 0, __syncthreads())

DEVICE u32 bits_of(float x) { return __float_as_uint(x); }
DEVICE float float_of(u32 bits) { return __uint_as_float(bits); }
DEVICE void raise_flag(u32 *flag) { atomicOr(flag, 1u); }

#endif

#define AQ_INFINITY (float_of(0x7f800000u))

DEVICE bool is_nan(float x) { return x != x; }
DEVICE bool is_finite(float x) { return (bits_of(x) & 0x7f800000u) != 0x7f800000u; }
DEVICE float magnitude(float x) { return float_of(bits_of(x) & 0x7fffffffu); }
DEVICE float signed_as(float x, float sign) { return float_of(bits_of(magnitude(x)) | (bits_of(sign) & 0x80000000u)); }
DEVICE u32 least(u32 a, u32 b) { return a < b ? a : b; }
