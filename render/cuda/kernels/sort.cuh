// A tile's list in order, by its own block: in shared memory, or in place by merging what shared memory holds.
#pragma once
#include "maths.cuh"

#define SORT_CAPACITY 2048  // keys sorted in shared memory

// One step of a bitonic sort in the form whose comparisons all put the smaller key first, so that any number of
// keys can be sorted: what lies behind the last counts as infinite. Keys `stride` apart are compared, or in the
// first step of a merge those that mirror each other.
DEVICE void compare_step(u64* keys, int num, int padded, int stride, bool mirrored) {
    for (int p = threadIdx.x; p < padded / 2; p += THREADS) {
        const int at = p & (stride - 1), i = 2 * p - at;
        const int j = mirrored ? i + 2 * (stride - at) - 1 : i + stride;
        if (j < num && keys[j] < keys[i]) {
            const u64 smaller = keys[j];
            keys[j] = keys[i];
            keys[i] = smaller;
        }
    }
}

DEVICE int padded_size(int num) {
    int padded = 2;
    while (padded < num) padded <<= 1;
    return padded;
}

// Keys in shared memory. A warp's 32 pairs of a narrow step are 64
// neighbours, so that the block need not wait between those.
DEVICE void sort_shared(u64* keys, int num) {
    const int padded = padded_size(num);
    bool was_wide = true;
    for (int half = 1; half < padded; half <<= 1) {
        for (int stride = half; stride; stride >>= 1) {
            const bool wide = stride > 32;
            if (was_wide || wide) __syncthreads();
            else __syncwarp();
            was_wide = wide;
            compare_step(keys, num, padded, stride, stride == half);
        }
    }
    __syncthreads();
}

// Sorts a list of at most SORT_CAPACITY into `shared`, a longer one in place; where the result is.
DEVICE const u64* sort_list(u64* list, int num, u64* shared) {
    if (num <= SORT_CAPACITY) {
        for (int i = threadIdx.x; i < num; i += THREADS) shared[i] = list[i];
        sort_shared(shared, num);
        return shared;
    }
    const int padded = padded_size(num);
    for (int half = SORT_CAPACITY / 2; half < padded; half <<= 1) {
        for (int stride = half; stride >= SORT_CAPACITY; stride >>= 1) {
            compare_step(list, num, padded, stride, stride == half);
            __syncthreads();
        }
        const bool first = half < SORT_CAPACITY;
        for (int base = 0; base < num; base += SORT_CAPACITY) {
            const int count = min(num - base, SORT_CAPACITY);
            for (int i = threadIdx.x; i < count; i += THREADS) shared[i] = list[base + i];
            if (first) {
                sort_shared(shared, count);
            } else {  // the rest of the merge: no mirrored step
                for (int stride = SORT_CAPACITY / 2; stride; stride >>= 1) {
                    __syncthreads();
                    compare_step(shared, count, SORT_CAPACITY, stride, false);
                }
                __syncthreads();
            }
            for (int i = threadIdx.x; i < count; i += THREADS) list[base + i] = shared[i];
            __syncthreads();
        }
    }
    return list;
}
