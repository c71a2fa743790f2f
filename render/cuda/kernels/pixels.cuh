// A finished tile over its background, in the layout that was asked for.
#pragma once
#include "maths.cuh"

DEVICE unsigned char to_byte(float v) { return (unsigned char)(int)(v + 0.5f); }

// Rows of bytes from shared memory to the picture, four at a time where both sides allow it.
DEVICE void copy_rows(const unsigned char* from, int row_bytes, int bytes, int rows, unsigned char* to, size_t stride) {
    const bool words = ((size_t)to | stride | row_bytes | bytes) % 4 == 0;
    if (words) {
        for (int i = threadIdx.x; i < row_bytes / 4 * rows; i += THREADS) {
            const int y = i / (row_bytes / 4), x = i % (row_bytes / 4) * 4;
            if (x < bytes) *(u32*)(to + y * stride + x) = *(const u32*)(from + y * row_bytes + x);
        }
        return;
    }
    for (int i = threadIdx.x; i < row_bytes * rows; i += THREADS) {
        const int y = i / row_bytes, x = i % row_bytes;
        if (x < bytes) to[y * stride + x] = from[i];
    }
}

DEVICE unsigned char mixed(const float* yuv, float r, float g, float b) {
    return to_byte(yuv[3] + yuv[0] * r + yuv[1] * g + yuv[2] * b);
}

// Whole block; `through` is the pixel's transmittance. Pixels outside the picture take part and are not written.
DEVICE void write_tile(
    const Frame& f, int picture, int x0, int y0, int column, int row, bool inside, float r, float g, float b,
    float through
) {
    __shared__ __align__(16) unsigned char bytes[3 * TILE * TILE];
    unsigned char* out = f.picture + (size_t)picture * f.picture_stride;
    const size_t width = f.width, pixel = (size_t)(y0 + row) * width + x0 + column;
    if (f.layout == FLOAT_RGBA) {
        if (inside) ((float4*)out)[pixel] = make_float4(r, g, b, 1 - through);
        return;
    }
    const float* params = f.params + (size_t)picture * f.params_stride;
    if (params[HAS_PICTURE] > 0) {
        const unsigned char* back = f.background + 3 * (inside ? pixel : 0);
        r = r * 255 + through * back[0];
        g = g * 255 + through * back[1];
        b = b * 255 + through * back[2];
    } else {
        r = (r + through * params[BACKGROUND]) * 255;
        g = (g + through * params[BACKGROUND + 1]) * 255;
        b = (b + through * params[BACKGROUND + 2]) * 255;
    }
    r = fminf(r, 255.0f);
    g = fminf(g, 255.0f);
    b = fminf(b, 255.0f);
    const int columns = min(TILE, f.width - x0), rows = min(TILE, f.height - y0);
    if (f.layout == RGB8) {
        unsigned char* target = bytes + 3 * (row * TILE + column);
        target[0] = to_byte(r);
        target[1] = to_byte(g);
        target[2] = to_byte(b);
        __syncthreads();
        copy_rows(bytes, 3 * TILE, 3 * columns, rows, out + 3 * (y0 * width + x0), 3 * width);
        return;
    }
    // 2x2 means: the neighbours lie in the same warp, one lane and one row of eight lanes away
    float mean_r = r, mean_g = g, mean_b = b;
    for (int step = 1; step <= 8; step += 7) {
        mean_r += __shfl_xor_sync(FULL_WARP, mean_r, step);
        mean_g += __shfl_xor_sync(FULL_WARP, mean_g, step);
        mean_b += __shfl_xor_sync(FULL_WARP, mean_b, step);
    }
    mean_r *= 0.25f;
    mean_g *= 0.25f;
    mean_b *= 0.25f;
    unsigned char* chroma = bytes + TILE * TILE;  // U then V, or both interleaved
    bytes[row * TILE + column] = mixed(f.yuv, r, g, b);
    if (column % 2 == 0 && row % 2 == 0) {
        const int at = row / 2 * (TILE / 2) + column / 2;
        const bool planar = f.layout == YUV420;
        chroma[planar ? at : 2 * at] = mixed(f.yuv + 4, mean_r, mean_g, mean_b);
        chroma[planar ? at + TILE * TILE / 4 : 2 * at + 1] = mixed(f.yuv + 8, mean_r, mean_g, mean_b);
    }
    __syncthreads();
    copy_rows(bytes, TILE, columns, rows, out + y0 * width + x0, width);
    unsigned char* below = out + width * f.height;
    if (f.layout == NV12) {
        copy_rows(chroma, TILE, columns, rows / 2, below + y0 / 2 * width + x0, width);
        return;
    }
    const size_t half = width / 2, at = y0 / 2 * half + x0 / 2;
    copy_rows(chroma, TILE / 2, columns / 2, rows / 2, below + at, half);
    copy_rows(chroma + TILE * TILE / 4, TILE / 2, columns / 2, rows / 2, below + half * (f.height / 2) + at, half);
}
