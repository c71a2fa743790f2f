// Parameters to posed vertices: joints, blendshapes, pose correctives, linear blend skinning.
// Source: M. Loper et al., "SMPL: a skinned multi-person linear model", 2015, equations 2-10.
#include "maths.cuh"

#define RIG_VERTICES 32  // of a block: one a lane; its 8 warps share the rows of the basis between them
#define RIG_WARPS (THREADS / RIG_VERTICES)
#define MAX_ROWS 2048

// Rotation vector to matrix, row major; Taylor series below 0.05 rad, as render/rotations.py.
DEVICE void axis_angle_to_matrix(Vec a, float* m) {
    float square = dot(a, a), sine, cosine;
    bool small = square < 0.0025f;
    float angle = sqrtf(square);
    sincosf(0.5f * angle, &sine, &cosine);
    float s = small ? 1 - square / 6 * (1 - square / 20) : 2 * sine * cosine / angle;
    float c = small ? 0.5f - square / 24 * (1 - square / 30) : 2 * sine * sine / square;
    float d = 1 - c * square;
    m[0] = c * a.x * a.x + d;       m[1] = c * a.x * a.y - s * a.z; m[2] = c * a.x * a.z + s * a.y;
    m[3] = c * a.y * a.x + s * a.z; m[4] = c * a.y * a.y + d;       m[5] = c * a.y * a.z - s * a.x;
    m[6] = c * a.z * a.x - s * a.y; m[7] = c * a.z * a.y + s * a.x; m[8] = c * a.z * a.z + d;
}

// Rest-to-world [3, 4] of every joint into `transforms`, local rotations into `rotations`; whole block.
DEVICE void pose_joints(const Drawable& s, const float* params, float* rotations, float* rest, float* transforms) {
    const int thread = threadIdx.x, joints = s.num_joints;
    const float* expression = params + POSE + 3 * joints;
    for (int j = thread; j < joints; j += THREADS) {
        axis_angle_to_matrix(vec(params + POSE + 3 * j), rotations + 9 * j);
    }
    for (int i = thread / 32; i < 3 * joints; i += THREADS / 32) {  // a warp a coordinate
        float sum = 0;
        if (s.joints_expression) {
            for (int e = thread % 32; e < s.num_expressions; e += 32) {
                sum += expression[e] * s.joints_expression[i * s.num_expressions + e];
            }
            for (int step = 16; step; step >>= 1) sum += __shfl_xor_sync(FULL_WARP, sum, step);
        }
        if (thread % 32 == 0) rest[i] = s.joints[i] + sum;
    }
    __syncthreads();
    // `transforms` holds [world rotation | world position] until all levels are done.
    for (int level = 0; level < s.num_levels; ++level) {
        for (int j = thread; j < joints; j += THREADS) {
            if (s.depths[j] != level) continue;
            const float* own = rotations + 9 * j;
            float* out = transforms + 12 * j;
            Vec at = vec(rest + 3 * j);
            if (level == 0) {
                for (int r = 0; r < 3; ++r) {
                    for (int c = 0; c < 3; ++c) out[4 * r + c] = own[3 * r + c];
                    out[4 * r + 3] = rest[3 * j + r] + params[ROOT + r];
                }
                continue;
            }
            const float* parent = transforms + 12 * s.parents[j];
            Vec offset = at - vec(rest + 3 * s.parents[j]);
            for (int r = 0; r < 3; ++r) {
                Vec row = vec(parent + 4 * r);
                for (int c = 0; c < 3; ++c) out[4 * r + c] = dot(row, {own[c], own[3 + c], own[6 + c]});
                out[4 * r + 3] = parent[4 * r + 3] + dot(row, offset);
            }
        }
        __syncthreads();
    }
    for (int i = thread; i < 3 * joints; i += THREADS) {
        float* row = transforms + 4 * i;  // joint i / 3, row i % 3
        row[3] -= dot(vec(row), vec(rest + i / 3 * 3));
    }
    __syncthreads();
}

// A condition to the weights of the deltas: one layer, clamped or not, or two or three with tanh between; whole block.
// The rules of render/deformations/coefficients.py.
DEVICE void write_coefficients(const Drawable& s, const float* condition, float* coefficients) {
    __shared__ float hidden[MAX_LAYERS - 1][MAX_HIDDEN];
    const float* from = condition;
    int rows = s.num_condition;
    for (int l = 0; l < s.num_layers; ++l) {
        const bool last = l == s.num_layers - 1;
        const int columns = s.layer_widths[l];
        float* to = last ? coefficients : hidden[l];
        for (int k = threadIdx.x; k < columns; k += THREADS) {
            float sum = s.layer_biases[l][k];
            for (int r = 0; r < rows; ++r) sum += from[r] * s.layer_weights[l][r * columns + k];
            to[k] = !last ? tanhf(sum) : s.clamped ? clamped(sum, 0, 1) : sum;
        }
        __syncthreads();
        from = to;
        rows = columns;
    }
}

// What the bindings need: joint transforms with quaternions in one hemisphere; weights of the deltas.
DEVICE void write_tables(const Frame& f, const Drawable& s, const float* params, const float* transforms) {
    float* joints = f.joints + (size_t)blockIdx.z * f.joints_stride;
    float* coefficients = f.coefficients + (size_t)blockIdx.z * f.coefficients_stride;
    for (int j = threadIdx.x; j < s.num_joints; j += THREADS) {
        const float* t = transforms + 12 * j;
        const float* root = transforms;
        Quat first = quaternion({vec(root), vec(root + 4), vec(root + 8)});
        Quat q = quaternion({vec(t), vec(t + 4), vec(t + 8)});
        if (q.w * first.w + q.x * first.x + q.y * first.y + q.z * first.z < 0) q = scaled(q, -1);
        float* out = joints + JOINT_FLOATS * j;
        for (int i = 0; i < 12; ++i) out[i] = t[i];
        out[12] = q.w; out[13] = q.x; out[14] = q.y; out[15] = q.z;
    }
    write_coefficients(s, params + POSE + 3 * s.num_joints, coefficients);
}

// Grid: blocks of RIG_VERTICES vertices and one block for the tables; batch in z.
KERNEL(THREADS, 3) pose_rig(const __grid_constant__ Frame f) {
    __shared__ float rotations[MAX_JOINTS * 9], rest[MAX_JOINTS * 3], transforms[MAX_JOINTS * 12];
    __shared__ float weights[MAX_ROWS], partial[RIG_WARPS][3][RIG_VERTICES];
    const Drawable& s = f.drawables[blockIdx.z];
    const float* params = f.params + (size_t)blockIdx.z * f.params_stride;
    pose_joints(s, params, rotations, rest, transforms);
    if (blockIdx.x == 0) return write_tables(f, s, params, transforms);

    const int lane = threadIdx.x % RIG_VERTICES, warp = threadIdx.x / RIG_VERTICES;
    const int vertex = (blockIdx.x - 1) * RIG_VERTICES + lane, vertices = s.num_vertices;
    if ((int)(blockIdx.x - 1) * RIG_VERTICES >= vertices) return;
    const int rows = s.num_expressions + s.num_pose_rows;
    for (int r = threadIdx.x; r < rows; r += THREADS) {
        int p = r - s.num_expressions;  // corrective weights: rotations less identity, of all joints but the root
        weights[r] = p < 0 ? params[POSE + 3 * s.num_joints + r] : rotations[9 + p] - (p % 9 % 4 == 0 ? 1 : 0);
    }
    __syncthreads();
    const int read = min(vertex, vertices - 1);
    float x = 0, y = 0, z = 0;
#pragma unroll 4
    for (int r = warp; r < rows; r += RIG_WARPS) {
        const float* row = s.basis + (size_t)r * 3 * vertices + read;
        float w = weights[r];
        x += w * row[0];
        y += w * row[vertices];
        z += w * row[2 * vertices];
    }
    partial[warp][0][lane] = x;
    partial[warp][1][lane] = y;
    partial[warp][2][lane] = z;
    __syncthreads();
    if (warp > 0 || vertex >= vertices) return;
    Vec point = {s.vertices[vertex], s.vertices[vertices + vertex], s.vertices[2 * vertices + vertex]};
    for (int w = 0; w < RIG_WARPS; ++w) {
        point = point + Vec{partial[w][0][lane], partial[w][1][lane], partial[w][2][lane]};
    }
    float blended[12] = {};
    for (int k = 0; k < s.influences; ++k) {
        float weight = s.skin_weights[k * vertices + vertex];
        const float* t = transforms + 12 * s.skin_joints[k * vertices + vertex];
#pragma unroll
        for (int i = 0; i < 12; ++i) blended[i] += weight * t[i];
    }
    float* out = f.vertices + (size_t)blockIdx.z * f.vertices_stride + 3 * vertex;
#pragma unroll
    for (int r = 0; r < 3; ++r) out[r] = dot(vec(blended + 4 * r), point) + blended[4 * r + 3];
}
