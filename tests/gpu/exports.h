// A kernel as functions of a library, for tests: `simulated_` for the simulated driver, `host_` for tests of kernels.
#pragma once

#include <array>

#include "device.h"

template <typename... Parameters>
constexpr std::array<unsigned long long, sizeof...(Parameters) + 1> sizes_of(void (*)(Parameters...)) {
    return {sizeof(Parameters)..., 0};
}

#define VISIBLE extern "C" __attribute__((visibility("default")))

// The driver is told the size in bytes of each parameter, then 0, and has one thread do a block's work, whatever the
// block's size: many threads would need many times as long. Tests of kernels have as many as they ask for.
#define EXPORT(kernel)                                                                                              \
    VISIBLE constexpr auto simulated_##kernel##_sizes = sizes_of(kernel);                                           \
    VISIBLE void simulated_##kernel(unsigned x, unsigned y, unsigned z, unsigned, unsigned, unsigned, void** args) { \
        launch(kernel, {x, y, z}, {1, 1, 1}, args);                                                                 \
    }                                                                                                               \
    VISIBLE void host_##kernel(const unsigned* grid, const unsigned* block, void** arguments) {                     \
        launch(kernel, {grid[0], grid[1], grid[2]}, {block[0], block[1], block[2]}, arguments);                     \
    }
