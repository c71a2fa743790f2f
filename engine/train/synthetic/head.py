"""A synthetic person as geometry and light: posed by the rig's parameters, pictured by any camera."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from engine.train.data.views import Picture
from engine.train.surface.raster import resolve, see, vertex_normals
from engine.train.synthetic import light
from render.camera import Camera
from render.making.people.features import canonical_mm, find_regions
from render.making.people.fields import mix, smoothstep
from render.making.people.mesh.coat import eye_directions, make_coat
from render.making.people.mesh.hair import cap_colour, cap_mm, make_strands
from render.making.people.mesh.surface import fine_mesh
from render.making.people.random_person import Person
from render.rigs.head import load_head, load_head_surface
from render.rigs.params import RigParams

Array = NDArray[Any]  # float32; NumPy's stubs lose that in arithmetic

_SKIN_WRAP, _DRY_WRAP = (0.38, 0.20, 0.13), (0.12, 0.12, 0.12)
_SHINE = 0.07


@dataclass(frozen=True)
class PosedHead:
    """One moment: geometry and the light on it, for every camera. The skin's vertices, then the strands'."""

    points: Array  # [N, 3] metres, world
    normals: Array  # [N, 3]
    base: Array  # [N, 3] linear light without highlights
    lit: light.Lit
    tangents: Array  # [N - num_skin, 3] along the strands
    num_skin: int


class SyntheticHead:
    """The built-in head of one person plus everything the rig cannot express.

    Displacement that no identity mode has, wrinkles that come with the expression, painted skin, a hair cap
    with strands, cloth, eyes with highlights, cast shadows. Building takes about 2 s, a pose 0.3 s, a picture
    0.1 s at 256x256.
    """

    def __init__(self, person: Person, environment: light.Environment) -> None:
        self.person, self.environment = person, environment
        average, surface = load_head(), load_head_surface()
        self.rig = average.with_shape(torch.tensor(person.shape, dtype=torch.float32))
        self._mesh = mesh = fine_mesh(average, surface)
        self._base_faces = self.rig.faces.numpy().astype(np.int32)
        body = (surface.vertex_group == surface.group_names.index("body")).numpy()
        coarse = canonical_mm(average)
        canonical = mesh.at(coarse.astype(np.float32)).astype(float)
        regions = find_regions(average, canonical, person.hairline_lift, person.collar, person.seed)
        on_base = find_regions(average, coarse, person.hairline_lift, person.collar, person.seed)
        self._caster_mm = (cap_mm(person, coarse, on_base) * body)[:, None].astype(np.float32)
        rest = self.rig.template.numpy()
        rest_normals = vertex_normals(rest, self._base_faces)
        points = mesh.curved(rest, rest_normals)
        joints = self.rig.joints_template.double().numpy()
        centres = {name: joints[self.rig.joint_names.index(name)] for name in ("left_eye", "right_eye")}
        coat = make_coat(
            person, mesh, canonical, regions, eye_directions(points.astype(float), centres, mesh)
        )
        skin = mesh.of("body")
        cap = cap_mm(person, canonical, regions) * skin
        haired = smoothstep(0.5, 4.0, cap)
        self._coat = coat
        self._cap_mm = cap.astype(np.float32)
        self._relief_mm = (coat.relief_mm * (1 - haired)).astype(np.float32)
        self._albedo = mix(coat.albedo, cap_colour(person, canonical), haired).astype(np.float32)
        self._strength = (coat.shine * (1 - 0.7 * haired)).astype(np.float32)
        self._gloss = coat.gloss.astype(np.float32)
        self._wrap = np.where(
            (skin & (haired < 0.5) & (regions.cloth < 0.5))[:, None], _SKIN_WRAP, _DRY_WRAP
        ).astype(np.float32)
        self._strands = make_strands(
            person,
            points[skin].astype(float),
            mesh.at(rest_normals)[skin].astype(float),
            canonical[skin],
            regions.scalp_depth[skin],
            cap[skin],
        )
        roots = np.flatnonzero(skin)[self._strands.root]
        self._probe_corners = np.concatenate([mesh.corners, mesh.corners[roots]])
        self._probe_weights = np.concatenate([mesh.barycentric, mesh.barycentric[roots]])
        self._faces = np.concatenate([mesh.faces, self._strands.faces + len(canonical)])

    def pose(self, params: RigParams) -> PosedHead:
        """Geometry and light of one moment."""
        with torch.inference_mode():
            posed = self.rig(params)
        vertices = np.ascontiguousarray(posed.vertices.numpy())
        head = posed.joint_transforms[self.rig.joint_names.index("head")].numpy()
        mesh, strands = self._mesh, self._strands
        base_normals = vertex_normals(vertices, self._base_faces)
        units = dict(zip(self.rig.expression_names, params.expression.tolist(), strict=True))
        drive = self._coat.drive(units)
        millimetres = self._relief_mm + (drive * self._coat.fold_relief_mm).sum(0)
        smooth = mesh.at(base_normals)
        coarse = mesh.curved(vertices, base_normals) + 1e-3 * self._cap_mm[:, None] * smooth
        fine = coarse + 1e-3 * millimetres[:, None].astype(np.float32) * smooth
        skin_normals = vertex_normals(fine, mesh.faces)
        turn = head[:, :3]
        hair = (strands.points @ turn.T + head[:, 3]).astype(np.float32)
        tangents = (strands.tangents @ turn.T).astype(np.float32)
        points = np.concatenate([fine, hair])
        normals = np.concatenate([skin_normals, (strands.normals @ turn.T).astype(np.float32)])
        wrap = np.concatenate([self._wrap, np.full((len(hair), 3), 0.12, np.float32)])
        casters = vertices + 1e-3 * self._caster_mm * base_normals
        # Shadows are cast by, and fall on, the surface without its relief: furrows would shade themselves.
        probes = light.Probes(casters, self._probe_corners, self._probe_weights)
        lit = light.light(self.environment, probes, normals, wrap, casters, self._base_faces)
        shade = np.clip(1 - (drive * self._coat.fold_shade).sum(0), 0.35, 1)[:, None]
        albedo = np.concatenate([self._albedo * shade, strands.albedo]).astype(np.float32)
        return PosedHead(points, normals, albedo * lit.diffuse, lit, tangents, len(fine))

    def picture(self, posed: PosedHead, camera: Camera, supersampling: int = 3) -> Picture:
        """What a camera sees, with depth and normals."""
        matrix = camera.world_to_camera.double().numpy()
        eye = -matrix[:3, :3].T @ matrix[:3, 3]
        seen = posed.points @ matrix[:3, :3].T + matrix[:3, 3]
        px = np.empty(seen.shape, np.float32)
        px[:, 0] = camera.fx * seen[:, 0] / seen[:, 2] + camera.cx
        px[:, 1] = camera.fy * seen[:, 1] / seen[:, 2] + camera.cy
        px[:, 2] = seen[:, 2]
        values = np.concatenate([light.display(self._radiance(posed, eye)), posed.normals, px[:, 2:]], 1)
        samples = see(px, self._faces, camera.width, camera.height, supersampling)
        mean, cover = resolve(samples, px, self._faces, values)
        normal = mean[..., 3:6]
        normal /= np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-9)
        return Picture(
            rgb=torch.from_numpy(np.ascontiguousarray(mean[..., :3])),
            mask=torch.from_numpy(cover),
            depth=torch.from_numpy(np.ascontiguousarray(mean[..., 6])),
            normal=torch.from_numpy(np.ascontiguousarray(normal)),
        )

    def _radiance(self, posed: PosedHead, eye: NDArray[np.float64]) -> Array:
        n = posed.num_skin
        out = posed.base.copy()
        visible = posed.lit.visible
        out[:n] += _SHINE * light.shine(
            light.Lit(posed.lit.diffuse[:n], visible[:n]),
            self.environment,
            posed.points[:n],
            posed.normals[:n],
            self._strength,
            self._gloss,
            eye,
        )
        hair = len(posed.points) - n
        albedo = self._strands.albedo.mean(1)
        out[n:] += 0.5 * light.shine(
            light.Lit(posed.lit.diffuse[n:], visible[n:]),
            self.environment,
            posed.points[n:],
            posed.normals[n:],
            (0.004 + 0.3 * albedo).astype(np.float32),
            np.full(hair, 60, np.float32),
            eye,
            posed.tangents,
        )
        return out
