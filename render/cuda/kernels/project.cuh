// A Gaussian in world axes to its splat in the picture. The rules of render/splatting.py; render/reference/projection.py
// says the same in torch. Pixels count from the centre of the first: its centre is (0, 0).
#pragma once
#include "bind.cuh"

// A splat's record is 3 float4, of a surfel 4:
//   mean x, mean y, conic a, b | conic c, log2 opacity, red, green | blue, columns, rows, depth | tilt x, y, -, -
// log2 alpha at (dx, dy) from the mean is a dx^2 + b dx dy + c dy^2 + log2 opacity; a surfel's quadratic is
// divided by (1 + tilt_x dx + tilt_y dy)^2. Columns and rows: first pixel of the box in the lower 16 bits, last
// in the upper, as int bits. Depth 0: not drawn.
struct Splat {
    float mean_x, mean_y, a, b, c, log2_opacity, tilt_x, tilt_y, depth;
    int columns, rows;
};

// First and last pixel whose centre lies in mean +- extent, or -1 when there is none. Up to 0.01 px too wide, so
// that rounding never cuts a pixel off: every pixel is tested when it is drawn.
DEVICE int span(float mean, float extent, float size) {
    float low = fminf(mean - extent - 0.01f, 65535.0f), high = fminf(mean + extent + 0.01f, size - 1);
    int first = low > 0 ? (int)ceilf(low) : 0;
    int last = high >= 0 ? (int)floorf(high) : -1;
    return first <= last ? (last << 16) | first : -1;
}

DEVICE bool is_number(float v) { return v == v; }

// The conditions that both kinds share; `opacity` may be NaN.
template <int AXES>
DEVICE bool usable(const Posed& g) {
    bool numbers = is_number(g.logit);
#pragma unroll
    for (int k = 0; k < AXES; ++k) numbers = numbers && is_number(g.log_scales[k]);
    float size = fabsf(g.mean.x) + fabsf(g.mean.y) + fabsf(g.mean.z) + fabsf(g.quat.w) + fabsf(g.quat.x) +
                 fabsf(g.quat.y) + fabsf(g.quat.z);
    return numbers && size < HUGE_NUMBER && norm2(g.quat) > 1e-20f;
}

// What is left of the rotation matrix of a quaternion times its scale: column k, exact for any length.
DEVICE Vec axis(Quat q, float s, int k) {
    if (k == 0) return {1 - s * (q.y * q.y + q.z * q.z), s * (q.x * q.y + q.w * q.z), s * (q.x * q.z - q.w * q.y)};
    if (k == 1) return {s * (q.x * q.y - q.w * q.z), 1 - s * (q.x * q.x + q.z * q.z), s * (q.y * q.z + q.w * q.x)};
    return {s * (q.x * q.z + q.w * q.y), s * (q.y * q.z - q.w * q.x), 1 - s * (q.x * q.x + q.y * q.y)};
}

DEVICE float limited_scale(float log_scale) { return expf(clamped(log_scale, -87.0f, 87.0f)); }

DEVICE Splat project_gaussian(const Posed& g, const float* p, bool antialiased) {
    const Mat view = {vec(p + ROTATION), vec(p + ROTATION + 3), vec(p + ROTATION + 6)};
    const float fx = p[FOCAL], fy = p[FOCAL + 1], width = p[SIZE], height = p[SIZE + 1];
    Vec at = view * g.mean + vec(p + TRANSLATION);
    const bool near = !(at.z >= NEAR_M);
    const float z = near ? 1.0f : at.z, iz = 1 / z, tan_x = at.x * iz, tan_y = at.y * iz;
    const float j00 = fx * iz, j11 = fy * iz;
    const float j02 = -j00 * clamped(tan_x, p[LIMITS], p[LIMITS + 1]);
    const float j12 = -j11 * clamped(tan_y, p[LIMITS + 2], p[LIMITS + 3]);
    const Vec to_x = j00 * view.r0 + j02 * view.r2, to_y = j11 * view.r1 + j12 * view.r2;
    const float s = 2 / norm2(g.quat);
    const float s0 = limited_scale(g.log_scales[0]), s1 = limited_scale(g.log_scales[1]);
    const float s2 = limited_scale(g.log_scales[2]);
    const Vec a0 = axis(g.quat, s, 0), a1 = axis(g.quat, s, 1), a2 = axis(g.quat, s, 2);
    const Vec u = {dot(to_x, a0) * s0, dot(to_x, a1) * s1, dot(to_x, a2) * s2};
    const Vec v = {dot(to_y, a0) * s0, dot(to_y, a1) * s1, dot(to_y, a2) * s2};
    const float xx = dot(u, u), yy = dot(v, v), xy = dot(u, v);
    const Vec minors = cross(u, v);  // det(a c - b^2) would cancel for long thin Gaussians
    const float det = dot(minors, minors);
    const float after = det + LOW_PASS_PX2 * (xx + yy) + LOW_PASS_PX2 * LOW_PASS_PX2;
    float opacity = 1 / (1 + expf(-g.logit));
    if (antialiased) opacity *= sqrtf(det / after);
    Splat out;
    out.log2_opacity = log2f(fmaxf(opacity, 1e-30f));
    const float radius2 = TWO_LN2 * (out.log2_opacity - LOG2_ALPHA_MIN), rim = fmaxf(radius2, 0.0f);
    const float a = xx + LOW_PASS_PX2, c = yy + LOW_PASS_PX2, scale = -0.5f * LOG2_E / after;
    out.mean_x = fx * tan_x + p[CENTRE] - 0.5f;
    out.mean_y = fy * tan_y + p[CENTRE + 1] - 0.5f;
    out.a = scale * c;
    out.b = -2 * scale * xy;
    out.c = scale * a;
    out.tilt_x = out.tilt_y = 0;
    out.columns = span(out.mean_x, sqrtf(rim * a), width);
    out.rows = span(out.mean_y, sqrtf(rim * c), height);
    const bool visible = usable<3>(g) && a + c < HUGE_NUMBER && after < HUGE_NUMBER && !near && radius2 > 0 &&
                         out.columns >= 0 && out.rows >= 0;
    out.depth = visible ? z : 0;
    return out;
}

// With pixels counted from the projected mean, the homography's rows are (p0, p1, 0), (q0, q1, 0), (w0, w1, w2),
// and the in-plane distance of 2DGS is a conic over a squared perspective term: rho = w2^2 ((q1 dx - p1 dy)^2 +
// (p0 dy - q0 dx)^2) / (d + e dx + f dy)^2, d = p0 q1 - p1 q0. Source: Huang et al., "2D Gaussian Splatting", 2024.
DEVICE Splat project_surfel(const Posed& g, const float* p, bool antialiased) {
    const Mat view = {vec(p + ROTATION), vec(p + ROTATION + 3), vec(p + ROTATION + 6)};
    const float fx = p[FOCAL], fy = p[FOCAL + 1], width = p[SIZE], height = p[SIZE + 1];
    Vec at = view * g.mean + vec(p + TRANSLATION);
    const bool near = !(at.z >= NEAR_M);
    const float z = near ? 1.0f : at.z, iz = 1 / z, tan_x = at.x * iz, tan_y = at.y * iz;
    const float s = 2 / norm2(g.quat);
    const Vec a = limited_scale(g.log_scales[0]) * (view * axis(g.quat, s, 0));
    const Vec b = limited_scale(g.log_scales[1]) * (view * axis(g.quat, s, 1));
    const float p0 = fx * (a.x - tan_x * a.z), p1 = fx * (b.x - tan_x * b.z);
    const float q0 = fy * (a.y - tan_y * a.z), q1 = fy * (b.y - tan_y * b.z);
    float opacity = 1 / (1 + expf(-g.logit));
    if (antialiased) {  // the affine footprint at the mean uses the limited Jacobian, like a 3D Gaussian's
        const float limited_x = clamped(tan_x, p[LIMITS], p[LIMITS + 1]);
        const float limited_y = clamped(tan_y, p[LIMITS + 2], p[LIMITS + 3]);
        const float u0 = fx * iz * (a.x - limited_x * a.z), u1 = fx * iz * (b.x - limited_x * b.z);
        const float v0 = fy * iz * (a.y - limited_y * a.z), v1 = fy * iz * (b.y - limited_y * b.z);
        const float xx = u0 * u0 + u1 * u1, yy = v0 * v0 + v1 * v1, xy = u0 * v0 + u1 * v1;
        const float det = (u0 * v1 - u1 * v0) * (u0 * v1 - u1 * v0);
        const float large = 0.5f * (xx + yy) + sqrtf(0.25f * (xx - yy) * (xx - yy) + xy * xy);
        const float small = det / fmaxf(large, 1e-20f);
        opacity *= sqrtf(det / (fmaxf(large, SURFEL_LOW_PASS_PX2) * fmaxf(small, SURFEL_LOW_PASS_PX2)));
    }
    Splat out;
    out.log2_opacity = log2f(fmaxf(opacity, 1e-30f));
    const float radius2 = TWO_LN2 * (out.log2_opacity - LOG2_ALPHA_MIN), rim = fmaxf(radius2, 0.0f);
    float d = p0 * q1 - p1 * q0;
    const float least = 1e-9f * (fabsf(p0 * q1) + fabsf(p1 * q0)) + 1e-15f;  // edge-on: only the disc is left
    if (!(fabsf(d) > least)) d = least;
    const float scale = -0.5f * LOG2_E * (z / d) * (z / d);
    const float plane_seen = rim * (a.z * a.z + b.z * b.z) - z * z;
    const float plane = fminf(plane_seen, -1e-20f);
    const float shift_x = rim * (p0 * a.z + p1 * b.z) / plane, shift_y = rim * (q0 * a.z + q1 * b.z) / plane;
    const float extent_x = sqrtf(fmaxf(shift_x * shift_x - rim * (p0 * p0 + p1 * p1) / plane, 0.0f));
    const float extent_y = sqrtf(fmaxf(shift_y * shift_y - rim * (q0 * q0 + q1 * q1) / plane, 0.0f));
    const float disc = sqrtf(rim * SURFEL_LOW_PASS_PX2);
    out.mean_x = fx * tan_x + p[CENTRE] - 0.5f;
    out.mean_y = fy * tan_y + p[CENTRE + 1] - 0.5f;
    out.a = scale * (q1 * q1 + q0 * q0);
    out.b = -2 * scale * (q1 * p1 + q0 * p0);
    out.c = scale * (p1 * p1 + p0 * p0);
    out.tilt_x = (b.z * q0 - a.z * q1) / d;
    out.tilt_y = (p1 * a.z - p0 * b.z) / d;
    // The box holds both the ellipse, off-centre by the perspective, and the disc around the mean.
    out.columns = span(out.mean_x, fmaxf(fabsf(shift_x) + extent_x, disc), width);
    out.rows = span(out.mean_y, fmaxf(fabsf(shift_y) + extent_y, disc), height);
    const bool finite = fabsf(shift_x) + fabsf(shift_y) + extent_x + extent_y < HUGE_NUMBER;
    const bool visible = usable<2>(g) && finite && plane_seen < 0 && !near && radius2 > 0 && out.columns >= 0 &&
                         out.rows >= 0;
    out.depth = visible ? z : 0;
    return out;
}
