"""The rules of splatting that every back end shares, so that their pictures agree.

A Gaussian with peak opacity o covers a pixel centre p with

    alpha(p) = min(ALPHA_MAX, o * exp(-0.5 * rho(p))),     taken as 0 below ALPHA_MIN,

and pixels are blended front to back in the order of the means' camera depth (ties: lower index first).

3D Gaussians: rho is the squared Mahalanobis distance under J W Sigma W^T J^T + LOW_PASS_PX2 * I, with the
Jacobian J of the projection at the mean; x/z and y/z inside J are limited to `JACOBIAN_MARGIN` beyond the
picture, because the linearisation is useless far outside it.
Source: Kerbl et al., "3D Gaussian Splatting", 2023; Zwicker et al., "EWA Splatting", 2002.

2D surfels: rho is the smaller of the squared distance in the surfel's own plane, where the pixel's ray meets
it, and |p - projected mean|^2 / SURFEL_LOW_PASS_PX2. Source: Huang et al., "2D Gaussian Splatting", 2024.

Low-pass and opacity. Spreading a small Gaussian over at least a pixel makes it heavier than it is: lashes and
brows would change weight with zoom. When `Gaussians.antialiased` is set, the opacity is multiplied by the
ratio of the footprint areas before and after, which keeps the covered area:

    3D: sqrt(det S / det(S + LOW_PASS_PX2 * I)),    S the projected covariance before the low-pass
    2D: sqrt(l1 * l2 / (max(l1, f) * max(l2, f))),  l1, l2 the eigenvalues of S, f = SURFEL_LOW_PASS_PX2

Without it opacities are used as they are: the rule 3DGS, LAM and GaussianAvatars train with.
Source: Yu et al., "Mip-Splatting", 2024, eq. 9, with the kernel width of gsplat's "antialiased" mode.

Maps. With w_i = alpha_i * (transmittance before i), d_i a splat's camera depth at the pixel (metres along the
camera axis: where the pixel's ray meets a surfel's plane; of the mean for a 3D Gaussian, and for a surfel
where the screen distance is the smaller one) and n_i its unit normal in camera axes, turned to the camera (a
surfel's z axis, a 3D Gaussian's shortest axis):

    alpha      = sum w_i
    depth      = sum w_i d_i / alpha,  0 where alpha is 0
    normal     = sum w_i n_i
    distortion = sum over pairs i < j of w_i w_j (d_i - d_j)^2 = alpha * sum w_i d_i^2 - (sum w_i d_i)^2

The distortion is that of 2DGS's appendix, of plain depth in m^2 where 2DGS maps depth to NDC. There one metre
at distance z is near / z^2 units: 2DGS's weights of 100 to 1000 (near = 0.2) stand for 4 to 40 at 1 m.
Squares need no order: d_i at a pixel need not be sorted as the means are, and a flat surface seen at a slant
has none.
Screen means: moving a mean in the picture moves the whole splat, its shape on the screen unchanged. That is
what d loss / d means_px says, for surfels too.

Not drawn: Gaussians nearer than NEAR_M (also behind the camera), surfels whose visible part reaches the
camera plane, and every Gaussian with a NaN or an infinity in its mean, rotation, colour, real scales, real
opacity or projection. A zero quaternion is such a value. A back end made for speed may leave out what lies
behind a transmittance below EXIT_TRANSMITTANCE; the CPU's leaves out a little more (render/cpu/layout.py).
Colours are 0.5 + SH, not below 0. Float pictures may exceed 1 where colours do; 8-bit pictures clamp.
"""

from __future__ import annotations

ALPHA_MAX = 0.999  # keeps the transmittance positive, as gsplat does
ALPHA_MIN = 1.0 / 255.0  # a smaller share cannot change an 8-bit picture by a step
EXIT_TRANSMITTANCE = 1.0 / 512.0  # what is left can change a byte by half a step
LOW_PASS_PX2 = 0.3
SURFEL_LOW_PASS_PX2 = 0.5
NEAR_M = 0.01
JACOBIAN_MARGIN = 0.3  # in half pictures


def jacobian_limits(size_px: int, focal_px: float, centre_px: float) -> tuple[float, float]:
    """Least and greatest x/z (or y/z) used in the projection's Jacobian. Source: gsplat `_persp_proj`."""
    margin = JACOBIAN_MARGIN * 0.5 * size_px / focal_px
    return -centre_px / focal_px - margin, (size_px - centre_px) / focal_px + margin
