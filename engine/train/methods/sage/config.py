"""What SAGE can be told; every contribution has its switch, so that it can be left out and measured."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from engine.train.fields.pretrain import PretrainConfig
from engine.train.fields.sdf import SdfConfig
from engine.train.surface.surfel_placement import PlacementConfig

Regime = Literal["multiview", "monocular", "oneshot"]


@dataclass(frozen=True)
class SurfelConfig(PlacementConfig):
    """The surfels, and how they change triangles."""

    count: int = 14_000
    rebind_every: int = 400  # steps; 0: never
    rebind_gain: float = 0.7  # rebind where another triangle is nearer than this share of the old distance


@dataclass(frozen=True)
class LossConfig:
    """Weights of the terms; SAGE gives none, so they come from the methods it names."""

    ssim: float = 0.2  # 3DGS: (1 - w) L1 + w D-SSIM
    alpha: float = 0.2
    point: float = 0.5  # |f(x)|, in centimetres
    align: float = 0.05
    ray_rgb: float = 0.2  # of the field's own colours, which phase two compares with
    ray_depth: float = 0.1  # MonoSDF: depth ...
    ray_normal: float = 0.05  # ... and normals of the field against those of the surfels
    eikonal: float = 0.1  # MonoSDF
    smooth: float = 0.005  # MonoSDF
    normal: float = 0.02  # 2DGS: normals of surfels against those of the depth map
    distortion: float = 0.02  # 2DGS
    offset: float = 0.01  # GaussianAvatars: distance from the triangle beyond `offset_threshold_m` ...
    offset_threshold_m: float = 0.004
    scale: float = 0.1  # ... and scales beyond `scale_threshold` times those at the start
    scale_threshold: float = 2.0
    residual: float = 1e-3  # keeps what the networks can say with the networks
    deltas: float = 0.01
    coverage: float = 0.5  # beyond the paper: from the side, no light comes through the head
    coverage_every: int = 6  # steps between two looks from the side
    coverage_yaw_deg: float = 45.0  # how far such a look goes round, at most
    coverage_pitch_deg: float = 20.0


@dataclass(frozen=True)
class RateConfig:
    """Learning rates of Adam; all fall to a tenth over a phase."""

    means: float = 5e-3  # in units of the triangles, as GaussianAvatars has it
    networks: float = 2e-3
    residual_appearance: float = 0.02
    residual_shape: float = 0.01
    field: float = 1e-3
    deltas: float = 2e-3
    mouth: float = 5e-3


@dataclass(frozen=True)
class CorrectionConfig:
    """Surfels that follow stretch and curvature."""

    radius_m: float = 0.008  # of the ball of neighbouring triangles
    curvature_weight_m: float = 5e-4  # w_s: a curvature of 1/w_s halves a scale
    turn: float = 0.5  # share of the way to the principal directions, at full anisotropy
    limits: tuple[float, float] = (0.4, 2.5)  # of a principal stretch
    refresh_every: int = 200  # steps between two looks at the curvatures while the field learns


@dataclass(frozen=True)
class ConsistencyConfig:
    """Phase two: expressions nobody filmed, and the avatar's agreement with itself in them."""

    # Of five times these weights, pictures of faces seen and unseen lose half a decibel (sage/protocol.py).
    normal: float = 0.02
    distortion: float = 0.02
    appearance: float = 0.1
    rays: int = 384
    uniform_share: float = 0.25  # of the rays; the others go where normals and distortion err
    turn_deg: float = 12.0  # standard deviation of the head turns added to the poses seen
    # Weight of a training picture in every step. 0 is the paper's phase, without any; but then nothing holds
    # opacities and outlines, and normals and distortion are best where nothing is drawn.
    anchor: float = 1.0


@dataclass(frozen=True)
class DeltaConfig:
    """Beyond the paper: per-surfel changes by expression, learned when a capture shows many expressions."""

    rows: int = 16  # expression units that carry changes; 0: none
    means: bool = True
    colours: bool = True


@dataclass(frozen=True)
class SageConfig:
    """SAGE for one person on one machine; the sizes are those of a two-core computer at 256x256."""

    regime: Regime = "monocular"
    networks: bool = True  # f_app and f_shape; off: every surfel on its own
    residuals: bool = True  # beyond the paper: what a surfel adds to the networks
    correction: bool = True
    phase_two: bool = True
    mouth: bool = True
    wrinkles: bool = True
    joint_field: bool = True  # train the field with the surfels; off: it stays the rig's mesh
    hidden: int = 64  # width of f_app and f_shape
    field_points: int = 2048  # surfels a step that train the field
    field_every: int = 4  # steps between two that train the field
    rays: int = 256  # that compare field and surfels in such a step
    ray_reach_m: float = 0.012  # before and behind the surface
    steps: int = 16_000  # of phase one
    phase_two_steps: int = 800
    phase_two_rate: float = 0.1  # of the rates, which fall to a tenth of that
    wrinkle_strength: float = 0.15  # how dark the most creased surfel becomes
    seed: int = 0
    deformation_prior: str = ""  # files of pretrained networks, engine/train/methods/sage/priors.py; "": none
    view_generator: str = ""
    enhancer: str = ""
    surfels: SurfelConfig = field(default_factory=SurfelConfig)
    losses: LossConfig = field(default_factory=LossConfig)
    rates: RateConfig = field(default_factory=RateConfig)
    correct: CorrectionConfig = field(default_factory=CorrectionConfig)
    consistency: ConsistencyConfig = field(default_factory=ConsistencyConfig)
    deltas: DeltaConfig = field(default_factory=DeltaConfig)
    sdf: SdfConfig = field(default_factory=SdfConfig)
    pretrain: PretrainConfig = field(default_factory=PretrainConfig)

    def __post_init__(self) -> None:
        if not (self.networks or self.residuals):
            raise ValueError("surfels need networks, residuals, or both: nothing else can learn a colour")
