// The tiles a splat reaches, and where each tile's list begins.
#pragma once
#include "maths.cuh"

// Calls visit(tile, key) for the tiles of each lane's box; a lane with many shares them with its warp, because
// one thread after the other would wait for thousands of atomics. All lanes of a warp take part.
template <class Visit>
DEVICE void visit_tiles(bool drawn, int columns, int rows, u64 key, int tiles_x, Visit visit) {
    const int first_x = (columns & 0xffff) / TILE, first_y = (rows & 0xffff) / TILE;
    const int across = (columns >> 16) / TILE - first_x + 1, down = (rows >> 16) / TILE - first_y + 1;
    const int num = drawn ? across * down : 0, first = first_y * tiles_x + first_x;
    if (num <= 32) {
        for (int y = 0, tile = first; y < down && num; ++y, tile += tiles_x) {
            for (int x = 0; x < across; ++x) visit(tile + x, key);
        }
    }
    for (u32 large = __ballot_sync(FULL_WARP, num > 32); large; large &= large - 1) {
        const int lane = __ffs(large) - 1;
        const int its_num = __shfl_sync(FULL_WARP, num, lane), its_first = __shfl_sync(FULL_WARP, first, lane);
        const int its_across = __shfl_sync(FULL_WARP, across, lane);
        const u64 its_key = __shfl_sync(FULL_WARP, key, lane);
        for (int k = threadIdx.x % 32; k < its_num; k += 32) {
            visit(its_first + k / its_across * tiles_x + k % its_across, its_key);
        }
    }
}

// Inclusive sum over the threads of a block of THREADS; `warps` is scratch of the block.
template <class T>
DEVICE T block_sum_to_here(T value, T* warps) {
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    for (int step = 1; step < 32; step <<= 1) {
        T other = __shfl_up_sync(FULL_WARP, value, step);
        if (lane >= step) value += other;
    }
    __syncthreads();  // the scratch may still be read from before
    if (lane == 31) warps[warp] = value;
    __syncthreads();
    for (int w = 0; w < warp; ++w) value += warps[w];
    return value;
}

// Counts of a picture's tiles -> where each list begins, by one block. More than an int holds stays at its limit.
DEVICE void start_lists(const Frame& f, int picture) {
    __shared__ long long warps[THREADS / 32];
    const int tiles = f.tiles_x * f.tiles_y, each = (tiles + THREADS - 1) / THREADS;
    const int first = min((int)threadIdx.x * each, tiles), last = min(first + each, tiles);
    const int* counts = f.tile_counts + (size_t)picture * tiles;
    int* starts = f.tile_starts + (size_t)picture * (tiles + 1);
    long long sum = 0;
    for (int t = first; t < last; ++t) sum += __ldcg(counts + t);  // other blocks wrote them: not through L1
    const long long limit = 0x7fffffff, end = block_sum_to_here(sum, warps);
    long long start = end - sum;
    for (int t = first; t < last; ++t) {
        starts[t] = (int)min(start, limit);
        start += __ldcg(counts + t);
    }
    if (threadIdx.x == THREADS - 1) {
        starts[tiles] = (int)min(end, limit);
        f.pairs[picture] = (int)min(end, limit);
    }
}
