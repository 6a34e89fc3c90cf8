// Where a frame has edges, and where it changed: counted in cells of 8 x 8 pixels.
//
// Maps hold the share of such pixels in each cell, of 255; what a cell lacks beyond the plane's edge counts as none.

#include "luma.h"

namespace {

constexpr int CELL = 8;
constexpr int CELLS_AT_ONCE = 4;
constexpr int NO_EDGE = -1;

// Calls `is_set` for each pixel of some cells, and puts each cell's share into the map. Any grid and block will do; made
// for (32, 8) threads, one block for each four cells side by side.
template <typename IsSet>
__device__ void count_cells(int width, int height, unsigned char* map, const IsSet& is_set) {
    __shared__ int counts[CELLS_AT_ONCE];
    const int columns = (width + CELL - 1) / CELL, rows = (height + CELL - 1) / CELL;
    const int thread = threadIdx.y * blockDim.x + threadIdx.x, n_threads = blockDim.x * blockDim.y;
    for (int row = blockIdx.y; row < rows; row += gridDim.y) {
        for (int first = blockIdx.x * CELLS_AT_ONCE; first < columns; first += gridDim.x * CELLS_AT_ONCE) {
            for (int i = thread; i < CELLS_AT_ONCE; i += n_threads) {
                counts[i] = 0;
            }
            __syncthreads();
            for (int dy = threadIdx.y; dy < CELL; dy += blockDim.y) {
                for (int dx = threadIdx.x; dx < CELL * CELLS_AT_ONCE; dx += blockDim.x) {
                    const int x = first * CELL + dx, y = row * CELL + dy;
                    if (x < width && y < height && is_set(x, y)) {
                        atomicAdd(&counts[dx / CELL], 1);
                    }
                }
            }
            __syncthreads();
            for (int i = thread; i < min(CELLS_AT_ONCE, columns - first); i += n_threads) {
                const float share = static_cast<float>(255 * counts[i]) / (CELL * CELL);
                map[static_cast<size_t>(row) * columns + first + i] = static_cast<unsigned char>(rintf(share));
            }
            __syncthreads();
        }
    }
}

template <typename Work>
__device__ void for_each_pixel(int width, int height, const Work& work) {
    for (int y = blockIdx.y * blockDim.y + threadIdx.y; y < height; y += gridDim.y * blockDim.y) {
        for (int x = blockIdx.x * blockDim.x + threadIdx.x; x < width; x += gridDim.x * blockDim.x) {
            work(x, y);
        }
    }
}

struct Gradient {
    int across, down;
};

// Sobel's; outside the plane the outermost pixels go on.
__device__ Gradient gradient_at(const LumaPlane& plane, int x, int y) {
    const int upper_left = nearest_luma(plane, x - 1, y - 1), upper_right = nearest_luma(plane, x + 1, y - 1);
    const int lower_left = nearest_luma(plane, x - 1, y + 1), lower_right = nearest_luma(plane, x + 1, y + 1);
    const int left = nearest_luma(plane, x - 1, y), right = nearest_luma(plane, x + 1, y);
    const int upper = nearest_luma(plane, x, y - 1), lower = nearest_luma(plane, x, y + 1);
    return Gradient{upper_right - upper_left + 2 * (right - left) + lower_right - lower_left,
                    lower_left - upper_left + 2 * (lower - upper) + lower_right - upper_right};
}

__device__ int magnitude(const Gradient& gradient) { return abs(gradient.across) + abs(gradient.down); }

__device__ int magnitude_at(const LumaPlane& plane, int x, int y) {
    return is_inside(plane, x, y) ? magnitude(gradient_at(plane, x, y)) : 0;
}

// Whether a gradient of that magnitude is the largest across its edge. Source: Canny, "A Computational Approach to Edge
// Detection" (PAMI 1986), with the directions and the handling of ties of OpenCV.
__device__ bool is_ridge(const LumaPlane& plane, int x, int y, const Gradient& own, int strength) {
    constexpr int TANGENT_BITS = 15, TANGENT_OF_22_5 = 13573;
    const int across = abs(own.across), down = abs(own.down) << TANGENT_BITS;
    const int flat = across * TANGENT_OF_22_5, steep = flat + (across << (TANGENT_BITS + 1));
    if (down < flat) {
        return strength > magnitude_at(plane, x - 1, y) && strength >= magnitude_at(plane, x + 1, y);
    }
    if (down > steep) {
        return strength > magnitude_at(plane, x, y - 1) && strength >= magnitude_at(plane, x, y + 1);
    }
    const int side = (own.across ^ own.down) < 0 ? -1 : 1;
    return strength > magnitude_at(plane, x - side, y - 1) && strength > magnitude_at(plane, x + side, y + 1);
}

// The pixel that stands for all that one is joined with. Others may be joining meanwhile.
__device__ int root_of(volatile int* labels, int index) {
    while (labels[index] != index) {
        index = labels[index];
    }
    return index;
}

// Source: Komura, "GPU-based cluster-labeling algorithm without the use of conventional iteration" (CPC 2015).
__device__ void join(int* labels, int one, int other) {
    while (true) {
        one = root_of(labels, one);
        other = root_of(labels, other);
        if (one == other) {
            return;
        }
        const int lower = min(one, other), upper = max(one, other);
        const int before = atomicMin(&labels[upper], lower);
        if (before == upper) {
            return;
        }
        one = before;  // somebody joined it with another one just now
        other = lower;
    }
}

}  // namespace

// Edges are found in four steps. First: pixels that may be edges get their own index as label, others none; those that
// certainly are one are noted.
extern "C" __global__ void classify_edges(const LumaPlane plane, int low, int high, int* labels,
                                          unsigned char* is_strong, unsigned char* is_marked) {
    for_each_pixel(plane.width, plane.height, [&](int x, int y) {
        const Gradient own = gradient_at(plane, x, y);
        const int strength = magnitude(own), index = y * plane.width + x;
        const bool is_edge = strength > low && is_ridge(plane, x, y, own, strength);
        labels[index] = is_edge ? index : NO_EDGE;
        is_strong[index] = is_edge && strength > high;
        is_marked[index] = 0;
    });
}

// Second: neighbours come to have the same root.
extern "C" __global__ void join_edges(int width, int height, int* labels) {
    for_each_pixel(width, height, [&](int x, int y) {
        const int index = y * width + x;
        if (labels[index] == NO_EDGE) {
            return;
        }
        if (x > 0 && labels[index - 1] != NO_EDGE) {
            join(labels, index, index - 1);
        }
        for (int column = max(x - 1, 0); y > 0 && column <= min(x + 1, width - 1); ++column) {
            const int above = index - width + column - x;
            if (labels[above] != NO_EDGE) {
                join(labels, index, above);
            }
        }
    });
}

// Third: every pixel gets its root for a label, and roots of certain edges are marked.
extern "C" __global__ void mark_edges(int width, int height, int* labels, const unsigned char* is_strong,
                                      unsigned char* is_marked) {
    for_each_pixel(width, height, [&](int x, int y) {
        const int index = y * width + x;
        if (labels[index] == NO_EDGE) {
            return;
        }
        const int root = root_of(labels, index);
        labels[index] = root;
        if (is_strong[index]) {
            is_marked[root] = 1;
        }
    });
}

// Fourth: whatever is joined with a certain edge is one.
extern "C" __global__ void count_edges(int width, int height, const int* labels, const unsigned char* is_marked,
                                       unsigned char* map) {
    count_cells(width, height, map, [&](int x, int y) {
        const int label = labels[y * width + x];
        return label != NO_EDGE && is_marked[label];
    });
}

// Pixels of the later frame that differ by more than a threshold from where the camera alone would have put them. What
// the camera has just uncovered has nothing to be compared with.
extern "C" __global__ void find_motion(const LumaPlane earlier, const LumaPlane later, const CameraMap camera,
                                       int threshold, unsigned char* map) {
    count_cells(later.width, later.height, map, [&](int x, int y) {
        const int now = row_of(later, y)[x];
        if (!camera.is_used) {
            return abs(row_of(earlier, y)[x] - now) > threshold;
        }
        const float from_x = camera.x[0] * x + camera.x[1] * y + camera.x[2];
        const float from_y = camera.y[0] * x + camera.y[1] * y + camera.y[2];
        if (!(fabsf(from_x) < 1e6f && fabsf(from_y) < 1e6f) ||
            !is_inside(earlier, static_cast<int>(rintf(from_x)), static_cast<int>(rintf(from_y)))) {
            return false;
        }
        const float left = floorf(from_x), top = floorf(from_y), to_right = from_x - left, to_bottom = from_y - top;
        const int column = static_cast<int>(left), row = static_cast<int>(top);
        // Beyond the edge it is black.
        const auto luma = [&](int at_x, int at_y) {
            return is_inside(earlier, at_x, at_y) ? static_cast<float>(row_of(earlier, at_y)[at_x]) : 0.0f;
        };
        const float upper_left = luma(column, row), lower_left = luma(column, row + 1);
        const float upper = upper_left + (luma(column + 1, row) - upper_left) * to_right;
        const float lower = lower_left + (luma(column + 1, row + 1) - lower_left) * to_right;
        return abs(static_cast<int>(rintf(upper + (lower - upper) * to_bottom)) - now) > threshold;
    });
}
