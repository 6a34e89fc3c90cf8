// Access to planes of luma.
#pragma once

#include "structures.h"

namespace {

__device__ inline const unsigned char* row_of(const LumaPlane& plane, int y) {
    return reinterpret_cast<const unsigned char*>(plane.pixels) + static_cast<size_t>(y) * plane.pitch;
}

__device__ inline unsigned char& pixel_of(const LumaPlane& plane, int x, int y) {
    return reinterpret_cast<unsigned char*>(plane.pixels)[static_cast<size_t>(y) * plane.pitch + x];
}

__device__ inline bool is_inside(const LumaPlane& plane, int x, int y) {
    return x >= 0 && x < plane.width && y >= 0 && y < plane.height;
}

// Mirrored at the middles of the outermost pixels, once; further out, the outermost one.
__device__ inline int mirrored(int position, int size) {
    const int inner = position < 0 ? -position : position >= size ? 2 * size - 2 - position : position;
    return min(max(inner, 0), size - 1);
}

// The pixel, or its mirror image if it lies outside.
__device__ inline int mirrored_luma(const LumaPlane& plane, int x, int y) {
    return row_of(plane, mirrored(y, plane.height))[mirrored(x, plane.width)];
}

// The pixel, or the nearest one if it lies outside.
__device__ inline int nearest_luma(const LumaPlane& plane, int x, int y) {
    return row_of(plane, min(max(y, 0), plane.height - 1))[min(max(x, 0), plane.width - 1)];
}

}  // namespace
