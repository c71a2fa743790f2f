// Canonical or posed Gaussians to splat records and tile counts, one thread each; the last block of a picture to
// finish turns the counts into the starts of the tiles' lists, which saves a launch.
#include "harmonics.cuh"
#include "project.cuh"
#include "tiles.cuh"

template <bool SURFEL>
DEVICE Splat make_splat(const Frame& f, const Drawable& s, const Run& run, const float* params, int k) {
    constexpr int AXES = SURFEL ? 2 : 3, PLANES = SURFEL ? 4 : 3;
    const Posed g = pose_gaussian<AXES>(f, s, run, params, blockIdx.z, k);
    Splat splat;
    if constexpr (SURFEL) splat = project_surfel(g, params, s.antialiased);
    else splat = project_gaussian(g, params, s.antialiased);
    const int i = run.first + k;
    float4* record = f.records + ((size_t)blockIdx.z * f.num_records + i) * PLANES;
    Vec colour = {0, 0, 0};
    if (splat.depth > 0) {
        colour = seen_colour(s, params, i, g);
        if (!(fabsf(colour.x) + fabsf(colour.y) + fabsf(colour.z) < HUGE_NUMBER)) splat.depth = 0;
    }
    if (splat.depth > 0) {
        record[0] = make_float4(splat.mean_x, splat.mean_y, splat.a, splat.b);
        record[1] = make_float4(splat.c, splat.log2_opacity, fmaxf(colour.x, 0), fmaxf(colour.y, 0));
        if (SURFEL) record[3] = make_float4(splat.tilt_x, splat.tilt_y, 0, 0);
    }
    record[2] = make_float4(
        fmaxf(colour.z, 0), __int_as_float(splat.columns), __int_as_float(splat.rows), splat.depth
    );
    return splat;
}

// Grid: the blocks of all runs of the drawable that has most, at least one; batch in z.
template <bool SURFEL>
DEVICE void place(const Frame& f) {
    __shared__ int last;
    const int picture = blockIdx.z, block = blockIdx.x;
    const Drawable& s = f.drawables[picture];
    const float* params = f.params + (size_t)picture * f.params_stride;
    int r = 0;
    while (r + 1 < s.num_runs && block >= s.runs[r + 1].first_block) ++r;
    Splat splat;
    splat.depth = 0;
    splat.columns = splat.rows = 0;
    if (s.num_runs > 0) {
        const int k = (block - s.runs[r].first_block) * THREADS + threadIdx.x;
        if (k < s.runs[r].count) splat = make_splat<SURFEL>(f, s, s.runs[r], params, k);
    }
    int* counts = f.tile_counts + (size_t)picture * f.tiles_x * f.tiles_y;
    visit_tiles(splat.depth > 0, splat.columns, splat.rows, 0, f.tiles_x, [&](int tile, u64) {
        atomicAdd(counts + tile, 1);
    });
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) {
        last = atomicAdd(f.tickets + picture, 1) == (int)gridDim.x - 1;
        if (last) f.tickets[picture] = 0;
    }
    __syncthreads();
    if (!last) return;
    __threadfence();
    start_lists(f, picture);
}

KERNEL(THREADS, 4) place_gaussians(const __grid_constant__ Frame f) { place<false>(f); }
KERNEL(THREADS, 3) place_surfels(const __grid_constant__ Frame f) { place<true>(f); }

// Writes every splat into the lists of its tiles, in any order: drawing sorts them. Taking places from the back of
// a list leaves the counts at zero for the next frame. What does not fit into the capacity is left out; the host
// sees it from the number of pairs.
template <int PLANES>
DEVICE void list(const Frame& f) {
    const int picture = blockIdx.z, i = blockIdx.x * THREADS + threadIdx.x, tiles = f.tiles_x * f.tiles_y;
    float4 tail = make_float4(0, 0, 0, 0);
    if (i < f.drawables[picture].num_gaussians) {
        tail = f.records[((size_t)picture * f.num_records + i) * PLANES + 2];
    }
    int* counts = f.tile_counts + (size_t)picture * tiles;
    const int* starts = f.tile_starts + (size_t)picture * (tiles + 1);
    u64* keys = f.keys + (size_t)picture * f.capacity;
    const u64 key = (u64)__float_as_uint(tail.w) << 32 | (u32)i;
    visit_tiles(tail.w > 0, __float_as_int(tail.y), __float_as_int(tail.z), key, f.tiles_x, [&](int tile, u64 k) {
        const u32 slot = (u32)starts[tile] + (u32)(atomicSub(counts + tile, 1) - 1);
        if (slot < (u32)f.capacity) keys[slot] = k;
    });
}

KERNEL(THREADS, 6) list_gaussians(const __grid_constant__ Frame f) { list<3>(f); }
KERNEL(THREADS, 6) list_surfels(const __grid_constant__ Frame f) { list<4>(f); }
