// What a frame's kernels share: the structures behind their one argument, mirrored in render/cuda/layout.py.
#pragma once

#ifndef VISAVIS_EMULATED
#define DEVICE __device__ __forceinline__
// `blocks`: that a multiprocessor should hold at once; the registers that leaves are those without spills.
#define KERNEL(threads, blocks) extern "C" __global__ void __launch_bounds__(threads, blocks)
#endif

typedef unsigned int u32;
typedef unsigned long long u64;

// One Gaussian's way to hang on the rig; a run is a stretch of Gaussians with the same.
enum Binding { POSED, TRIANGLE, VERTEX, VERTEX_FIXED, SKINNING };
enum Layout { RGB8, YUV420, NV12, FLOAT_RGBA };

struct Run {
    int binding;       // enum Binding
    int first, count;  // Gaussians
    int first_block;   // of place_gaussians; a run starts at a block's first thread
    int influences;    // joints a point of a skinning run hangs on
    int unused;
    const int* index;             // [count] triangles or vertices of the rig
    const int* joints;            // [influences, count], skinning
    const float* weights;         // [influences, count]
    const float* basis;           // [E, count * 3] metres, skinning; or null
};

struct Drawable {  // what a picture shows: one avatar, or one set of posed Gaussians
    // Gaussians, canonical or posed
    const float* means;       // [N, 3]
    const float* quats;       // [N, 4]
    const float* log_scales;  // [N, 3] or [N, 2]
    const float* logits;      // [N]
    const float* sh;          // Gaussian i, term t, channel c: i * sh_row + (3 * t + c) * sh_column
    const float* sh_quats;    // [N, 4] or null
    // deformation
    const int* deformed;           // [N] row of the deltas, or -1; null when there is none
    const float* d_means;          // [C, M, 3] or null, likewise the following
    const float* d_quats;          // [C, M, 4]
    const float* d_log_scales;     // [C, M, axes]
    const float* d_logits;         // [C, M]
    const float* d_sh0;            // [C, M, 3]
    // rig
    const float* vertices;           // [3, V] template
    const float* basis;              // [E + P, 3, V] expressions, then pose correctives
    const float* joints;             // [J, 3] template
    const float* joints_expression;  // [J * 3, E] or null
    const int* parents;              // [J]
    const int* depths;               // [J] in the tree, the root's is 0
    const int* skin_joints;          // [influences, V]
    const float* skin_weights;       // [influences, V]
    const int* faces;                // [F, 3]
    const float* rest_inverse;       // [F, 4] inverse orientation of the rest pose; null for SH degree 0
    const Run* runs;
    const float* layer_weights[MAX_LAYERS];  // condition [D] to coefficients [C]: [D, H], [H, K], [K, C]
    const float* layer_biases[MAX_LAYERS];   // [H], [K], [C]
    int layer_widths[MAX_LAYERS];            // H, K, C
    int num_layers, clamped, num_condition;  // no layers when there is no deformation
    int num_gaussians, num_runs, terms, sh_row, sh_column, antialiased;
    int num_coefficients, num_deltas;
    int num_vertices, num_expressions, num_pose_rows, num_joints, num_levels, influences;
};

struct Frame {
    const Drawable* drawables;    // [B]
    const float* params;    // [B, params_stride]: see the offsets below
    float* vertices;        // [B, vertices_stride] posed, [V, 3]
    float* joints;          // [B, joints_stride] [J, JOINT_FLOATS]: [3, 4] transform, quaternion
    float* coefficients;    // [B, coefficients_stride] of the deformation
    float4* records;        // [B, N, 3 or 4], see project.cuh
    int* tile_counts;       // [B, tiles] zero between frames
    int* tile_starts;       // [B, tiles + 1]
    int* tickets;           // [B] zero between frames
    int* pairs;             // [B] Gaussian-tile pairs wanted
    u64* keys;              // [B, capacity] depth bits, index: lists of the tiles one behind the other
    const unsigned char* background;  // [H, W, 3]
    unsigned char* picture;           // [B, picture_stride] bytes
    int params_stride, vertices_stride, joints_stride, coefficients_stride;
    int num_records;  // most Gaussians of a drawable
    int capacity;
    int width, height, tiles_x, tiles_y;
    int layout;  // enum Layout
    int unused;
    long long picture_stride;  // bytes
    float yuv[12];  // rows Y, U, V of red, green, blue, offset, for RGB in 0..255
};

// Offsets into a picture's parameters: camera, background, then what the rig takes.
enum Params {
    ROTATION = 0, TRANSLATION = 9, FOCAL = 12, CENTRE = 14, SIZE = 16, LIMITS = 18, POSITION = 22,
    BACKGROUND = 25, HAS_PICTURE = 28, ROOT = 29, POSE = 32,  // then the condition, expression first, after 3 J floats of pose
};

#define TILE 16
#define JOINT_FLOATS 16
#define MAX_JOINTS 128
#define THREADS 256
#define FULL_WARP 0xffffffffu
