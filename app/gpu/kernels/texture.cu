// Corners to follow, and what boxes look like.

#include "luma.h"

namespace {

constexpr int SAMPLES = 6;  // along each side of a cell
constexpr int BLOCK = 7;    // pixels whose gradients make one eigenvalue

struct Gradient {
    int across, down;
};

// Sobel's.
__device__ Gradient gradient_at(const LumaPlane& plane, int x, int y) {
    const int left = mirrored(x - 1, plane.width), right = mirrored(x + 1, plane.width);
    const unsigned char* upper = row_of(plane, mirrored(y - 1, plane.height));
    const unsigned char* middle = row_of(plane, y);
    const unsigned char* lower = row_of(plane, mirrored(y + 1, plane.height));
    return Gradient{upper[right] - upper[left] + 2 * (middle[right] - middle[left]) + lower[right] - lower[left],
                    lower[left] - upper[left] + 2 * (lower[x] - upper[x]) + lower[right] - upper[right]};
}

// The smaller eigenvalue of the gradients' structure, on OpenCV's scale (luma in 0..1).
__device__ float corner_strength(const LumaPlane& plane, int x, int y) {
    constexpr double SCALE = 1.0 / (4 * BLOCK * 255);
    int xx = 0, xy = 0, yy = 0;
    for (int row = -BLOCK / 2; row <= BLOCK / 2; ++row) {
        for (int column = -BLOCK / 2; column <= BLOCK / 2; ++column) {
            const Gradient own = gradient_at(plane, mirrored(x + column, plane.width), mirrored(y + row, plane.height));
            xx += own.across * own.across;
            xy += own.across * own.down;
            yy += own.down * own.down;
        }
    }
    const double half_sum = (static_cast<double>(xx) + yy) / 2, half_difference = (static_cast<double>(xx) - yy) / 2;
    const double root = sqrt(half_difference * half_difference + static_cast<double>(xy) * xy);
    return static_cast<float>((half_sum - root) * SCALE * SCALE);
}

// Where along one axis a sample lies: the middle of one of n equal parts of the box.
__device__ float place_of(float low, float high, int part, int n) {
    const float fraction = (static_cast<float>(part) + 0.5f) / static_cast<float>(n);
    return low + (high - low) * fraction;
}

__device__ int sample_position(float low, float high, int part, int n) {
    return static_cast<int>(floorf(fminf(fmaxf(place_of(low, high, part, n), -1.0f), 1e6f)));
}

}  // namespace

// The strongest of 6 x 6 samples in each cell of a grid laid over each box. Grid: (cells, boxes); any block will do, made
// for 64 threads.
//
// boxes: x1, y1, x2, y2 from the plane's edges. corners: x, y of a pixel for each cell, negative where no sample is as
// strong as `least`.
extern "C" __global__ void find_corners(const LumaPlane plane, const float* boxes, int columns, int rows, float least,
                                        int* corners) {
    __shared__ unsigned long long best;
    const float* box = boxes + 4 * blockIdx.y;
    const int column = static_cast<int>(blockIdx.x) % columns, row = static_cast<int>(blockIdx.x) / columns;
    const auto position = [&](int sample, int& x, int& y) {
        x = sample_position(box[0], box[2], column * SAMPLES + sample % SAMPLES, columns * SAMPLES);
        y = sample_position(box[1], box[3], row * SAMPLES + sample / SAMPLES, rows * SAMPLES);
    };
    if (threadIdx.x == 0) {
        best = 0;
    }
    __syncthreads();
    for (int i = threadIdx.x; i < SAMPLES * SAMPLES; i += blockDim.x) {
        int x, y;
        position(i, x, y);
        if (is_inside(plane, x, y)) {
            const float strength = corner_strength(plane, x, y);
            if (strength >= least) {
                // Of equal ones the first.
                atomicMax(&best, static_cast<unsigned long long>(__float_as_uint(strength)) << 32 | (0xffffffffu - i));
            }
        }
    }
    __syncthreads();
    if (threadIdx.x == 0) {
        int x = -1, y = -1;
        if (best) {
            position(static_cast<int>(0xffffffffu - static_cast<unsigned>(best)), x, y);
        }
        int* corner = corners + 2 * (static_cast<size_t>(blockIdx.y) * gridDim.x + blockIdx.x);
        corner[0] = x;
        corner[1] = y;
    }
}

// Luma inside each box, resampled to side x side. Grid: one block for each box; any block will do, made for 256 threads.
extern "C" __global__ void sample_templates(const LumaPlane plane, const float* boxes, int side,
                                            unsigned char* templates) {
    const float* box = boxes + 4 * blockIdx.x;
    unsigned char* own = templates + static_cast<size_t>(blockIdx.x) * side * side;
    for (int i = threadIdx.x; i < side * side; i += blockDim.x) {
        const float x = fminf(fmaxf(place_of(box[0], box[2], i % side, side) - 0.5f, -1e6f), 1e6f);
        const float y = fminf(fmaxf(place_of(box[1], box[3], i / side, side) - 0.5f, -1e6f), 1e6f);
        const float left = floorf(x), top = floorf(y), to_right = x - left, to_bottom = y - top;
        const int column = static_cast<int>(left), row = static_cast<int>(top);
        const float upper_left = nearest_luma(plane, column, row), lower_left = nearest_luma(plane, column, row + 1);
        const float upper = upper_left + (nearest_luma(plane, column + 1, row) - upper_left) * to_right;
        const float lower = lower_left + (nearest_luma(plane, column + 1, row + 1) - lower_left) * to_right;
        own[i] = static_cast<unsigned char>(rintf(upper + (lower - upper) * to_bottom));
    }
}
