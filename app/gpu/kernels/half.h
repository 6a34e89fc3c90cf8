// Half precision as bits: cuda_fp16.h is not at hand when kernels are compiled at run time.
#pragma once

__device__ inline unsigned short to_half(float value) {
#ifdef __CUDA_ARCH__
    unsigned short bits;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));
    return bits;
#else
    const unsigned all = __float_as_uint(value), sign = all >> 16 & 0x8000, magnitude = all & 0x7fffffff;
    if (magnitude >= 0x47800000) {
        return static_cast<unsigned short>(sign | (magnitude > 0x7f800000 ? 0x7e00 : 0x7c00));
    }
    if (magnitude < 0x38800000) {
        // Adding 0.5 leaves the multiple of 2^-24, rounded to even, in the lowest bits.
        return static_cast<unsigned short>(sign | (__float_as_uint(__uint_as_float(magnitude) + 0.5f) - 0x3f000000));
    }
    return static_cast<unsigned short>(sign | ((magnitude - 0x38000000 + 0xfff + (magnitude >> 13 & 1)) >> 13));
#endif
}

__device__ inline float from_half(unsigned short bits) {
#ifdef __CUDA_ARCH__
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
    return value;
#else
    const unsigned sign = (bits & 0x8000u) << 16, exponent = bits >> 10 & 31, fraction = bits & 1023;
    if (exponent == 0) {
        return __uint_as_float(sign | __float_as_uint(static_cast<float>(fraction) * 0x1p-24f));
    }
    return __uint_as_float(sign | (exponent == 31 ? 255 : exponent + 112) << 23 | fraction << 13);
#endif
}
