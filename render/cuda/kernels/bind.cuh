// A canonical Gaussian to world axes: deformation, then the binding. The rules of render/avatars/bindings.py.
#pragma once
#include "maths.cuh"

struct Posed {
    Vec mean;
    Quat quat;
    float log_scales[3];
    float logit;
    Vec sh0;     // first coefficient
    Quat turn;   // rest pose to world, for the harmonics
    bool turns;  // whether `turn` counts
};

template <int AXES>
DEVICE Posed load_gaussian(const Drawable& s, int i) {
    Posed g;
    g.mean = vec(s.means + 3 * i);
    const float* q = s.quats + 4 * i;
    g.quat = {q[0], q[1], q[2], q[3]};
#pragma unroll
    for (int k = 0; k < AXES; ++k) g.log_scales[k] = s.log_scales[AXES * i + k];
    g.logit = s.logits[i];
    const float* sh = s.sh + (size_t)i * s.sh_row;
    g.sh0 = {sh[0], sh[s.sh_column], sh[2 * s.sh_column]};
    g.turn = {1, 0, 0, 0};
    g.turns = false;
    if (s.sh_quats) {
        const float* t = s.sh_quats + 4 * i;
        g.turn = {t[0], t[1], t[2], t[3]};
        g.turns = true;
    }
    return g;
}

template <int AXES>
DEVICE void deform(const Drawable& s, const float* coefficients, int i, Posed& g) {
    const int m = s.deformed[i];
    if (m < 0) return;
    for (int k = 0; k < s.num_coefficients; ++k) {
        const float w = coefficients[k];
        if (w == 0) continue;  // most of them, on most frames
        const size_t row = (size_t)k * s.num_deltas + m;
        if (s.d_means) g.mean = g.mean + w * vec(s.d_means + 3 * row);
        if (s.d_quats) {
            const float* q = s.d_quats + 4 * row;
            g.quat = {g.quat.w + w * q[0], g.quat.x + w * q[1], g.quat.y + w * q[2], g.quat.z + w * q[3]};
        }
        if (s.d_log_scales) {
#pragma unroll
            for (int a = 0; a < AXES; ++a) g.log_scales[a] += w * s.d_log_scales[AXES * row + a];
        }
        if (s.d_logits) g.logit += w * s.d_logits[row];
        if (s.d_sh0) g.sh0 = g.sh0 + w * vec(s.d_sh0 + 3 * row);
    }
}

DEVICE Vec unit(Vec v) { return rsqrtf(fmaxf(dot(v, v), 1e-20f)) * v; }

// Source: S. Qian et al., "GaussianAvatars", 2024, section 3.2; render/rigs/frames.py.
template <int AXES>
DEVICE void bind_to_triangle(const Drawable& s, const float* vertices, int face, Posed& g) {
    const int* corners = s.faces + 3 * face;
    Vec a = vec(vertices + 3 * corners[0]);
    Vec first = vec(vertices + 3 * corners[1]) - a, second = vec(vertices + 3 * corners[2]) - a;
    Vec edge = unit(first), normal = unit(cross(edge, second)), third = unit(cross(edge, normal));
    float size = fmaxf(0.5f * (fabsf(dot(edge, first)) + fabsf(dot(third, second))), SMALLEST_SCALE_M);
    Mat axes = {{edge.x, normal.x, third.x}, {edge.y, normal.y, third.y}, {edge.z, normal.z, third.z}};
    Quat turn = quaternion(axes);
    g.mean = a + (1.0f / 3) * (first + second) + size * (axes * g.mean);
    g.quat = multiply(turn, g.quat);
    float log_size = logf(size);
#pragma unroll
    for (int k = 0; k < AXES; ++k) g.log_scales[k] += log_size;
    if (s.terms > 1) {
        const float* rest = s.rest_inverse + 4 * face;
        g.turn = multiply(turn, {rest[0], rest[1], rest[2], rest[3]});
        g.turns = true;
    }
}

// Joints blended by weights: the point's matrix linearly, its orientation as a normalised quaternion.
DEVICE Vec bind_to_joints(
    const float* table, const int* joints, const float* weights, int influences, int stride, Vec mean, Posed& g
) {
    float blend[JOINT_FLOATS] = {};
    for (int k = 0; k < influences; ++k) {
        const float w = weights[k * stride];
        const float* row = table + JOINT_FLOATS * joints[k * stride];
#pragma unroll
        for (int c = 0; c < JOINT_FLOATS; ++c) blend[c] += w * row[c];
    }
    Quat q = {blend[12], blend[13], blend[14], blend[15]};
    g.turn = scaled(q, rsqrtf(fmaxf(norm2(q), 1e-24f)));
    g.turns = true;
    g.quat = multiply(g.turn, g.quat);
    g.mean = Mat{vec(blend), vec(blend + 4), vec(blend + 8)} * mean;
    return {blend[3], blend[7], blend[11]};
}

template <int AXES>
DEVICE Posed pose_gaussian(const Frame& f, const Drawable& s, const Run& run, const float* params, int picture, int k) {
    const int i = run.first + k;
    Posed g = load_gaussian<AXES>(s, i);
    if (run.binding == POSED) return g;
    if (s.deformed) deform<AXES>(s, f.coefficients + (size_t)picture * f.coefficients_stride, i, g);
    const float* vertices = f.vertices + (size_t)picture * f.vertices_stride;
    const float* joints = f.joints + (size_t)picture * f.joints_stride;
    if (run.binding == TRIANGLE) {
        bind_to_triangle<AXES>(s, vertices, run.index[k], g);
    } else if (run.binding == SKINNING) {
        Vec mean = g.mean;
        if (run.basis) {
            const float* expression = params + POSE + 3 * s.num_joints;
            const float* row = run.basis + 3 * k;
#pragma unroll 4
            for (int e = 0; e < s.num_expressions; ++e) {
                mean = mean + expression[e] * vec(row + (size_t)e * 3 * run.count);
            }
        }
        Vec origin = bind_to_joints(joints, run.joints + k, run.weights + k, run.influences, run.count, mean, g);
        g.mean = g.mean + origin;
    } else {
        const int v = run.index[k];
        if (run.binding == VERTEX) {
            bind_to_joints(joints, s.skin_joints + v, s.skin_weights + v, s.influences, s.num_vertices, g.mean, g);
        }
        g.mean = vec(vertices + 3 * v) + g.mean;
    }
    return g;
}
