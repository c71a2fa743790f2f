// Colours of Gaussians seen from the camera; the basis is that of render/sh.py.
#pragma once
#include "bind.cuh"

DEVICE Vec term(const Drawable& s, int i, int t) {
    const float* p = s.sh + (size_t)i * s.sh_row + (size_t)(3 * t) * s.sh_column;
    return {p[0], p[s.sh_column], p[2 * s.sh_column]};
}

// 0.5 + SH, before the limit at 0.
DEVICE Vec seen_colour(const Drawable& s, const float* params, int i, const Posed& g) {
    Vec sum = Vec{0.5f, 0.5f, 0.5f} + 0.28209479177387814f * g.sh0;
    if (s.terms == 1) return sum;
    Vec d = g.mean - vec(params + POSITION);
    d = (1 / fmaxf(sqrtf(dot(d, d)), 1e-12f)) * d;
    if (g.turns) d = rotated_back(g.turn, d);
    const float x = d.x, y = d.y, z = d.z;
    Vec band = z * term(s, i, 2) - y * term(s, i, 1) - x * term(s, i, 3);
    sum = sum + 0.4886025119029199f * band;
    if (s.terms == 4) return sum;
    const float xx = x * x, yy = y * y, zz = z * z;
    band = (x * y) * term(s, i, 4) - (y * z) * term(s, i, 5) - (x * z) * term(s, i, 7);
    sum = sum + 1.0925484305920792f * band;
    sum = sum + (0.31539156525252005f * (2 * zz - xx - yy)) * term(s, i, 6);
    sum = sum + (0.5462742152960396f * (xx - yy)) * term(s, i, 8);
    if (s.terms == 9) return sum;
    sum = sum + (2.890611442640554f * x * y * z) * term(s, i, 10);
    sum = sum + (0.3731763325901154f * z * (2 * zz - 3 * xx - 3 * yy)) * term(s, i, 12);
    sum = sum + (1.445305721320277f * z * (xx - yy)) * term(s, i, 14);
    band = y * term(s, i, 11) + x * term(s, i, 13);
    sum = sum - (0.4570457994644658f * (4 * zz - xx - yy)) * band;
    sum = sum - (0.5900435899266435f * y * (3 * xx - yy)) * term(s, i, 9);
    return sum - (0.5900435899266435f * x * (xx - 3 * yy)) * term(s, i, 15);
}
