// Small vectors, quaternions and fast functions.
#pragma once
#include "frame.cuh"

struct Vec { float x, y, z; };
struct Quat { float w, x, y, z; };
struct Mat { Vec r0, r1, r2; };  // rows

DEVICE Vec vec(const float* p) { return {p[0], p[1], p[2]}; }
DEVICE Vec operator+(Vec a, Vec b) { return {a.x + b.x, a.y + b.y, a.z + b.z}; }
DEVICE Vec operator-(Vec a, Vec b) { return {a.x - b.x, a.y - b.y, a.z - b.z}; }
DEVICE Vec operator*(float s, Vec a) { return {s * a.x, s * a.y, s * a.z}; }
DEVICE float dot(Vec a, Vec b) { return a.x * b.x + a.y * b.y + a.z * b.z; }
DEVICE Vec cross(Vec a, Vec b) {
    return {a.y * b.z - a.z * b.y, a.z * b.x - a.x * b.z, a.x * b.y - a.y * b.x};
}
DEVICE Vec operator*(const Mat& m, Vec v) { return {dot(m.r0, v), dot(m.r1, v), dot(m.r2, v)}; }
DEVICE float clamped(float v, float low, float high) { return fminf(fmaxf(v, low), high); }

DEVICE Quat multiply(Quat a, Quat b) {  // b first, then a
    return {a.w * b.w - a.x * b.x - a.y * b.y - a.z * b.z, a.w * b.x + a.x * b.w + a.y * b.z - a.z * b.y,
            a.w * b.y - a.x * b.z + a.y * b.w + a.z * b.x, a.w * b.z + a.x * b.y - a.y * b.x + a.z * b.w};
}
DEVICE float norm2(Quat q) { return q.w * q.w + q.x * q.x + q.y * q.y + q.z * q.z; }
DEVICE Quat scaled(Quat q, float s) { return {q.w * s, q.x * s, q.y * s, q.z * s}; }

// Of a rotation matrix given by rows. Source: Shepperd 1978; a zero matrix gives the identity.
DEVICE Quat quaternion(const Mat& m) {
    float w2 = 1 + m.r0.x + m.r1.y + m.r2.z, x2 = 1 + m.r0.x - m.r1.y - m.r2.z;
    float y2 = 1 - m.r0.x + m.r1.y - m.r2.z, z2 = 1 - m.r0.x - m.r1.y + m.r2.z;
    float wx = m.r2.y - m.r1.z, wy = m.r0.z - m.r2.x, wz = m.r1.x - m.r0.y;
    float xy = m.r0.y + m.r1.x, xz = m.r0.z + m.r2.x, yz = m.r1.z + m.r2.y;
    Quat q;
    if (fmaxf(w2, x2) >= fmaxf(y2, z2)) q = w2 >= x2 ? Quat{w2, wx, wy, wz} : Quat{wx, x2, xy, xz};
    else q = y2 >= z2 ? Quat{wy, xy, y2, yz} : Quat{wz, xz, yz, z2};
    float s = rsqrtf(norm2(q));
    return scaled(q, q.w < 0 ? -s : s);
}

// R v of a quaternion of any length but zero, R its rotation's inverse.
DEVICE Vec rotated_back(Quat q, Vec v) {
    float s = 2 / norm2(q);
    Vec u = {q.x, q.y, q.z};
    Vec t = cross(v, u);
    return v + s * (q.w * t + cross(t, u));
}

// 2^x; the hardware's approximation has a relative error of 2^-22.
DEVICE float fast_exp2(float x) {
#ifdef VISAVIS_EMULATED
    return exp2f(x);
#else
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
#endif
}

// The same value, in a register of its own: what a shuffle gives is not worked out again in every turn of a loop, as
// the assembler does with values that it can trace to the thread's index.
DEVICE float kept(float v) { return __shfl_sync(FULL_WARP, v, threadIdx.x % 32); }
