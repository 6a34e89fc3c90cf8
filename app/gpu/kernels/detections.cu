// From a model's raw outputs to detections: what app/detect/decoders.py and selection.py do, one block for a canvas.
//
// Compile without contraction to fused multiply-add: boxes would round differently than on the CPU.

#include "half.h"
#include "structures.h"

namespace {

constexpr int ROWS_AT_ONCE = 1024;
constexpr int PARTS = 8;  // threads that share the classes of one prediction
constexpr int DISTANCE_BINS = 8;
constexpr int WORD = 32;
constexpr int N_WORDS = MAX_DETECTIONS / WORD;
constexpr float MAX_LOG_SIZE = 12.0f;
constexpr float LARGEST = 3.402823466e38f;

// Some of the values of one prediction.
struct Values {
    unsigned long long output;
    long long first, step;
    int is_half;
};

struct Box {
    float x1, y1, x2, y2;
};

// Where along one axis a box lies.
struct Extent {
    float low, size;
};

struct Cell {
    int level, first, n_cells;
    float column, row, stride;
};

__device__ float value_at(const Values& values, int i) {
    const long long index = values.first + i * values.step;
    if (values.is_half) {
        return from_half(reinterpret_cast<const unsigned short*>(values.output)[index]);
    }
    return reinterpret_cast<const float*>(values.output)[index];
}

// Unsigned numbers in the order of the floats; all NaN lie above infinity.
__device__ unsigned ordered(float value) {
    if (value != value) {
        return 0xffffffff;
    }
    const unsigned bits = __float_as_uint(value + 0.0f);  // one zero, not two
    return bits & 0x80000000 ? ~bits : bits | 0x80000000;
}

__device__ float from_ordered(unsigned number) {
    return __uint_as_float(number & 0x80000000 ? number ^ 0x80000000 : ~number);
}

__device__ bool is_finite(float value) { return fabsf(value) <= LARGEST; }

__device__ float sigmoid(float value) { return 0.5f * (tanhf(value * 0.5f) + 1.0f); }

__device__ bool has_objectness(const PredictionSet& set) {
    return set.family == YOLOX || set.family == YOLO || set.family == FASTESTDET;
}

__device__ bool is_channels_first(const PredictionSet& set) {
    return set.family == YOLOV8 || set.family == FASTESTDET;
}

// Maps' cells are listed one map after another, row by row.
__device__ Cell locate(const PredictionSet& set, int prediction) {
    int first = 0;
    for (int level = 0;; ++level) {
        const int stride = set.strides[level], n_columns = (set.width + stride - 1) / stride;
        const int n_cells = n_columns * ((set.height + stride - 1) / stride), place = prediction - first;
        if (place < n_cells || level + 1 == set.n_strides) {
            return Cell{level,
                        first,
                        n_cells,
                        static_cast<float>(place % n_columns),
                        static_cast<float>(place / n_columns),
                        static_cast<float>(stride)};
        }
        first += n_cells;
    }
}

// All values of one prediction where a family has them in one output of so many channels.
__device__ Values channels_of(const PredictionSet& set, int n_channels, int prediction) {
    const long long n = set.n_predictions, canvas = blockIdx.x;
    if (is_channels_first(set)) {
        return Values{set.outputs[0], canvas * n_channels * n + prediction, n, set.is_half};
    }
    return Values{set.outputs[0], (canvas * n + prediction) * n_channels, 1, set.is_half};
}

__device__ Values from_channel(Values values, int channel) {
    values.first += channel * values.step;
    return values;
}

__device__ Values level_of(const PredictionSet& set, int first_output, int n_channels, int prediction) {
    const Cell cell = locate(set, prediction);
    const long long row = static_cast<long long>(blockIdx.x) * cell.n_cells + prediction - cell.first;
    return Values{set.outputs[first_output + cell.level], row * n_channels, 1, set.is_half};
}

__device__ Values classes_of(const PredictionSet& set, int prediction) {
    switch (set.family) {
        case NANODET:
            return level_of(set, 0, set.n_classes, prediction);
        case NANODET_PLUS:
            return channels_of(set, set.n_classes + 4 * DISTANCE_BINS, prediction);
        case YOLOV8:
            return from_channel(channels_of(set, 4 + set.n_classes, prediction), 4);
        default:
            return from_channel(channels_of(set, 5 + set.n_classes, prediction), 5);
    }
}

__device__ Values geometry_of(const PredictionSet& set, int prediction) {
    switch (set.family) {
        case NANODET:
            return level_of(set, set.n_strides, 4 * DISTANCE_BINS, prediction);
        case NANODET_PLUS:
            return from_channel(channels_of(set, set.n_classes + 4 * DISTANCE_BINS, prediction), set.n_classes);
        case FASTESTDET:
            return from_channel(channels_of(set, 5 + set.n_classes, prediction), 1);
        case YOLOV8:
            return channels_of(set, 4 + set.n_classes, prediction);
        default:
            return channels_of(set, 5 + set.n_classes, prediction);
    }
}

__device__ float objectness_of(const PredictionSet& set, int prediction) {
    const int channel = set.family == FASTESTDET ? 0 : 4;
    return value_at(channels_of(set, 5 + set.n_classes, prediction), channel);
}

__device__ float score_of(const PredictionSet& set, int prediction, float highest) {
    if (!has_objectness(set)) {
        return highest;
    }
    const float objectness = objectness_of(set, prediction);
    if (set.family == FASTESTDET) {
        return powf(objectness, 0.6f) * powf(highest < 0.0f ? 0.0f : highest, 0.4f);
    }
    return objectness * highest;
}

__device__ Box from_centre(float x, float y, float width, float height) {
    const float half_width = width * 0.5f, half_height = height * 0.5f;
    return Box{x - half_width, y - half_height, x + half_width, y + half_height};
}

// A distance in cells is the mean of a distribution over the bins.
__device__ float distance(const Values& values, int side) {
    float highest = -LARGEST, sum = 0.0f, mean = 0.0f;
    for (int bin = 0; bin < DISTANCE_BINS; ++bin) {
        highest = fmaxf(highest, value_at(values, side * DISTANCE_BINS + bin));
    }
    for (int bin = 0; bin < DISTANCE_BINS; ++bin) {
        sum += expf(value_at(values, side * DISTANCE_BINS + bin) - highest);
    }
    for (int bin = 0; bin < DISTANCE_BINS; ++bin) {
        mean += expf(value_at(values, side * DISTANCE_BINS + bin) - highest) / sum * static_cast<float>(bin);
    }
    return mean;
}

__device__ float yolox_size(float logarithm) {
    return expf(logarithm > MAX_LOG_SIZE ? MAX_LOG_SIZE : logarithm);  // unlike fminf this keeps NaN
}

__device__ Box box_of(const PredictionSet& set, int prediction) {
    const Values raw = geometry_of(set, prediction);
    if (set.family == NANODET || set.family == NANODET_PLUS) {
        const Cell cell = locate(set, prediction);
        const float x = (cell.column + set.centre) * cell.stride, y = (cell.row + set.centre) * cell.stride;
        return Box{x - distance(raw, 0) * cell.stride, y - distance(raw, 1) * cell.stride,
                   x + distance(raw, 2) * cell.stride, y + distance(raw, 3) * cell.stride};
    }
    const float x = value_at(raw, 0), y = value_at(raw, 1), width = value_at(raw, 2), height = value_at(raw, 3);
    if (set.family == YOLOX) {
        const Cell cell = locate(set, prediction);
        return from_centre((x + cell.column) * cell.stride, (y + cell.row) * cell.stride,
                           yolox_size(width) * cell.stride, yolox_size(height) * cell.stride);
    }
    if (set.family == FASTESTDET) {
        const int row = prediction / set.n_columns, column = prediction % set.n_columns;
        const float cell_width = static_cast<float>(set.width) / set.n_columns;
        const float cell_height = static_cast<float>(set.height) / (set.n_predictions / set.n_columns);
        return from_centre((tanhf(x) + column) * cell_width, (tanhf(y) + row) * cell_height,
                           sigmoid(width) * set.width, sigmoid(height) * set.height);
    }
    return from_centre(x, y, width, height);
}

// Candidates are ordered by score, then the lower prediction first; the class rides along. No two are equal.
__device__ unsigned long long candidate(float score, int prediction, int class_id) {
    const unsigned turned = ~static_cast<unsigned>(prediction) & ((1u << PREDICTION_BITS) - 1);
    const unsigned long long bits = __float_as_uint(score + 0.0f);
    return bits << 32 | turned << CLASS_BITS | class_id;
}

__device__ int class_in(unsigned long long key) { return static_cast<int>(key & ((1u << CLASS_BITS) - 1)); }

__device__ int prediction_in(unsigned long long key) {
    return static_cast<int>(~(key >> CLASS_BITS) & ((1u << PREDICTION_BITS) - 1));
}

__device__ float score_in(unsigned long long key) { return __uint_as_float(static_cast<unsigned>(key >> 32)); }

// Highest class score of some predictions, and the first class that has it: its order in the upper word, the class's
// complement in the lower. 0 where objectness rules a prediction out.
__device__ void find_best_classes(const PredictionSet& set, int first, int n_rows, unsigned long long* best) {
    for (int i = threadIdx.x; i < n_rows; i += blockDim.x) {
        best[i] = 0;
    }
    __syncthreads();
    for (int unit = threadIdx.x; unit < n_rows * PARTS; unit += blockDim.x) {
        // Neighbouring threads read neighbouring values in either layout.
        const int row = is_channels_first(set) ? unit % n_rows : unit / PARTS;
        const int part = is_channels_first(set) ? unit / n_rows : unit % PARTS;
        if (has_objectness(set) && !(objectness_of(set, first + row) >= set.objectness_floor)) {
            continue;
        }
        const Values values = classes_of(set, first + row);
        unsigned highest = 0;
        int class_id = -1;
#pragma unroll 4
        for (int i = part; i < set.n_classes; i += PARTS) {
            const unsigned number = ordered(value_at(values, i));
            if (number > highest) {
                highest = number;
                class_id = i;
            }
        }
        if (class_id >= 0) {
            atomicMax(&best[row], static_cast<unsigned long long>(highest) << 32 | ~static_cast<unsigned>(class_id));
        }
    }
    __syncthreads();
}

// Writes the keys of all predictions that reach the floor, in any order; returns how many there are.
__device__ int find_candidates(const PredictionSet& set, unsigned long long* best, unsigned long long* keys) {
    __shared__ int n_candidates;
    if (threadIdx.x == 0) {
        n_candidates = 0;
    }
    for (int first = 0; first < set.n_predictions; first += ROWS_AT_ONCE) {
        const int n_rows = min(ROWS_AT_ONCE, set.n_predictions - first);
        find_best_classes(set, first, n_rows, best);
        for (int i = threadIdx.x; i < n_rows; i += blockDim.x) {
            if (best[i]) {
                const float highest = from_ordered(static_cast<unsigned>(best[i] >> 32));
                const float score = score_of(set, first + i, highest);
                if (score >= set.score_floor) {
                    const int class_id = static_cast<int>(~static_cast<unsigned>(best[i]));
                    keys[atomicAdd(&n_candidates, 1)] = candidate(score, first + i, class_id);
                }
            }
        }
        __syncthreads();
    }
    return n_candidates;
}

// The key that just so many of the n reach, 0 < wanted < n.
__device__ unsigned long long find_cut(const unsigned long long* keys, int n, int wanted) {
    __shared__ int n_above[3];
    if (threadIdx.x == 0) {
        n_above[0] = n_above[1] = n_above[2] = 0;
    }
    __syncthreads();
    unsigned long long low = 0, high = 1ull << 63;  // no score is negative: no key reaches that
    for (int slot = 0; high - low > 1; slot = (slot + 1) % 3) {
        const unsigned long long middle = low + (high - low) / 2;
        int n_own = 0;
        for (int i = threadIdx.x; i < n; i += blockDim.x) {
            n_own += keys[i] >= middle;
        }
        if (n_own) {
            atomicAdd(&n_above[slot], n_own);
        }
        __syncthreads();
        const int found = n_above[slot];
        if (found == wanted) {
            return middle;
        }
        if (found > wanted) {
            low = middle;
        } else {
            high = middle;
        }
        if (threadIdx.x == 0) {
            n_above[(slot + 2) % 3] = 0;  // read by all before this barrier, filled after the next
        }
    }
    return high;
}

// Takes the strongest of n candidates into `selected`, in any order; returns how many.
__device__ int take_strongest(const unsigned long long* keys, int n, int wanted, unsigned long long* selected) {
    __shared__ int n_selected;
    if (threadIdx.x == 0) {
        n_selected = 0;
    }
    const unsigned long long cut = n > wanted ? find_cut(keys, n, wanted) : 0;
    __syncthreads();
    for (int i = threadIdx.x; i < n; i += blockDim.x) {
        if (keys[i] >= cut) {
            selected[atomicAdd(&n_selected, 1)] = keys[i];
        }
    }
    __syncthreads();
    return n_selected;
}

template <typename Real>
__device__ Real shared_length(Extent a, Extent b) {
    const Real difference = static_cast<Real>(b.low) - static_cast<Real>(a.low);
    const Real from_a = static_cast<Real>(a.size) - (difference > 0 ? difference : 0);
    const Real from_b = static_cast<Real>(b.size) - (difference < 0 ? -difference : 0);
    return from_a < from_b ? from_a : from_b;
}

// As OpenCV's NMSBoxesBatched, which takes boxes as doubles and compares overlaps as floats.
__device__ bool is_duplicate_exactly(Extent ax, Extent ay, Extent bx, Extent by, bool is_same_class, float limit) {
    constexpr double NOTHING = 2.220446049250313e-16;
    const double areas = static_cast<double>(ax.size) * ay.size + static_cast<double>(bx.size) * by.size;
    if (areas <= NOTHING) {
        return 1.0f > limit;
    }
    double overlap = 0.0;
    if (is_same_class && ax.size > 0 && ay.size > 0 && bx.size > 0 && by.size > 0) {
        const double width = shared_length<double>(ax, bx), height = shared_length<double>(ay, by);
        overlap = width > 0 && height > 0 ? width * height : 0.0;
    }
    return !(1.0f - static_cast<float>(1.0 - overlap / (areas - overlap)) <= limit);
}

// Is the weaker of two boxes a duplicate of the stronger? Doubles are slow on most GPUs: only close calls need them.
__device__ bool is_duplicate(const Box& a, const Box& b, float lowest, bool is_same_class, float limit) {
    constexpr float CLOSE = 1e-3f;
    const Extent ax{a.x1 - lowest, a.x2 - a.x1}, ay{a.y1 - lowest, a.y2 - a.y1};
    const Extent bx{b.x1 - lowest, b.x2 - b.x1}, by{b.y1 - lowest, b.y2 - b.y1};
    const float areas = ax.size * ay.size + bx.size * by.size;
    const bool is_usual = ax.size > 0 && ay.size > 0 && bx.size > 0 && by.size > 0 && areas > 1e-6f && areas < 1e30f;
    if (is_usual) {
        if (!is_same_class) {
            return false;
        }
        const float width = shared_length<float>(ax, bx), height = shared_length<float>(ay, by);
        const float overlap = width > 0 && height > 0 ? width * height : 0.0f, either = areas - overlap;
        if (overlap < (limit - CLOSE) * either) {
            return false;
        }
        if (overlap > (limit + CLOSE) * either) {
            return true;
        }
    }
    return is_duplicate_exactly(ax, ay, bx, by, is_same_class, limit);
}

}  // namespace

// One block for each canvas of the batch, of any number of threads; made for (256, 1, 1). scratch has room for
// set.n_predictions numbers for each canvas.
extern "C" __global__ void find_detections(const PredictionSet set, unsigned long long* scratch,
                                           FoundDetections* found) {
    // None of these is needed any more when the next one is.
    __shared__ union {
        unsigned long long best[ROWS_AT_ONCE];
        unsigned long long selected[MAX_DETECTIONS];
        unsigned duplicates[N_WORDS][MAX_DETECTIONS];  // for each box, which of the weaker ones are its duplicates
    } memory;
    __shared__ Box boxes[MAX_DETECTIONS];
    __shared__ float scores[MAX_DETECTIONS];
    __shared__ int class_ids[MAX_DETECTIONS];
    __shared__ unsigned dropped[N_WORDS], kept[N_WORDS];
    __shared__ unsigned lowest_number;
    const int thread = threadIdx.x, n_threads = blockDim.x;
    unsigned long long* keys = scratch + static_cast<long long>(blockIdx.x) * set.n_predictions;
    const int n_candidates = find_candidates(set, memory.best, keys);
    const int n = take_strongest(keys, n_candidates, min(set.max_candidates, MAX_DETECTIONS), memory.selected);
    const int n_words = (n + WORD - 1) / WORD;

    if (thread == 0) {
        lowest_number = 0xffffffff;
    }
    for (int word = thread; word < n_words; word += n_threads) {
        dropped[word] = 0;
    }
    __syncthreads();
    for (int i = thread; i < n; i += n_threads) {
        const unsigned long long key = memory.selected[i];
        int rank = 0;
        for (int other = 0; other < n; ++other) {
            rank += memory.selected[other] > key;
        }
        const Box box = box_of(set, prediction_in(key));
        boxes[rank] = box;
        scores[rank] = fminf(score_in(key), 1.0f);
        class_ids[rank] = class_in(key);
        if (is_finite(box.x1) && is_finite(box.y1) && is_finite(box.x2) && is_finite(box.y2)) {
            atomicMin(&lowest_number, ordered(fminf(box.x1, box.y1)));
        } else {
            atomicOr(&dropped[rank / WORD], 1u << rank % WORD);
        }
    }
    __syncthreads();

    const bool is_suppressed = set.nms_iou >= 0;
    const float lowest = from_ordered(lowest_number);
    for (int unit = thread; is_suppressed && unit < n * n_words; unit += n_threads) {
        const int stronger = unit % n, word = unit / n, first = max(word * WORD, stronger + 1);
        unsigned bits = 0;
        for (int weaker = first; weaker < min((word + 1) * WORD, n); ++weaker) {
            const bool is_same_class = class_ids[stronger] == class_ids[weaker];
            if (is_duplicate(boxes[stronger], boxes[weaker], lowest, is_same_class, set.nms_iou)) {
                bits |= 1u << weaker % WORD;
            }
        }
        memory.duplicates[word][stronger] = bits;
    }
    __syncthreads();

    // Within a word one box depends on the one before; what they make of later words is then known at once.
    for (int word = 0; word < n_words; ++word) {
        if (thread == 0) {
            unsigned gone = dropped[word], alive = 0;
            for (int i = word * WORD; i < min((word + 1) * WORD, n); ++i) {
                const unsigned bit = 1u << i % WORD;
                if (!(gone & bit)) {
                    alive |= bit;
                    gone |= is_suppressed ? memory.duplicates[word][i] : 0;
                }
            }
            kept[word] = alive;
        }
        __syncthreads();
        for (int unit = thread; is_suppressed && unit < (n_words - word - 1) * WORD; unit += n_threads) {
            const int later = word + 1 + unit / WORD, i = word * WORD + unit % WORD;
            if (kept[word] >> unit % WORD & 1) {
                atomicOr(&dropped[later], memory.duplicates[later][i]);
            }
        }
        __syncthreads();
    }

    for (int i = thread; i < n; i += n_threads) {
        Box& box = boxes[i];
        box.x1 = fminf(fmaxf(box.x1, 0.0f), set.width);
        box.y1 = fminf(fmaxf(box.y1, 0.0f), set.height);
        box.x2 = fminf(fmaxf(box.x2, 0.0f), set.width);
        box.y2 = fminf(fmaxf(box.y2, 0.0f), set.height);
        if (!(box.x2 > box.x1 && box.y2 > box.y1)) {
            atomicOr(&dropped[i / WORD], 1u << i % WORD);
        }
    }
    __syncthreads();
    FoundDetections& result = found[blockIdx.x];
    for (int i = thread; i < n; i += n_threads) {
        const unsigned bit = 1u << i % WORD;
        if (kept[i / WORD] & ~dropped[i / WORD] & bit) {
            int place = __popc(kept[i / WORD] & ~dropped[i / WORD] & (bit - 1));
            for (int word = 0; word < i / WORD; ++word) {
                place += __popc(kept[word] & ~dropped[word]);
            }
            result.boxes[place][0] = boxes[i].x1;
            result.boxes[place][1] = boxes[i].y1;
            result.boxes[place][2] = boxes[i].x2;
            result.boxes[place][3] = boxes[i].y2;
            result.scores[place] = scores[i];
            result.class_ids[place] = class_ids[i];
        }
    }
    if (thread == 0) {
        int total = 0;
        for (int word = 0; word < n_words; ++word) {
            total += __popc(kept[word] & ~dropped[word]);
        }
        result.n = total;
    }
}
