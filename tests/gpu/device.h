// As much of CUDA's C++ as the kernels use, for a host compiler: a block's threads are threads of the process.
#pragma once

#include <atomic>
#include <barrier>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdlib>
#include <thread>
#include <string>
#include <utility>
#include <vector>

#define __global__
#define __device__
#define __shared__ static

struct Triple {
    unsigned x, y, z;
};

inline thread_local Triple threadIdx, blockIdx, blockDim, gridDim;
inline thread_local std::barrier<>* block_barrier = nullptr;

inline void __syncthreads() {
    if (block_barrier != nullptr) {
        block_barrier->arrive_and_wait();
    }
}

// A block is one warp here, all lanes of which take the same way.
inline void __syncwarp() { __syncthreads(); }

inline float __shfl_xor_sync(unsigned, float value, int offset) {
    static float lanes[32];
    lanes[threadIdx.x] = value;
    __syncwarp();
    const float other = lanes[threadIdx.x ^ static_cast<unsigned>(offset)];
    __syncwarp();
    return other;
}

inline int min(int a, int b) { return a < b ? a : b; }
inline int max(int a, int b) { return a < b ? b : a; }
inline float __uint_as_float(unsigned bits) { return std::bit_cast<float>(bits); }
inline unsigned __float_as_uint(float value) { return std::bit_cast<unsigned>(value); }
inline int __popc(unsigned bits) { return std::popcount(bits); }
inline int __clzll(long long bits) { return std::countl_zero(static_cast<unsigned long long>(bits)); }

template <typename Number>
Number atomicAdd(Number* place, Number value) {
    return std::atomic_ref<Number>(*place).fetch_add(value);
}

template <typename Number>
Number atomicOr(Number* place, Number value) {
    return std::atomic_ref<Number>(*place).fetch_or(value);
}

template <typename Number>
Number atomicMax(Number* place, Number value) {
    std::atomic_ref<Number> number(*place);
    Number before = number.load();
    while (before < value && !number.compare_exchange_weak(before, value)) {
    }
    return before;
}

template <typename Number>
Number atomicMin(Number* place, Number value) {
    std::atomic_ref<Number> number(*place);
    Number before = number.load();
    while (value < before && !number.compare_exchange_weak(before, value)) {
    }
    return before;
}

template <typename... Parameters, std::size_t... I>
void call(void (*kernel)(Parameters...), void** arguments, std::index_sequence<I...>) {
    kernel(*static_cast<std::remove_const_t<Parameters>*>(arguments[I])...);
}

// Arguments as cuLaunchKernel takes them: a pointer to the bytes of each.
template <typename... Parameters>
void launch(void (*kernel)(Parameters...), Triple grid, Triple block, void** arguments) {
    const unsigned n_threads = block.x * block.y * block.z;
    std::barrier<> barrier(n_threads);
    auto run = [&](Triple block_index, unsigned i) {
        gridDim = grid;
        blockDim = block;
        blockIdx = block_index;
        threadIdx = Triple{i % block.x, i / block.x % block.y, i / (block.x * block.y)};
        block_barrier = n_threads > 1 ? &barrier : nullptr;
        call(kernel, arguments, std::index_sequence_for<Parameters...>{});
    };
    for (unsigned b = 0; b < grid.x * grid.y * grid.z; ++b) {
        const Triple block_index{b % grid.x, b / grid.x % grid.y, b / (grid.x * grid.y)};
        std::vector<std::jthread> others;
        for (unsigned i = 1; i < n_threads; ++i) {
            others.emplace_back(run, block_index, i);
        }
        run(block_index, 0);
    }
}
