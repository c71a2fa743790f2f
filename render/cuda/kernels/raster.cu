// Lists of tiles to pixels: a block a tile, a thread a pixel, a warp 8x4 of them. The block sorts its list, loads
// the splats in batches, and each warp blends those that reach its pixels.
#include "pixels.cuh"
#include "sort.cuh"

#define WARP_WIDTH 8
#define WARP_HEIGHT 4

// Bit w is set when the splat may reach a pixel of warp w: its box, and for a 3D splat its ellipse, too.
template <bool SURFEL>
DEVICE u32 warps_reached(float4 r0, float4 r1, float4 r2, int x0, int y0) {
    const int columns = __float_as_int(r2.y), rows = __float_as_int(r2.z);
    const int left = max((columns & 0xffff) - x0, 0), right = min((columns >> 16) - x0, TILE - 1);
    const int top = max((rows & 0xffff) - y0, 0), bottom = min((rows >> 16) - y0, TILE - 1);
    const float lean_y = -0.5f * r0.w / r1.x, lean_x = -0.5f * r0.w / r0.z;
    u32 mask = 0;
#pragma unroll 1
    for (int warp = 0; warp < THREADS / 32; ++warp) {
        const int wx = warp % 2 * WARP_WIDTH, wy = warp / 2 * WARP_HEIGHT;
        bool reached = left < wx + WARP_WIDTH && right >= wx && top < wy + WARP_HEIGHT && bottom >= wy;
        if (!SURFEL) {
            // The exponent falls from the mean in every direction: over a rectangle beside it, it is highest on
            // one of the two sides that face the mean.
            const float low_x = (float)(x0 + wx) - r0.x, high_x = low_x + (WARP_WIDTH - 1);
            const float low_y = (float)(y0 + wy) - r0.y, high_y = low_y + (WARP_HEIGHT - 1);
            const float x = clamped(0, low_x, high_x), y = clamped(0, low_y, high_y);
            const float best_y = clamped(lean_y * x, low_y, high_y), best_x = clamped(lean_x * y, low_x, high_x);
            const float at_x = r0.z * x * x + (r0.w * x + r1.x * best_y) * best_y;
            const float at_y = r0.z * best_x * best_x + (r0.w * best_x + r1.x * y) * y;
            // Rounding of terms that cancel must not lose a pixel: pixels are tested one by one when drawn.
            const float slack = 0.05f - 2e-6f * (r0.z * (x * x + best_x * best_x) + r1.x * (y * y + best_y * best_y));
            reached = reached && r1.y + fmaxf(at_x, at_y) + slack >= LOG2_ALPHA_MIN;
        }
        mask |= (u32)reached << warp;
    }
    return mask;
}

template <bool SURFEL>
DEVICE float log2_alpha(float4 r0, float4 r1, float4 r3, float dx, float dy) {
    const float across = r0.z * dx + r0.w * dy, down = r1.x * dy;
    if (!SURFEL) return across * dx + (down * dy + r1.y);
    const float perspective = r3.x * dx + (r3.y * dy + 1);
    const float in_plane = __fdividef(across * dx + down * dy, perspective * perspective);
    const float disc = (-0.5f * LOG2_E / SURFEL_LOW_PASS_PX2) * (dx * dx + dy * dy);
    return r1.y + fmaxf(in_plane, disc);
}

template <bool SURFEL>
DEVICE void draw(const Frame& f) {
    constexpr int PLANES = SURFEL ? 4 : 3;
    __shared__ u64 shared[SORT_CAPACITY];
    __shared__ float4 batch[PLANES][THREADS];
    __shared__ u32 reached[THREADS];

    const int picture = blockIdx.z, tiles = f.tiles_x * f.tiles_y, tile = blockIdx.x;
    const int x0 = tile % f.tiles_x * TILE, y0 = tile / f.tiles_x * TILE;
    const int thread = threadIdx.x, lane = thread % 32, warp = thread / 32;
    const int column = warp % 2 * WARP_WIDTH + lane % WARP_WIDTH;
    const int row = warp / 2 * WARP_HEIGHT + lane / WARP_WIDTH;
    const float px = kept((float)(x0 + column)), py = kept((float)(y0 + row));
    const bool inside = x0 + column < f.width && y0 + row < f.height;

    const int* starts = f.tile_starts + (size_t)picture * (tiles + 1) + tile;
    const int first = min(starts[0], f.capacity), num = min(starts[1], f.capacity) - first;
    u64* list = f.keys + (size_t)picture * f.capacity + first;
    const float4* records = f.records + (size_t)picture * f.num_records * PLANES;
    const u64* sorted = sort_list(list, num, shared);

    float red = 0, green = 0, blue = 0, through = inside ? 1 : 0;
    bool open = true;  // light still passes the tile
    for (int base = 0; base < num && open; base += THREADS) {
        u32 mask = 0;
        if (base + thread < num) {
            const float4* record = records + (size_t)(u32)sorted[base + thread] * PLANES;
            const float4 r0 = record[0], r1 = record[1], r2 = record[2];
            batch[0][thread] = r0;
            batch[1][thread] = r1;
            batch[2][thread] = r2;
            if (SURFEL) batch[PLANES - 1][thread] = record[PLANES - 1];
            mask = warps_reached<SURFEL>(r0, r1, r2, x0, y0);
        }
        reached[thread] = mask;
        __syncthreads();
        const int stop = min(num - base, THREADS);
        for (int group = 0; group < stop; group += 32) {
            if (!__any_sync(FULL_WARP, through >= EXIT_TRANSMITTANCE)) break;
            u32 splats = __ballot_sync(FULL_WARP, reached[group + lane] >> warp & 1);
            for (; splats; splats &= splats - 1) {
                const int k = group + __ffs(splats) - 1;
                const float4 r0 = batch[0][k], r1 = batch[1][k];
                const float4 r3 = SURFEL ? batch[PLANES - 1][k] : make_float4(0, 0, 0, 0);
                const float power = log2_alpha<SURFEL>(r0, r1, r3, px - r0.x, py - r0.y);
                if (power >= LOG2_ALPHA_MIN) {
                    const float weight = fminf(fast_exp2(power), ALPHA_MAX) * through;
                    red += weight * r1.z;
                    green += weight * r1.w;
                    blue += weight * batch[2][k].x;
                    through -= weight;
                }
            }
        }
        open = __syncthreads_or(through >= EXIT_TRANSMITTANCE);
    }
    write_tile(f, picture, x0, y0, column, row, inside, red, green, blue, inside ? through : 1);
}

KERNEL(THREADS, 5) draw_gaussians(const __grid_constant__ Frame f) { draw<false>(f); }
KERNEL(THREADS, 5) draw_surfels(const __grid_constant__ Frame f) { draw<true>(f); }
