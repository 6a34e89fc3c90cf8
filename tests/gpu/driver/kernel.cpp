// One file of kernels as the simulated driver loads it: compile with SOURCE, the file's name in quotes, and KERNEL.
#include <array>

#include "device.h"

#include SOURCE

#define JOINED(first, second, third) first##second##third
#define NAME(kernel, end) JOINED(simulated_, kernel, end)

template <typename... Parameters>
constexpr std::array<unsigned long long, sizeof...(Parameters) + 1> sizes_of(void (*)(Parameters...)) {
    return {sizeof(Parameters)..., 0};
}

#pragma GCC visibility push(default)

// Size in bytes of each parameter, then 0.
extern "C" constexpr auto NAME(KERNEL, _sizes) = sizes_of(KERNEL);

// One thread does a block's work, whatever the block's size: many threads would need many times as long.
extern "C" void NAME(KERNEL, )(unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned, unsigned, unsigned,
                               void** arguments) {
    launch(KERNEL, {grid_x, grid_y, grid_z}, {1, 1, 1}, arguments);
}
