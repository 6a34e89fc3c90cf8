// Cuts patches from frames, resizes them onto canvases and normalises these, straight into a model's input tensor.
//
// The arithmetic is that of app/vision (OpenCV on uint8) and app/detect/preprocess.py, to the last bit.
// Compile without contraction to fused multiply-add: it would round differently.

#include "half.h"
#include "sampling.h"
#include "structures.h"

namespace {

constexpr int TILE_WIDTH = 64;
constexpr int TILE_HEIGHT = 16;
constexpr int COPIES_AT_ONCE = 64;  // as many as the mask of those that touch a tile has bits

struct Patch {
    Axis luma_x, luma_y, chroma_x, chroma_y;
    int x1, y1, x2, y2;
    int is_half;
};

struct Bgr {
    int blue, green, red;
};

__device__ Axis make_chroma_axis(int first, int last, int target_size) {
    return make_axis(first / 2, (last + 1) / 2, target_size);
}

__device__ Patch make_patch(const PatchCopy& copy) {
    int x1 = copy.source[0], y1 = copy.source[1], x2 = copy.source[2], y2 = copy.source[3];
    const int width = copy.target[2] - copy.target[0], height = copy.target[3] - copy.target[1];
    const bool is_half = 2 * width <= x2 - x1 && 2 * height <= y2 - y1;
    if (is_half) {
        x1 /= 2;
        y1 /= 2;
        x2 = (x2 + 1) / 2;
        y2 = (y2 + 1) / 2;
    }
    return Patch{make_axis(x1, x2, width),        make_axis(y1, y2, height), make_chroma_axis(x1, x2, width),
                 make_chroma_axis(y1, y2, height), copy.target[0],            copy.target[1],
                 copy.target[2],                   copy.target[3],            is_half};
}

__device__ bool touches(const PatchCopy& copy, int x1, int y1, int x2, int y2) {
    return copy.target[0] < x2 && copy.target[2] > x1 && copy.target[1] < y2 && copy.target[3] > y1;
}

__device__ int stretched_luma(int code) { return clamped(((code - 16) * 510 + 219) / 438, 0, 255); }

// Half a code goes down, to the even 0; the table's only other tie is cut off.
__device__ int stretched_chroma(int code) { return clamped(((code - 128) * 510 + 128 * 448 + 223) / 448, 0, 255); }

// ITU-R BT.601 in 14-bit fixed point.
__device__ Bgr to_bgr(int luma, int blue, int red) {
    constexpr int HALF = 1 << 13;
    blue -= 128;
    red -= 128;
    return Bgr{clamped(luma + ((29049 * blue + HALF) >> 14), 0, 255),
               clamped(luma + ((-5636 * blue - 11698 * red + HALF) >> 14), 0, 255),
               clamped(luma + ((22987 * red + HALF) >> 14), 0, 255)};
}

__device__ Bgr sample_patch(const CanvasJob& job, const Patch& patch, int x, int y) {
    const bool is_half = patch.is_half;
    const Taps across = make_taps(patch.luma_x, x - patch.x1), down = make_taps(patch.luma_y, y - patch.y1);
    const Plane main{reinterpret_cast<const unsigned char*>(job.planes[0]), job.luma_pitch, job.width, job.height};
    if (job.kind == BGR_FRAME) {
        return Bgr{sample<3>(main, is_half, across, down, 0), sample<3>(main, is_half, across, down, 1),
                   sample<3>(main, is_half, across, down, 2)};
    }
    const Taps chroma_across = make_taps(patch.chroma_x, x - patch.x1);
    const Taps chroma_down = make_taps(patch.chroma_y, y - patch.y1);
    Plane chroma{reinterpret_cast<const unsigned char*>(job.planes[1]), job.chroma_pitch, (job.width + 1) / 2,
                 (job.height + 1) / 2};
    const int luma = sample<1>(main, is_half, across, down, 0);
    const int blue = sample<1>(chroma, is_half, chroma_across, chroma_down, 0);
    chroma.pixels = reinterpret_cast<const unsigned char*>(job.planes[2]);
    const int red = sample<1>(chroma, is_half, chroma_across, chroma_down, 0);
    if (job.kind == FULL_YUV_FRAME) {
        return to_bgr(luma, blue, red);
    }
    return to_bgr(stretched_luma(luma), stretched_chroma(blue), stretched_chroma(red));
}

__device__ void put(void* tensor, size_t index, const InputLayout& layout, int value, int channel) {
    if (layout.dtype == UINT8_TENSOR) {
        static_cast<unsigned char*>(tensor)[index] = static_cast<unsigned char>(value);
        return;
    }
    const float scaled = static_cast<float>(value) * layout.scale[channel];
    if (layout.dtype == FLOAT32_TENSOR) {
        static_cast<float*>(tensor)[index] = scaled - layout.offset[channel];
    } else {
        // The CPU keeps the product in the tensor before it subtracts.
        static_cast<unsigned short*>(tensor)[index] = to_half(from_half(to_half(scaled)) - layout.offset[channel]);
    }
}

__device__ void put_pixel(void* tensor, const InputLayout& layout, size_t place, size_t n_pixels, const Bgr& colour) {
    const size_t first = blockIdx.z * n_pixels * 3 + (layout.is_channels_last ? place * 3 : place);
    const size_t step = layout.is_channels_last ? 1 : n_pixels;
    put(tensor, first, layout, layout.is_rgb ? colour.red : colour.blue, 0);
    put(tensor, first + step, layout, colour.green, 1);
    put(tensor, first + 2 * step, layout, layout.is_rgb ? colour.blue : colour.red, 2);
}

// The last patch of those in the mask that contains a pixel; negative if none does.
__device__ int topmost(const Patch* patches, unsigned long long mask, int x, int y) {
    while (mask) {
        const int index = 63 - __clzll(static_cast<long long>(mask));
        const Patch& patch = patches[index];
        if (x >= patch.x1 && x < patch.x2 && y >= patch.y1 && y < patch.y2) {
            return index;
        }
        mask ^= 1ull << index;
    }
    return -1;
}

}  // namespace

// Fills tensor (gridDim.z, 3, height, width) or (gridDim.z, height, width, 3). Any grid and block will do; made for
// blocks of (32, 8) threads, one for each tile.
extern "C" __global__ void draw_canvas(const CanvasJob* jobs, const PatchCopy* copies, void* tensor, int width,
                                       int height, InputLayout layout) {
    __shared__ Patch patches[COPIES_AT_ONCE];
    __shared__ unsigned long long touching;
    const CanvasJob& job = jobs[blockIdx.z];
    const int thread = threadIdx.y * blockDim.x + threadIdx.x, n_threads = blockDim.x * blockDim.y;
    const int n_copies = job.kind == NO_FRAME ? 0 : job.n_copies;
    const size_t n_pixels = static_cast<size_t>(width) * height;
    const Bgr padding{job.pad[0], job.pad[1], job.pad[2]};
    for (int top = blockIdx.y * TILE_HEIGHT; top < height; top += gridDim.y * TILE_HEIGHT) {
        for (int left = blockIdx.x * TILE_WIDTH; left < width; left += gridDim.x * TILE_WIDTH) {
            const int right = min(left + TILE_WIDTH, width), bottom = min(top + TILE_HEIGHT, height);
            for (int first = 0; first == 0 || first < n_copies; first += COPIES_AT_ONCE) {
                __syncthreads();
                if (thread == 0) {
                    touching = 0;
                }
                __syncthreads();
                for (int i = thread; i < min(COPIES_AT_ONCE, n_copies - first); i += n_threads) {
                    const PatchCopy& copy = copies[job.first_copy + first + i];
                    if (touches(copy, left, top, right, bottom)) {
                        patches[i] = make_patch(copy);
                        atomicOr(&touching, 1ull << i);
                    }
                }
                __syncthreads();
                for (int y = top + threadIdx.y; y < bottom; y += blockDim.y) {
                    for (int x = left + threadIdx.x; x < right; x += blockDim.x) {
                        const int index = topmost(patches, touching, x, y);
                        const size_t place = static_cast<size_t>(y) * width + x;
                        if (index >= 0) {
                            put_pixel(tensor, layout, place, n_pixels, sample_patch(job, patches[index], x, y));
                        } else if (first == 0) {
                            put_pixel(tensor, layout, place, n_pixels, padding);
                        }
                    }
                }
            }
        }
    }
}
