// A frame's luma at reduced size, the same halved again and again, and as a thumbnail.
//
// The arithmetic is that of OpenCV on uint8. Any grid and block will do; made for blocks of (32, 8) threads, one
// thread for each pixel of the target.

#include "luma.h"
#include "sampling.h"

namespace {

// ITU-R BT.601 in 15-bit fixed point.
__device__ int grey(int blue, int green, int red) {
    return (3735 * blue + 19235 * green + 9798 * red + (1 << 14)) >> 15;
}

// Calls `value` for each pixel of the target, and puts it there.
template <typename Value>
__device__ void fill(const LumaPlane& target, const Value& value) {
    for (int y = blockIdx.y * blockDim.y + threadIdx.y; y < target.height; y += gridDim.y * blockDim.y) {
        for (int x = blockIdx.x * blockDim.x + threadIdx.x; x < target.width; x += gridDim.x * blockDim.x) {
            pixel_of(target, x, y) = static_cast<unsigned char>(value(x, y));
        }
    }
}

__device__ int down_column(const LumaPlane& plane, int x, const int (&rows)[5]) {
    const int outer = row_of(plane, rows[0])[x] + row_of(plane, rows[4])[x];
    const int inner = row_of(plane, rows[1])[x] + row_of(plane, rows[3])[x];
    return outer + 4 * inner + 6 * row_of(plane, rows[2])[x];
}

// The source pixels that a pixel of the thumbnail covers along one axis: all of those from first to last - 1, and
// shares of the ones before and after.
struct Cover {
    int first, last;
    float before, each, after;
};

__device__ Cover make_cover(int position, int source_size, int target_size) {
    constexpr double NOTHING = 1e-3;
    const double scale = static_cast<double>(source_size) / target_size;
    const double low = position * scale, high = low + scale, width = fmin(scale, source_size - low);
    const int last = min(static_cast<int>(floor(high)), source_size - 1), first = min(static_cast<int>(ceil(low)), last);
    return Cover{first, last, first - low > NOTHING ? static_cast<float>((first - low) / width) : 0.0f,
                 static_cast<float>(1 / width),
                 high - last > NOTHING ? static_cast<float>(fmin(fmin(high - last, 1.0), width) / width) : 0.0f};
}

// Sums `value` over what is covered, each weighted by its share.
template <typename Value>
__device__ float covered(const Cover& cover, const Value& value) {
    float sum = 0.0f;
    if (cover.before > 0) {
        sum += value(cover.first - 1) * cover.before;
    }
    for (int i = cover.first; i < cover.last; ++i) {
        sum += value(i) * cover.each;
    }
    return cover.after > 0 ? sum + value(cover.last) * cover.after : sum;
}

}  // namespace

// From a picture, luma or interleaved BGR, to its luma at the target's size: the picture itself or, if is_half, the
// picture averaged over 2 x 2 pixels, and then resized.
extern "C" __global__ void reduce_luma(const LumaPlane source, int is_bgr, int is_half, const LumaPlane target) {
    const Plane plane{reinterpret_cast<const unsigned char*>(source.pixels), source.pitch, source.width, source.height};
    const int width = is_half ? (source.width + 1) / 2 : source.width;
    const int height = is_half ? (source.height + 1) / 2 : source.height;
    const Axis across = make_axis(0, width, target.width), down = make_axis(0, height, target.height);
    fill(target, [&](int x, int y) {
        const auto luma = [&](int column, int row) {
            return is_bgr ? grey(pixel<3>(plane, is_half, column, row, 0), pixel<3>(plane, is_half, column, row, 1),
                                 pixel<3>(plane, is_half, column, row, 2))
                          : pixel<1>(plane, is_half, column, row, 0);
        };
        const bool is_same_size = width == target.width && height == target.height;
        return is_same_size ? luma(x, y) : interpolated(luma, make_taps(across, x), make_taps(down, y));
    });
}

// Half the width and height, rounded up, smoothed by (1, 4, 6, 4, 1) / 16 along both axes.
extern "C" __global__ void halve_luma(const LumaPlane source, const LumaPlane target) {
    fill(target, [&](int x, int y) {
        int rows[5], columns[5];
        for (int i = 0; i < 5; ++i) {
            rows[i] = mirrored(2 * y + i - 2, source.height);
        }
        for (int i = 0; i < 5; ++i) {
            columns[i] = down_column(source, mirrored(2 * x + i - 2, source.width), rows);
        }
        return (columns[0] + columns[4] + 4 * (columns[1] + columns[3]) + 6 * columns[2] + 128) >> 8;
    });
}

// The mean of what each pixel of the target covers, which is one of the source's at least.
extern "C" __global__ void shrink_luma(const LumaPlane source, const LumaPlane target) {
    fill(target, [&](int x, int y) {
        const Cover across = make_cover(x, source.width, target.width);
        const Cover down = make_cover(y, source.height, target.height);
        const auto sum_of_row = [&](const Cover& columns, int row) {
            const unsigned char* pixels = row_of(source, row);
            return covered(columns, [&](int column) { return static_cast<float>(pixels[column]); });
        };
        if (source.width % target.width == 0 && source.height % target.height == 0) {
            // Sums are exact then, and are scaled once.
            const int width = source.width / target.width, height = source.height / target.height;
            const Cover columns{x * width, (x + 1) * width, 0.0f, 1.0f, 0.0f};
            const Cover rows{y * height, (y + 1) * height, 0.0f, 1.0f, 0.0f};
            const float sum = covered(rows, [&](int row) { return sum_of_row(columns, row); });
            return static_cast<int>(rintf(sum * (1.0f / (width * height))));
        }
        const float mean = covered(down, [&](int row) { return sum_of_row(across, row); });
        return min(static_cast<int>(rintf(mean)), 255);
    });
}
