// A kernel for tests of launches: what it was given, in order, as 64-bit numbers.

struct Pair {
    float first;
    int second;
};

#pragma GCC visibility push(default)

extern "C" {

extern const unsigned long long simulated_describe_sizes[] = {sizeof(long long*), sizeof(unsigned char), sizeof(Pair),
                                                              sizeof(long long), 0};

void simulated_describe(unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x, unsigned block_y,
                        unsigned block_z, void** arguments) {
    long long* target = *static_cast<long long**>(arguments[0]);
    const Pair pair = *static_cast<Pair*>(arguments[2]);
    const long long values[] = {grid_x,  grid_y,  grid_z,
                                block_x, block_y, block_z,
                                *static_cast<unsigned char*>(arguments[1]),
                                static_cast<long long>(pair.first * 4),
                                pair.second,
                                *static_cast<long long*>(arguments[3])};
    for (const long long value : values) {
        *target++ = value;
    }
}

extern const unsigned long long simulated_add_sizes[] = {sizeof(unsigned char*), sizeof(int), sizeof(unsigned char), 0};

// Adds a number to each of n bytes.
void simulated_add(unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, void** arguments) {
    unsigned char* target = *static_cast<unsigned char**>(arguments[0]);
    for (int i = 0; i < *static_cast<int*>(arguments[1]); ++i) {
        target[i] += *static_cast<unsigned char*>(arguments[2]);
    }
}

}
