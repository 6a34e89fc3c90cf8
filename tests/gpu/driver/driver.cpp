// CUDA's driver interface without a GPU: as much of it as app/gpu/device.py uses, on the processor.
//
// It is stricter than a GPU's driver wherever that lets mistakes show. What a stream is given is done when somebody
// waits for the stream or closes it, never before. New memory holds 0xCD, not zeros. Handles are never used twice.
// Every call but the first few needs a current context. Whoever writes beyond a block of memory, or frees it while
// work on it is still to be done, loses the device.

#include <dlfcn.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <variant>
#include <vector>

#define EXPORTED extern "C" __attribute__((visibility("default")))

namespace {

// Numbers and meanings are those of CUresult.
enum Result {
    SUCCESS = 0,
    INVALID_VALUE = 1,
    OUT_OF_MEMORY = 2,
    NOT_INITIALIZED = 3,
    NO_DEVICE = 100,
    INVALID_DEVICE = 101,
    INVALID_IMAGE = 200,
    INVALID_CONTEXT = 201,
    INVALID_HANDLE = 400,
    ILLEGAL_STATE = 401,
    NOT_FOUND = 500,
    ILLEGAL_ADDRESS = 700,
    CONTEXT_IS_DESTROYED = 709,
    ILLEGAL_INSTRUCTION = 715,
    LAUNCH_FAILED = 719,
    NOT_PERMITTED = 800,
    CAPTURE_UNSUPPORTED = 900,
    CAPTURE_INVALIDATED = 901,
    CAPTURE_WRONG_THREAD = 908,
};

// Device pointers, and the opaque pointers that handles are.
using Address = std::uintptr_t;
using Byte = unsigned char;
using Kernel = void (*)(unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, void**);

constexpr size_t GUARD = 256;  // bytes on either side of a block; keeps its alignment
constexpr Byte GUARD_BYTE = 0xAB;
constexpr Byte NEW_BYTE = 0xCD;
constexpr size_t DEFAULT_MEMORY = size_t{256} << 20;

struct Dimensions {
    unsigned x, y, z;
};

class Block {
public:
    explicit Block(size_t n_bytes)
        : n_bytes(n_bytes),
          bytes_(static_cast<Byte*>(std::aligned_alloc(GUARD, (n_bytes + 3 * GUARD) / GUARD * GUARD))) {
        std::memset(bytes_.get() + GUARD, NEW_BYTE, n_bytes);
        guard();
    }

    Address address() const { return reinterpret_cast<Address>(bytes_.get() + GUARD); }

    bool is_damaged() const {
        for (size_t i = 0; i < GUARD; ++i) {
            if (bytes_.get()[i] != GUARD_BYTE || bytes_.get()[GUARD + n_bytes + i] != GUARD_BYTE) {
                return true;
            }
        }
        return false;
    }

    void guard() {
        std::memset(bytes_.get(), GUARD_BYTE, GUARD);
        std::memset(bytes_.get() + GUARD + n_bytes, GUARD_BYTE, GUARD);
    }

    size_t n_bytes;

private:
    struct Free {
        void operator()(Byte* bytes) const { std::free(bytes); }
    };
    std::unique_ptr<Byte, Free> bytes_;
};

using Blocks = std::map<Address, Block>;

struct Copy {
    Address target, source;
    size_t n_bytes;
    bool from_device, to_device;
};

struct Launch {
    Address module;
    Kernel kernel;
    Dimensions grid, block;
    std::vector<std::vector<Byte>> arguments;
};

struct HostCall {
    void (*function)(void*);
    void* data;
};

struct Recording;
using Replay = std::shared_ptr<const Recording>;
using Work = std::variant<Copy, Launch, HostCall, Replay>;

struct Recording {
    std::vector<Work> work;
};

struct Capture {
    std::thread::id thread;
    std::shared_ptr<Recording> recording;
    bool is_valid = true;
};

struct Stream {
    std::vector<Work> waiting;
    std::optional<Capture> capture;
};

struct Module {
    void* library;
};

struct Function {
    Address module;
    Kernel kernel;
    std::vector<size_t> sizes;  // of its parameters, in bytes
};

struct Failure {
    Result code;
    int n_calls_before;
};

struct Driver {
    std::recursive_mutex mutex;
    bool is_initialised = false;
    bool is_working = false;
    int n_devices = 1;
    Result lost = SUCCESS;  // what every call answers once the device is lost
    std::map<std::string, Failure> failures;
    Address next_handle = 0x1000;
    Address context = 0;
    int n_context_users = 0;
    Blocks memory, pinned;
    std::map<Address, Stream> streams;
    std::map<Address, Module> modules;
    std::map<Address, Function> functions;
    std::map<Address, Replay> graphs, executables;
    long long n_replays = 0, n_damaged = 0;

    Address new_handle() { return next_handle += 16; }
};

Driver& driver = *new Driver;  // never destroyed: threads may outlive whatever the process destroys at its end
thread_local Address current_context = 0;

size_t used_bytes() {
    size_t sum = 0;
    for (const auto& [address, block] : driver.memory) {
        sum += block.n_bytes;
    }
    return sum;
}

size_t total_memory() {
    const char* text = std::getenv("FLEXPATCH_SIMULATED_MEMORY");
    return text == nullptr ? DEFAULT_MEMORY : std::strtoull(text, nullptr, 10);
}

enum Needs { NOTHING, INITIALISED, CONTEXT };

Result refusal(const char* name, Needs needs) {
    if (driver.lost != SUCCESS) {
        return driver.lost;
    }
    if (const auto found = driver.failures.find(name); found != driver.failures.end()) {
        if (found->second.n_calls_before-- == 0) {
            const Result code = found->second.code;
            driver.failures.erase(found);
            return code;
        }
    }
    if (driver.is_working) {
        return NOT_PERMITTED;
    }
    if (needs != NOTHING && !driver.is_initialised) {
        return NOT_INITIALIZED;
    }
    if (needs == CONTEXT && current_context != driver.context) {
        return current_context == 0 ? INVALID_CONTEXT : CONTEXT_IS_DESTROYED;
    }
    return needs == CONTEXT && driver.context == 0 ? INVALID_CONTEXT : SUCCESS;
}

// One call: refused for a general reason, or answered by its body.
template <typename Body>
Result answer(const char* name, Needs needs, Body body) {
    const std::lock_guard lock(driver.mutex);
    const Result code = refusal(name, needs);
    return code == SUCCESS ? body() : code;
}

bool holds(const Blocks& blocks, Address first, size_t n_bytes) {
    auto after = blocks.upper_bound(first);
    if (after == blocks.begin()) {
        return false;
    }
    const Block& block = std::prev(after)->second;
    const size_t offset = first - block.address();
    return offset <= block.n_bytes && n_bytes <= block.n_bytes - offset;
}

bool can_be_done(const Copy& copy) {
    return holds(copy.to_device ? driver.memory : driver.pinned, copy.target, copy.n_bytes) &&
           holds(copy.from_device ? driver.memory : driver.pinned, copy.source, copy.n_bytes);
}

bool found_damage(Block& block) {
    if (!block.is_damaged()) {
        return false;
    }
    ++driver.n_damaged;
    block.guard();
    return true;
}

bool found_damage() {
    bool found = false;
    for (Blocks* blocks : {&driver.memory, &driver.pinned}) {
        for (auto& [address, block] : *blocks) {
            found |= found_damage(block);
        }
    }
    return found;
}

Result perform(const Copy& copy) {
    if (!can_be_done(copy)) {
        return ILLEGAL_ADDRESS;
    }
    std::memmove(reinterpret_cast<void*>(copy.target), reinterpret_cast<const void*>(copy.source), copy.n_bytes);
    return SUCCESS;
}

Result perform(const Launch& launch) {
    if (!driver.modules.contains(launch.module)) {
        return ILLEGAL_INSTRUCTION;
    }
    auto arguments = launch.arguments;  // a kernel may change its own
    std::vector<void*> pointers;
    for (auto& argument : arguments) {
        pointers.push_back(argument.data());
    }
    const auto [grid, block] = std::pair(launch.grid, launch.block);
    launch.kernel(grid.x, grid.y, grid.z, block.x, block.y, block.z, pointers.data());
    return found_damage() ? ILLEGAL_ADDRESS : SUCCESS;
}

Result perform(const HostCall& call) {
    driver.is_working = true;
    call.function(call.data);
    driver.is_working = false;
    return found_damage() ? ILLEGAL_ADDRESS : SUCCESS;
}

Result perform(const Replay& replay);

Result perform(const std::vector<Work>& all) {
    for (const Work& work : all) {
        const Result code = std::visit([](const auto& kind) { return perform(kind); }, work);
        if (code != SUCCESS) {
            return driver.lost = code;
        }
    }
    return SUCCESS;
}

Result perform(const Replay& replay) { return perform(replay->work); }

Result give(Address handle, Work work) {
    const auto found = driver.streams.find(handle);
    if (found == driver.streams.end()) {
        return INVALID_HANDLE;
    }
    Stream& stream = found->second;
    if (!stream.capture) {
        stream.waiting.push_back(std::move(work));
        return SUCCESS;
    }
    if (!stream.capture->is_valid) {
        return CAPTURE_INVALIDATED;
    }
    stream.capture->recording->work.push_back(std::move(work));
    return SUCCESS;
}

// What would block is not allowed to a thread that records, and spoils what it records.
bool spoilt_recording() {
    bool spoilt = false;
    for (auto& [handle, stream] : driver.streams) {
        if (stream.capture && stream.capture->thread == std::this_thread::get_id()) {
            stream.capture->is_valid = false;
            spoilt = true;
        }
    }
    return spoilt;
}

template <typename Things>
Result give_back(Things& things, Address handle) {
    return things.erase(handle) ? SUCCESS : INVALID_HANDLE;
}

Result cuInit(unsigned) {
    return answer("cuInit", NOTHING, [] {
        driver.is_initialised = driver.n_devices > 0;
        return driver.is_initialised ? SUCCESS : NO_DEVICE;
    });
}

Result cuDeviceGetCount(int* count) {
    return answer("cuDeviceGetCount", INITIALISED, [=] {
        *count = driver.n_devices;
        return SUCCESS;
    });
}

Result cuDeviceGet(int* device, int ordinal) {
    return answer("cuDeviceGet", INITIALISED, [=] {
        *device = ordinal;
        return 0 <= ordinal && ordinal < driver.n_devices ? SUCCESS : INVALID_DEVICE;
    });
}

Result cuDeviceGetAttribute(int* value, int attribute, int) {
    return answer("cuDeviceGetAttribute", INITIALISED, [=] {
        // Clock in kHz, multiprocessors, compute capability.
        static const std::map<int, int> attributes{{13, 1000000}, {16, 4}, {75, 8}, {76, 9}};
        const auto found = attributes.find(attribute);
        *value = found == attributes.end() ? 0 : found->second;
        return found == attributes.end() ? INVALID_VALUE : SUCCESS;
    });
}

Result cuDeviceGetName(char* name, int n_bytes, int) {
    return answer("cuDeviceGetName", INITIALISED, [=] {
        std::strncpy(name, "Simulated GPU", n_bytes);
        return SUCCESS;
    });
}

Result cuDevicePrimaryCtxRetain(Address* context, int) {
    return answer("cuDevicePrimaryCtxRetain", INITIALISED, [=] {
        if (driver.n_context_users++ == 0) {
            driver.context = driver.new_handle();
        }
        *context = driver.context;
        return SUCCESS;
    });
}

// What was made in the context outlives it here, so that it is counted as forgotten.
Result cuDevicePrimaryCtxRelease(int) {
    return answer("cuDevicePrimaryCtxRelease", INITIALISED, [] {
        if (driver.n_context_users == 0) {
            return INVALID_CONTEXT;
        }
        if (--driver.n_context_users == 0) {
            driver.context = 0;
        }
        return SUCCESS;
    });
}

Result cuCtxSetCurrent(Address context) {
    return answer("cuCtxSetCurrent", INITIALISED, [=] {
        if (context != 0 && context != driver.context) {
            return INVALID_CONTEXT;
        }
        current_context = context;
        return SUCCESS;
    });
}

Result cuMemGetInfo(size_t* free, size_t* total) {
    return answer("cuMemGetInfo", CONTEXT, [=] {
        *total = total_memory();
        *free = *total - std::min(*total, used_bytes());
        return SUCCESS;
    });
}

Result allocate(Blocks& blocks, Address* address, size_t n_bytes) {
    if (spoilt_recording()) {
        return CAPTURE_UNSUPPORTED;
    }
    if (n_bytes == 0) {
        return INVALID_VALUE;
    }
    Block block(n_bytes);
    *address = block.address();
    blocks.emplace(*address, std::move(block));
    return SUCCESS;
}

Result free_block(Blocks& blocks, Address address) {
    if (spoilt_recording()) {
        return CAPTURE_UNSUPPORTED;
    }
    const auto found = blocks.find(address);
    if (found == blocks.end()) {
        return INVALID_VALUE;
    }
    const bool is_damaged = found_damage(found->second);
    blocks.erase(found);
    return is_damaged ? ILLEGAL_ADDRESS : SUCCESS;
}

Result cuMemAlloc(Address* address, size_t n_bytes) {
    return answer("cuMemAlloc", CONTEXT, [=] {
        const size_t total = total_memory();
        if (n_bytes > total || used_bytes() > total - n_bytes) {
            return OUT_OF_MEMORY;
        }
        return allocate(driver.memory, address, n_bytes);
    });
}

Result cuMemFree(Address address) {
    return answer("cuMemFree", CONTEXT, [=] { return free_block(driver.memory, address); });
}

Result cuMemHostAlloc(Address* address, size_t n_bytes, unsigned) {
    return answer("cuMemHostAlloc", CONTEXT, [=] { return allocate(driver.pinned, address, n_bytes); });
}

Result cuMemFreeHost(Address address) {
    return answer("cuMemFreeHost", CONTEXT, [=] { return free_block(driver.pinned, address); });
}

// An image is the path of a library.
Result cuModuleLoadData(Address* module, const char* image) {
    return answer("cuModuleLoadData", CONTEXT, [=] {
        if (spoilt_recording()) {
            return CAPTURE_UNSUPPORTED;
        }
        void* library = image[0] == '/' ? dlopen(image, RTLD_NOW | RTLD_LOCAL) : nullptr;
        if (library == nullptr) {
            return INVALID_IMAGE;
        }
        *module = driver.new_handle();
        driver.modules[*module] = Module{library};
        return SUCCESS;
    });
}

Result cuModuleUnload(Address module) {
    return answer("cuModuleUnload", CONTEXT, [=] {
        if (spoilt_recording()) {
            return CAPTURE_UNSUPPORTED;
        }
        const auto found = driver.modules.find(module);
        if (found == driver.modules.end()) {
            return INVALID_HANDLE;
        }
        dlclose(found->second.library);
        driver.modules.erase(found);
        return SUCCESS;
    });
}

Result cuModuleGetFunction(Address* function, Address module, const char* name) {
    return answer("cuModuleGetFunction", CONTEXT, [=] {
        const auto found = driver.modules.find(module);
        if (found == driver.modules.end()) {
            return INVALID_HANDLE;
        }
        const std::string symbol = std::string("simulated_") + name;
        const auto kernel = reinterpret_cast<Kernel>(dlsym(found->second.library, symbol.c_str()));
        const void* sizes = dlsym(found->second.library, (symbol + "_sizes").c_str());
        if (kernel == nullptr || sizes == nullptr) {
            return NOT_FOUND;
        }
        Function made{module, kernel, {}};
        for (auto size = static_cast<const unsigned long long*>(sizes); *size != 0; ++size) {
            made.sizes.push_back(*size);
        }
        *function = driver.new_handle();
        driver.functions[*function] = std::move(made);
        return SUCCESS;
    });
}

Result cuStreamCreate(Address* stream, unsigned flags) {
    return answer("cuStreamCreate", CONTEXT, [=] {
        if (flags > 1) {
            return INVALID_VALUE;
        }
        *stream = driver.new_handle();
        driver.streams[*stream];
        return SUCCESS;
    });
}

Result cuStreamDestroy(Address stream) {
    return answer("cuStreamDestroy", CONTEXT, [=] {
        const auto found = driver.streams.find(stream);
        if (found == driver.streams.end()) {
            return INVALID_HANDLE;
        }
        const std::vector<Work> waiting = std::move(found->second.waiting);
        driver.streams.erase(found);
        perform(waiting);
        return SUCCESS;
    });
}

Result cuStreamSynchronize(Address stream) {
    const Result code = answer("cuStreamSynchronize", CONTEXT, [=] {
        const auto found = driver.streams.find(stream);
        if (found == driver.streams.end()) {
            return INVALID_HANDLE;
        }
        if (found->second.capture) {
            found->second.capture->is_valid = false;
            return CAPTURE_UNSUPPORTED;
        }
        return perform(std::exchange(found->second.waiting, {}));
    });
    if (code != SUCCESS) {  // what failed is not done later
        const std::lock_guard lock(driver.mutex);
        if (const auto found = driver.streams.find(stream); found != driver.streams.end()) {
            found->second.waiting.clear();
        }
    }
    return code;
}

Result give_copy(Address stream, const Copy& copy) {
    return can_be_done(copy) ? give(stream, copy) : INVALID_VALUE;
}

Result cuMemcpyHtoDAsync(Address target, Address source, size_t n_bytes, Address stream) {
    return answer("cuMemcpyHtoDAsync", CONTEXT,
                  [=] { return give_copy(stream, Copy{target, source, n_bytes, false, true}); });
}

Result cuMemcpyDtoHAsync(Address target, Address source, size_t n_bytes, Address stream) {
    return answer("cuMemcpyDtoHAsync", CONTEXT,
                  [=] { return give_copy(stream, Copy{target, source, n_bytes, true, false}); });
}

Result cuMemcpyDtoDAsync(Address target, Address source, size_t n_bytes, Address stream) {
    return answer("cuMemcpyDtoDAsync", CONTEXT,
                  [=] { return give_copy(stream, Copy{target, source, n_bytes, true, true}); });
}

bool can_be_launched(const Dimensions& grid, const Dimensions& block) {
    constexpr unsigned MOST_BLOCKS = 65535, MOST_THREADS = 1024, MOST_LAYERS = 64;
    return grid.x > 0 && grid.y > 0 && grid.z > 0 && grid.x <= 0x7FFFFFFF && grid.y <= MOST_BLOCKS &&
           grid.z <= MOST_BLOCKS && block.x > 0 && block.y > 0 && block.z > 0 && block.x <= MOST_THREADS &&
           block.y <= MOST_THREADS && block.z <= MOST_LAYERS && block.x * block.y * block.z <= MOST_THREADS;
}

Result cuLaunchKernel(Address function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,
                      unsigned block_y, unsigned block_z, unsigned shared_bytes, Address stream, void** arguments,
                      void** extra) {
    return answer("cuLaunchKernel", CONTEXT, [=] {
        const auto found = driver.functions.find(function);
        if (found == driver.functions.end() || !driver.modules.contains(found->second.module)) {
            return INVALID_HANDLE;
        }
        const Function& kernel = found->second;
        Launch launch{kernel.module, kernel.kernel, {grid_x, grid_y, grid_z}, {block_x, block_y, block_z}, {}};
        if (!can_be_launched(launch.grid, launch.block) || shared_bytes > 48 << 10 || extra != nullptr ||
            (arguments == nullptr && !kernel.sizes.empty())) {
            return INVALID_VALUE;
        }
        for (size_t i = 0; i < kernel.sizes.size(); ++i) {
            const auto first = static_cast<const Byte*>(arguments[i]);
            launch.arguments.emplace_back(first, first + kernel.sizes[i]);
        }
        return give(stream, std::move(launch));
    });
}

Result cuStreamBeginCapture(Address stream, int) {
    return answer("cuStreamBeginCapture", CONTEXT, [=] {
        const auto found = driver.streams.find(stream);
        if (found == driver.streams.end()) {
            return INVALID_HANDLE;
        }
        if (found->second.capture) {
            return ILLEGAL_STATE;
        }
        found->second.capture = Capture{std::this_thread::get_id(), std::make_shared<Recording>()};
        return SUCCESS;
    });
}

Result cuStreamEndCapture(Address stream, Address* graph) {
    const Result code = answer("cuStreamEndCapture", CONTEXT, [=] {
        *graph = 0;
        const auto found = driver.streams.find(stream);
        if (found == driver.streams.end()) {
            return INVALID_HANDLE;
        }
        if (!found->second.capture) {
            return ILLEGAL_STATE;
        }
        if (found->second.capture->thread != std::this_thread::get_id()) {
            return CAPTURE_WRONG_THREAD;
        }
        const auto capture = *std::exchange(found->second.capture, std::nullopt);
        if (!capture.is_valid) {
            return CAPTURE_INVALIDATED;
        }
        *graph = driver.new_handle();
        driver.graphs[*graph] = capture.recording;
        return SUCCESS;
    });
    if (code != SUCCESS && code != CAPTURE_WRONG_THREAD) {  // the recording ends all the same
        const std::lock_guard lock(driver.mutex);
        if (const auto found = driver.streams.find(stream); found != driver.streams.end()) {
            found->second.capture.reset();
        }
    }
    return code;
}

Result cuGraphInstantiate(Address* executable, Address graph, unsigned long long) {
    return answer("cuGraphInstantiate", CONTEXT, [=] {
        const auto found = driver.graphs.find(graph);
        if (found == driver.graphs.end()) {
            return INVALID_HANDLE;
        }
        *executable = driver.new_handle();
        driver.executables[*executable] = found->second;
        return SUCCESS;
    });
}

Result cuGraphDestroy(Address graph) {
    return answer("cuGraphDestroy", CONTEXT, [=] { return give_back(driver.graphs, graph); });
}

Result cuGraphExecDestroy(Address executable) {
    return answer("cuGraphExecDestroy", CONTEXT, [=] { return give_back(driver.executables, executable); });
}

Result cuGraphLaunch(Address executable, Address stream) {
    return answer("cuGraphLaunch", CONTEXT, [=] {
        const auto found = driver.executables.find(executable);
        if (found == driver.executables.end()) {
            return INVALID_HANDLE;
        }
        const Result code = give(stream, found->second);
        driver.n_replays += code == SUCCESS;
        return code;
    });
}

#define FUNCTION(name) {#name, reinterpret_cast<void*>(name)}

// Each in the form that CUDA 12 and 13 ask for, whatever version's suffix it has in their header.
const std::map<std::string, void*>& functions() {
    static const std::map<std::string, void*> all{
        FUNCTION(cuInit),
        FUNCTION(cuDeviceGetCount),
        FUNCTION(cuDeviceGet),
        FUNCTION(cuDeviceGetAttribute),
        FUNCTION(cuDeviceGetName),
        FUNCTION(cuDevicePrimaryCtxRetain),
        FUNCTION(cuDevicePrimaryCtxRelease),
        FUNCTION(cuCtxSetCurrent),
        FUNCTION(cuMemGetInfo),
        FUNCTION(cuMemAlloc),
        FUNCTION(cuMemFree),
        FUNCTION(cuMemHostAlloc),
        FUNCTION(cuMemFreeHost),
        FUNCTION(cuModuleLoadData),
        FUNCTION(cuModuleUnload),
        FUNCTION(cuModuleGetFunction),
        FUNCTION(cuStreamCreate),
        FUNCTION(cuStreamDestroy),
        FUNCTION(cuStreamSynchronize),
        FUNCTION(cuStreamBeginCapture),
        FUNCTION(cuStreamEndCapture),
        FUNCTION(cuMemcpyHtoDAsync),
        FUNCTION(cuMemcpyDtoDAsync),
        FUNCTION(cuMemcpyDtoHAsync),
        FUNCTION(cuLaunchKernel),
        FUNCTION(cuGraphInstantiate),
        {"cuGraphInstantiateWithFlags", reinterpret_cast<void*>(cuGraphInstantiate)},
        FUNCTION(cuGraphDestroy),
        FUNCTION(cuGraphExecDestroy),
        FUNCTION(cuGraphLaunch),
    };
    return all;
}

}  // namespace

// The one function that is looked up by its name; through it all others are. A null pointer stands for none.
EXPORTED int cuGetProcAddress_v2(const char* name, void** function, int, std::uint64_t, int* status) {
    constexpr int FOUND = 0, MISSING = 1;
    const auto found = functions().find(name);
    *function = found == functions().end() ? nullptr : found->second;
    if (status != nullptr) {
        *status = *function == nullptr ? MISSING : FOUND;
    }
    return SUCCESS;
}

// Have a function fail once, after so many calls that succeed. Returns 0 if there is no such function.
EXPORTED int simulated_fail(const char* name, int code, int after_n_calls) {
    const std::lock_guard lock(driver.mutex);
    driver.failures[name] = Failure{static_cast<Result>(code), after_n_calls};
    return functions().contains(name);
}

// Every later call fails.
EXPORTED void simulated_lose_device() {
    const std::lock_guard lock(driver.mutex);
    driver.lost = LAUNCH_FAILED;
}

EXPORTED int simulated_is_lost() {
    const std::lock_guard lock(driver.mutex);
    return driver.lost != SUCCESS;
}

EXPORTED void simulated_set_devices(int n_devices) {
    const std::lock_guard lock(driver.mutex);
    driver.n_devices = n_devices;
}

// As a process finds it that has just begun.
EXPORTED void simulated_restore() {
    const std::lock_guard lock(driver.mutex);
    for (const auto& [handle, module] : driver.modules) {
        dlclose(module.library);
    }
    driver.memory.clear();
    driver.pinned.clear();
    driver.streams.clear();
    driver.modules.clear();
    driver.functions.clear();
    driver.graphs.clear();
    driver.executables.clear();
    driver.failures.clear();
    driver.is_initialised = false;
    driver.n_devices = 1;
    driver.lost = SUCCESS;
    driver.context = 0;
    driver.n_context_users = 0;
    driver.n_replays = driver.n_damaged = 0;
}

// How many there are of memory, pinned, stream, module, graph or context; negative for another word.
EXPORTED long long simulated_live(const char* kind) {
    const std::lock_guard lock(driver.mutex);
    const std::map<std::string, long long> counts{
        {"memory", driver.memory.size()},
        {"pinned", driver.pinned.size()},
        {"stream", driver.streams.size()},
        {"module", driver.modules.size()},
        {"graph", driver.graphs.size() + driver.executables.size()},
        {"context", driver.n_context_users},
    };
    const auto found = counts.find(kind);
    return found == counts.end() ? -1 : found->second;
}

EXPORTED unsigned long long simulated_used_bytes() {
    const std::lock_guard lock(driver.mutex);
    return used_bytes();
}

EXPORTED long long simulated_replays() {
    const std::lock_guard lock(driver.mutex);
    return driver.n_replays;
}

// Blocks of memory beside which somebody wrote.
EXPORTED long long simulated_damaged() {
    const std::lock_guard lock(driver.mutex);
    found_damage();
    return driver.n_damaged;
}

// Give a stream a function of the processor, as a library does that puts work of its own on the stream. It must not
// call the driver.
EXPORTED int simulated_enqueue(std::uintptr_t stream, void (*function)(void*), void* data) {
    return answer("simulated_enqueue", CONTEXT, [=] { return give(stream, HostCall{function, data}); });
}
