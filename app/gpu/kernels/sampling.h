// Planes of 8-bit pixels, resized as OpenCV's INTER_LINEAR does it on uint8, to the last bit.
#pragma once

namespace {

constexpr int WEIGHT_ONE = 2048;

// Where along one axis of a plane the pixels of a patch come from.
struct Axis {
    double scale;  // source pixels per target pixel
    int origin;
    int size;
};

// The two source pixels between which a target pixel lies, both the outermost beyond it; weights sum to WEIGHT_ONE.
struct Taps {
    int low, high;
    int low_weight, high_weight;
};

struct Plane {
    const unsigned char* pixels;
    int pitch;
    int width, height;
};

__device__ inline int clamped(int value, int low, int high) { return min(max(value, low), high); }

__device__ Axis make_axis(int first, int last, int target_size) {
    return Axis{static_cast<double>(last - first) / target_size, first, last - first};
}

// The place is worked out in double and kept in float, as OpenCV does: in large patches the weights show it.
__device__ Taps make_taps(const Axis& axis, int position) {
    const float place = static_cast<float>((position + 0.5) * axis.scale - 0.5);
    const float whole = floorf(place), share = place - whole;
    const int low = static_cast<int>(whole);
    return Taps{axis.origin + clamped(low, 0, axis.size - 1), axis.origin + clamped(low + 1, 0, axis.size - 1),
                static_cast<int>(rintf((1.0f - share) * WEIGHT_ONE)), static_cast<int>(rintf(share * WEIGHT_ONE))};
}

// One channel of a pixel, or of one of the picture at half size.
template <int STEP>
__device__ int pixel(const Plane& plane, bool is_half, int x, int y, int channel) {
    if (!is_half) {
        return plane.pixels[static_cast<size_t>(y) * plane.pitch + x * STEP + channel];
    }
    const unsigned char* upper = plane.pixels + static_cast<size_t>(2 * y) * plane.pitch + channel;
    const unsigned char* lower = 2 * y + 1 < plane.height ? upper + plane.pitch : upper;
    const int left = 2 * x * STEP, right = min(2 * x + 1, plane.width - 1) * STEP;
    return (upper[left] + upper[right] + lower[left] + lower[right] + 2) >> 2;
}

// Between four pixels that `at` gives by column and row.
template <typename Pixels>
__device__ int interpolated(const Pixels& at, const Taps& across, const Taps& down) {
    const int upper = at(across.low, down.low) * across.low_weight + at(across.high, down.low) * across.high_weight;
    const int lower = at(across.low, down.high) * across.low_weight + at(across.high, down.high) * across.high_weight;
    return (((upper >> 4) * down.low_weight >> 16) + ((lower >> 4) * down.high_weight >> 16) + 2) >> 2;
}

template <int STEP>
__device__ int sample(const Plane& plane, bool is_half, const Taps& across, const Taps& down, int channel) {
    return interpolated([&](int x, int y) { return pixel<STEP>(plane, is_half, x, y, channel); }, across, down);
}

}  // namespace
