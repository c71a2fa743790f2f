"""What the quick method can be told."""

from __future__ import annotations

from dataclasses import dataclass, field

from engine.train.surface.surfel_placement import PlacementConfig


@dataclass(frozen=True)
class RateConfig:
    """Adam's rates at the start of a phase; all fall by `fall` over it."""

    means: float = 8e-3  # in units of the triangles, as GaussianAvatars has it
    quats: float = 2e-3
    log_scales: float = 6e-3
    logit_opacities: float = 3e-2
    sh0: float = 1.2e-2
    sh1: float = 4e-3
    drivers: float = 1e-3
    d_means: float = 2e-3
    d_quats: float = 1.5e-3
    d_log_scales: float = 3e-3
    d_logit_opacities: float = 1.5e-2
    d_sh0: float = 6e-3
    fall: float = 0.05  # what is left of a rate at the end of a phase


@dataclass(frozen=True)
class LossConfig:
    """Weights of the terms beside the pictures' own."""

    ssim: float = 0.35  # 3DGS: (1 - w) L1 + w D-SSIM
    change: float = 2e-3  # what expressions change: faces that nobody showed are to stay calm
    needle: float = 1e-2  # of a Gaussian's longest axis over its middle one, beyond `most_stretch`
    most_stretch: float = 12.0


@dataclass(frozen=True)
class LookConfig:
    """What a step looks at: whole pictures at half size first, then windows of the pictures as they are."""

    window_px: int = 288  # sides of a window at most
    whole_share: float = 0.3  # of the fine steps, which see a whole picture
    face_share: float = 0.6  # of the windows, which are on the face
    moving_share: float = 0.45  # of the steps, which see a face that is not at rest, where there are any


@dataclass(frozen=True)
class DensityConfig:
    """Gaussians that show nothing go where the error is; their number stays."""

    rounds: int = 6  # evenly over the first two thirds of each phase
    looks: int = 32  # pictures that a round goes by
    least_px: float = 0.4  # below, it moves, of the most a look or a step since the last round shows
    most_share: float = 0.08  # of the Gaussians that move in a round
    bake_looks: int = 96  # pictures of faces that act, beside all at rest, that sort the avatar's Gaussians
    bake_least_px: float = 0.05  # what shows less is left out of the avatar
    bake_most: int = 39_500  # Gaussians of the avatar: those that show least do nearly nothing


@dataclass(frozen=True)
class RigSeedConfig(PlacementConfig):
    """Where Gaussians start when the dataset brings no seeds."""

    count: int = 30_000


@dataclass(frozen=True)
class QuickConfig:
    """A linear avatar: Gaussians on triangles, and what units change of them through `rows` bases."""

    seed: int = 0
    coarse_steps: int = 1500
    fine_steps: int = 12_000
    rows: int = 16  # bases of the deformation; play's time and the file grow with it
    moving: int = 4000  # Gaussians that have bases, those that change most
    # Bases of rotations too. On a path-traced head leaving them out costs nothing (.01 dB), and they are a
    # third of what bases cost in play.
    turns: bool = False
    surfels: RigSeedConfig = field(default_factory=RigSeedConfig)
    rates: RateConfig = field(default_factory=RateConfig)
    losses: LossConfig = field(default_factory=LossConfig)
    looks: LookConfig = field(default_factory=LookConfig)
    density: DensityConfig = field(default_factory=DensityConfig)
