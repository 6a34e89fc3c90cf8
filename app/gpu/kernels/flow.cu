// Sparse optical flow there and back: the pyramidal search of Lucas and Kanade, as OpenCV does it.
//
// Source: Bouguet, "Pyramidal Implementation of the Affine Lucas Kanade Feature Tracker" (Intel, 2000). Sums of integers
// are exact here and rounded on the way in OpenCV, so that results differ in the last digits.

#include "luma.h"

namespace {

constexpr int WINDOW = 11;
constexpr int N_PIXELS = WINDOW * WINDOW;
constexpr float HALF_WINDOW = (WINDOW - 1) * 0.5f;
constexpr int GRID = WINDOW + 1;  // pixels between which the window's lie
constexpr int PATCH = GRID + 2;   // and those that their gradients are made of
constexpr int WEIGHT_BITS = 14;
constexpr int LUMA_BITS = 5;  // that interpolated luma keeps behind the point
constexpr float SUM_SCALE = 1.0f / (1 << 20);
constexpr float MIN_EIGENVALUE = 1e-4f;
constexpr float MIN_DETERMINANT = 1.1920929e-07f;
constexpr int POINTS_AT_ONCE = 4;

// The lanes of a warp share one point's window. On the processor a block has as many as it is given.
#ifdef __CUDA_ARCH__
constexpr int N_LANES = 32;
constexpr int PIXELS_PER_LANE = (N_PIXELS + N_LANES - 1) / N_LANES;
#else
#define N_LANES static_cast<int>(blockDim.x)
constexpr int PIXELS_PER_LANE = N_PIXELS;
#endif
constexpr unsigned ALL_LANES = 0xffffffff;

struct Point {
    float x, y;
};

// What a point's surroundings look like on one level, for all lanes.
struct Surroundings {
    unsigned char luma[PATCH * PATCH];
    short across[GRID * GRID], down[GRID * GRID];
};

// One lane's share of the window in the frame that the point is followed from.
struct Share {
    int luma[PIXELS_PER_LANE];
    short across[PIXELS_PER_LANE], down[PIXELS_PER_LANE];
};

// Of the gradients in the window: sums of squares and products.
struct Structure {
    float xx, xy, yy;
};

struct Weights {
    int upper_left, upper_right, lower_left, lower_right;
};

__device__ float sum_over_lanes(long long own) {
    float sum = static_cast<float>(own);
    for (int offset = N_LANES / 2; offset > 0; offset /= 2) {
        sum += __shfl_xor_sync(ALL_LANES, sum, offset);
    }
    return sum;
}

// Also of what is no number, or beyond all numbers: far outside.
__device__ int floor_of(float value) { return static_cast<int>(floorf(fminf(fmaxf(value, -1e6f), 1e6f))); }

__device__ Weights make_weights(float x, float y) {
    constexpr int ONE = 1 << WEIGHT_BITS;
    Weights weights;
    weights.upper_left = static_cast<int>(rintf((1.0f - x) * (1.0f - y) * ONE));
    weights.upper_right = static_cast<int>(rintf(x * (1.0f - y) * ONE));
    weights.lower_left = static_cast<int>(rintf((1.0f - x) * y * ONE));
    weights.lower_right = ONE - weights.upper_left - weights.upper_right - weights.lower_left;
    return weights;
}

template <int BITS>
__device__ int weighted(const Weights& weights, int upper_left, int upper_right, int lower_left, int lower_right) {
    const int sum = upper_left * weights.upper_left + upper_right * weights.upper_right +
                    lower_left * weights.lower_left + lower_right * weights.lower_right;
    return (sum + (1 << (BITS - 1))) >> BITS;
}

template <int BITS, int PITCH, typename Value>
__device__ int between(const Value* at, const Weights& weights) {
    return weighted<BITS>(weights, at[0], at[1], at[PITCH], at[PITCH + 1]);
}

// Whether a window that begins there touches the plane.
__device__ bool is_near(const LumaPlane& plane, int x, int y) {
    return x >= -WINDOW && x < plane.width && y >= -WINDOW && y < plane.height;
}

// Luma round a window that begins at x, y, and Scharr's gradients of it, which are none outside the plane.
__device__ void look_round(const LumaPlane& plane, int x, int y, Surroundings& found) {
    __syncwarp();
    for (int i = threadIdx.x; i < PATCH * PATCH; i += N_LANES) {
        found.luma[i] = static_cast<unsigned char>(mirrored_luma(plane, x + i % PATCH - 1, y + i / PATCH - 1));
    }
    __syncwarp();
    for (int i = threadIdx.x; i < GRID * GRID; i += N_LANES) {
        const unsigned char* upper = found.luma + i / GRID * PATCH + i % GRID;
        const unsigned char *middle = upper + PATCH, *lower = middle + PATCH;
        const bool has_gradient = is_inside(plane, x + i % GRID, y + i / GRID);
        const int across = 3 * (upper[2] - upper[0] + lower[2] - lower[0]) + 10 * (middle[2] - middle[0]);
        const int down = 3 * (lower[0] - upper[0] + lower[2] - upper[2]) + 10 * (lower[1] - upper[1]);
        found.across[i] = static_cast<short>(has_gradient ? across : 0);
        found.down[i] = static_cast<short>(has_gradient ? down : 0);
    }
    __syncwarp();
}

__device__ Structure take_share(const Surroundings& surroundings, const Weights& weights, Share& share) {
    long long xx = 0, xy = 0, yy = 0;
    for (int k = 0; k < PIXELS_PER_LANE; ++k) {
        const int i = threadIdx.x + k * N_LANES, column = i % WINDOW, row = i / WINDOW;
        if (i >= N_PIXELS) {
            break;
        }
        const int place = row * GRID + column;
        share.luma[k] = between<WEIGHT_BITS - LUMA_BITS, PATCH>(
            surroundings.luma + (row + 1) * PATCH + column + 1, weights);
        const int across = between<WEIGHT_BITS, GRID>(surroundings.across + place, weights);
        const int down = between<WEIGHT_BITS, GRID>(surroundings.down + place, weights);
        share.across[k] = static_cast<short>(across);
        share.down[k] = static_cast<short>(down);
        xx += across * across;
        xy += across * down;
        yy += down * down;
    }
    return Structure{sum_over_lanes(xx) * SUM_SCALE, sum_over_lanes(xy) * SUM_SCALE, sum_over_lanes(yy) * SUM_SCALE};
}

// Sums of gradient times difference between both windows, the second of which begins at x, y.
__device__ Point mismatch(const LumaPlane& plane, int x, int y, const Weights& weights, const Share& share) {
    long long across = 0, down = 0;
    for (int k = 0; k < PIXELS_PER_LANE; ++k) {
        const int i = threadIdx.x + k * N_LANES;
        if (i >= N_PIXELS) {
            break;
        }
        const int left = mirrored(x + i % WINDOW, plane.width), right = mirrored(x + i % WINDOW + 1, plane.width);
        const unsigned char* upper = row_of(plane, mirrored(y + i / WINDOW, plane.height));
        const unsigned char* lower = row_of(plane, mirrored(y + i / WINDOW + 1, plane.height));
        const int luma =
            weighted<WEIGHT_BITS - LUMA_BITS>(weights, upper[left], upper[right], lower[left], lower[right]);
        const long long difference = luma - share.luma[k];
        across += difference * share.across[k];
        down += difference * share.down[k];
    }
    return Point{sum_over_lanes(across) * SUM_SCALE, sum_over_lanes(down) * SUM_SCALE};
}

struct Limits {
    int max_steps;
    float last_step_px;
};

// One level of the search: moves `place` to where the surroundings of `start` are found again. False if it is lost.
__device__ bool refine(const LumaPlane& from, const LumaPlane& to, Point start, const Limits& limits,
                       Surroundings& surroundings, Point& place, float& min_eigenvalue) {
    start.x -= HALF_WINDOW;
    start.y -= HALF_WINDOW;
    const int first_x = floor_of(start.x), first_y = floor_of(start.y);
    if (!is_near(from, first_x, first_y)) {
        min_eigenvalue = 0.0f;
        return false;
    }
    look_round(from, first_x, first_y, surroundings);
    Share share;
    const Structure own = take_share(surroundings, make_weights(start.x - first_x, start.y - first_y), share);
    const float difference = own.xx - own.yy, determinant = own.xx * own.yy - own.xy * own.xy;
    min_eigenvalue = (own.yy + own.xx - sqrtf(difference * difference + 4.0f * own.xy * own.xy)) / (2 * N_PIXELS);
    if (min_eigenvalue < MIN_EIGENVALUE || determinant < MIN_DETERMINANT) {
        return false;
    }
    const float inverse = 1.0f / determinant;
    Point corner{place.x - HALF_WINDOW, place.y - HALF_WINDOW}, last{0.0f, 0.0f};
    for (int n = 0; n < limits.max_steps; ++n) {
        const int x = floor_of(corner.x), y = floor_of(corner.y);
        if (!is_near(to, x, y)) {
            return false;
        }
        const Point b = mismatch(to, x, y, make_weights(corner.x - x, corner.y - y), share);
        const Point step{(own.xy * b.y - own.yy * b.x) * inverse, (own.xy * b.x - own.xx * b.y) * inverse};
        corner.x += step.x;
        corner.y += step.y;
        place = Point{corner.x + HALF_WINDOW, corner.y + HALF_WINDOW};
        if (step.x * step.x + step.y * step.y <= limits.last_step_px * limits.last_step_px) {
            break;
        }
        if (n > 0 && fabsf(step.x + last.x) < 0.01f && fabsf(step.y + last.y) < 0.01f) {
            place.x -= step.x * 0.5f;  // it goes to and fro
            place.y -= step.y * 0.5f;
            break;
        }
        last = step;
    }
    return true;
}

// There through all levels, and back on the first one, beginning where the point came from: a point that is right stays
// there.
__device__ FollowedPoint follow(const FlowJob& job, const PointSearch& search, Surroundings& surroundings) {
    const Limits limits{job.max_steps, job.last_step_px};
    const Point start{search.start[0], search.start[1]};
    float scale = 1.0f / (1 << (job.n_levels - 1)), min_eigenvalue = 0.0f;
    Point there{search.guess[0] * scale, search.guess[1] * scale};
    bool is_found = false;
    for (int level = job.n_levels - 1; level >= 0; --level, scale *= 2.0f) {
        const Point scaled{start.x * scale, start.y * scale};
        is_found = refine(job.earlier[level], job.later[level], scaled, limits, surroundings, there, min_eigenvalue);
        if (level > 0) {
            there = Point{there.x * 2.0f, there.y * 2.0f};
        }
    }
    Point back = start;
    float unused;
    bool is_found_back = refine(job.later[0], job.earlier[0], there, limits, surroundings, back, unused);
    is_found_back &= is_near(job.earlier[0], floor_of(back.x - HALF_WINDOW), floor_of(back.y - HALF_WINDOW));
    return FollowedPoint{{there.x, there.y}, {back.x, back.y}, min_eigenvalue, is_found && is_found_back};
}

}  // namespace

// Each block follows four points. Made for blocks of (32, 4) threads, one warp for each point.
extern "C" __global__ void follow_points(const FlowJob job, const PointSearch* searches, FollowedPoint* found) {
    __shared__ Surroundings surroundings[POINTS_AT_ONCE];
    const int first = blockIdx.x * POINTS_AT_ONCE, end = min(first + POINTS_AT_ONCE, job.n_points);
    for (int index = first + threadIdx.y; index < end; index += blockDim.y) {
        const FollowedPoint point = follow(job, searches[index], surroundings[threadIdx.y]);
        if (threadIdx.x == 0) {
            found[index] = point;
        }
    }
}
