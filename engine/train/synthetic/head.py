"""A synthetic person as geometry and light: posed by the rig's parameters, pictured by any camera."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from engine.train.data.views import Picture
from engine.train.surface.raster import resolve, see
from engine.train.synthetic import light
from render.camera import Camera
from render.making.people.light import DRY_WRAP, SHINE, Environment, environment
from render.making.people.mesh.textured import canonical_mm, make_mesh
from render.making.people.person import Person
from render.normals import vertex_normals
from render.rigs.head import load_head
from render.rigs.params import RigParams
from tracking.fit.embedding import HEAD_LANDMARKS, LandmarkEmbedding

Array = NDArray[Any]  # float32; NumPy's stubs lose that in arithmetic

_NUM_LIGHTS = 56


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

    def __init__(self, person: Person) -> None:
        self.person = person
        self.mesh = mesh = make_mesh(person, _landmarks())
        self.rig = mesh.rig
        sampled = environment(person.light, _NUM_LIGHTS)
        self._lights = Environment(sampled.towards.astype(np.float32), sampled.radiance.astype(np.float32))
        self._base_faces = self.rig.faces.numpy().astype(np.int32)
        fine, roots = mesh.fine, mesh.roots
        self._probe_corners = np.concatenate([fine.corners, fine.corners[roots]])
        self._probe_weights = np.concatenate([fine.barycentric, fine.barycentric[roots]])
        self._faces = np.concatenate([fine.faces, mesh.strands.faces + len(fine.corners)])

    def pose(self, params: RigParams) -> PosedHead:
        """Geometry and light of one moment."""
        with torch.inference_mode():
            posed = self.rig(params)
        vertices = np.ascontiguousarray(posed.vertices.numpy())
        head = posed.joint_transforms[self.rig.joint_names.index("head")].numpy()
        mesh, fine, strands = self.mesh, self.mesh.fine, self.mesh.strands
        base_normals = vertex_normals(vertices, self._base_faces)
        units = dict(zip(self.rig.expression_names, params.expression.tolist(), strict=True))
        drive = mesh.coat.drive(units)
        millimetres = mesh.relief_mm + (drive * mesh.coat.fold_relief_mm).sum(0)
        smooth = fine.at(base_normals)
        surface = fine.curved(vertices, base_normals) + 1e-3 * mesh.cap_mm[:, None] * smooth
        skin = surface + 1e-3 * millimetres[:, None].astype(np.float32) * smooth
        skin_normals = vertex_normals(skin, fine.faces)
        turn = head[:, :3]
        hair = (strands.points @ turn.T + head[:, 3]).astype(np.float32)
        tangents = (strands.tangents @ turn.T).astype(np.float32)
        points = np.concatenate([skin, hair])
        normals = np.concatenate([skin_normals, (strands.normals @ turn.T).astype(np.float32)])
        wrap = np.concatenate([mesh.wrap, np.full((len(hair), 3), DRY_WRAP, np.float32)])
        casters = vertices + 1e-3 * mesh.coarse_cap_mm[:, None] * base_normals
        # Shadows are cast by, and fall on, the surface without its relief: furrows would shade themselves.
        probes = light.Probes(casters, self._probe_corners, self._probe_weights)
        lit = light.light(self._lights, probes, normals, wrap, casters, self._base_faces)
        shade = np.clip(1 - (drive * mesh.coat.fold_shade).sum(0), 0.35, 1)[:, None]
        albedo = np.concatenate([mesh.albedo * shade, strands.albedo]).astype(np.float32)
        return PosedHead(points, normals, albedo * lit.diffuse, lit, tangents, len(skin))

    def picture(self, posed: PosedHead, camera: Camera, supersampling: int = 3) -> Picture:
        """What a camera sees, with depth and normals."""
        matrix = camera.world_to_camera.double().numpy()
        eye = -matrix[:3, :3].T @ matrix[:3, 3]
        seen = posed.points @ matrix[:3, :3].T + matrix[:3, 3]
        px = np.empty(seen.shape, np.float32)
        px[:, 0] = camera.fx * seen[:, 0] / seen[:, 2] + camera.cx
        px[:, 1] = camera.fy * seen[:, 1] / seen[:, 2] + camera.cy
        px[:, 2] = seen[:, 2]
        values = np.concatenate(
            [light.display(self._radiance(posed, eye), self.person.light.exposure), posed.normals, px[:, 2:]],
            1,
        )
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
        out[:n] += SHINE * light.shine(
            light.Lit(posed.lit.diffuse[:n], visible[:n]),
            self._lights,
            posed.points[:n],
            posed.normals[:n],
            self.mesh.shine,
            self.mesh.gloss,
            eye,
        )
        hair = len(posed.points) - n
        albedo = self.mesh.strands.albedo.mean(1)
        out[n:] += 0.5 * light.shine(
            light.Lit(posed.lit.diffuse[n:], visible[n:]),
            self._lights,
            posed.points[n:],
            posed.normals[n:],
            (0.004 + 0.3 * albedo).astype(np.float32),
            np.full(hair, 60, np.float32),
            eye,
            posed.tangents,
        )
        return out


def _landmarks() -> NDArray[np.float64]:
    """MediaPipe's landmarks [478, 3] on the average head, canonical millimetres."""
    embedding, head = LandmarkEmbedding.load(HEAD_LANDMARKS), load_head()
    corners = canonical_mm(head)[head.faces.numpy()[embedding.triangles]]
    return np.asarray(np.einsum("lkd,lk->ld", corners, embedding.barycentric))
