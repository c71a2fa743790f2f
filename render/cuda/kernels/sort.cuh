// A tile's list in order, piece by piece: in shared memory, at most SORT_CAPACITY keys at a time.
#pragma once
#include "tiles.cuh"

#define SORT_CAPACITY 1024
#define BINS THREADS

struct Selection {  // scratch of a block
    int bins[BINS], warps[THREADS / 32], taken;
    u64 least, most;
};

// Bitonic sort in the form whose comparisons all put the smaller key first, so that any number of keys can be
// sorted: what lies behind the last counts as infinite. A warp's 32 pairs of a narrow step are 64 neighbours.
DEVICE void sort_keys(u64* keys, int num) {
    int padded = 2;
    while (padded < num) padded <<= 1;
    bool was_wide = true;
    for (int half = 1; half < padded; half <<= 1) {
        for (int stride = half; stride; stride >>= 1) {
            const bool wide = stride > 32;
            if (was_wide || wide) __syncthreads();
            else __syncwarp();
            was_wide = wide;
            for (int p = threadIdx.x; p < padded / 2; p += THREADS) {
                const int at = p & (stride - 1), i = 2 * p - at;
                const int j = stride == half ? i + 2 * (stride - at) - 1 : i + stride;
                if (j < num && keys[j] < keys[i]) {
                    const u64 smaller = keys[j];
                    keys[j] = keys[i];
                    keys[i] = smaller;
                }
            }
        }
    }
    __syncthreads();
}

// Least and greatest key of a list, by one pass of the block.
DEVICE void find_range(const u64* list, int num, Selection& s) {
    if (threadIdx.x == 0) s.least = ~0ull, s.most = 0;
    __syncthreads();
    u64 least = ~0ull, most = 0;
    for (int i = threadIdx.x; i < num; i += THREADS) {
        least = min(least, list[i]);
        most = max(most, list[i]);
    }
    atomicMin(&s.least, least);
    atomicMax(&s.most, most);
    __syncthreads();
}

// The next keys from `lower` on, sorted, at least one and at most SORT_CAPACITY; moves `lower` behind them.
// A histogram of the range finds a stretch of keys that fits; keys are unique, so one always does.
DEVICE int take_next(const u64* list, int num, u64& lower, u64* sorted, Selection& s) {
    u64 low = lower;
    const int bits = 64 - __clzll((long long)(s.most - low));
    int shift = max(bits - 8, 0), bins, taken;
    for (;;) {
        __syncthreads();
        s.bins[threadIdx.x] = 0;
        if (threadIdx.x == 0) s.taken = 0;
        __syncthreads();
        for (int i = threadIdx.x; i < num; i += THREADS) {
            const u64 key = list[i], bin = (key - low) >> shift;
            if (key >= low && bin < BINS) atomicAdd(s.bins + bin, 1);
        }
        __syncthreads();
        const int to_here = block_sum_to_here(s.bins[threadIdx.x], s.warps);
        bins = __syncthreads_count(to_here <= SORT_CAPACITY);
        if ((int)threadIdx.x == bins - 1) s.taken = to_here;
        __syncthreads();
        taken = s.taken;
        if (taken > 0) break;
        low += (u64)bins << shift;  // the first bin that is not empty has too many: look into it
        shift = max(shift - 8, 0);
    }
    __syncthreads();
    if (threadIdx.x == 0) s.taken = 0;
    __syncthreads();
    for (int i = threadIdx.x; i < num; i += THREADS) {
        const u64 key = list[i];
        if (key >= low && (key - low) >> shift < (u64)bins) sorted[atomicAdd(&s.taken, 1)] = key;
    }
    lower = low + ((u64)bins << shift);
    sort_keys(sorted, taken);
    return taken;
}
