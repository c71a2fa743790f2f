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
from render.making.people.fields import to_display
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
    visible: Array  # [N, D] of each light, 0..1
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
        fine, roots = mesh.fine, mesh.strands.root
        self._corners = np.concatenate([fine.corners, fine.corners[roots]])
        self._weights = np.concatenate([fine.barycentric, fine.barycentric[roots]])
        self._faces = np.concatenate([fine.faces, mesh.strands.faces + len(fine.corners)])

    def pose(self, params: RigParams) -> PosedHead:
        """Geometry and light of one moment."""
        with torch.inference_mode():
            posed = self.rig(params)
        vertices = np.ascontiguousarray(posed.vertices.numpy())
        head = posed.joint_transforms[self.rig.joint_names.index("head")].numpy()
        fine, coat, strands = self.mesh.fine, self.mesh.coat, self.mesh.strands
        base_normals = vertex_normals(vertices, self._base_faces)
        units = dict(zip(self.rig.expression_names, params.expression.tolist(), strict=True))
        drive = coat.drive(units)
        millimetres = coat.relief_mm + (drive * coat.fold_relief_mm).sum(0)
        smooth = fine.at(base_normals)
        surface = fine.curved(vertices, base_normals) + 1e-3 * coat.cap_mm[:, None] * smooth
        skin = surface + 1e-3 * millimetres[:, None].astype(np.float32) * smooth
        skin_normals = vertex_normals(skin, fine.faces)
        turn = head[:, :3]
        hair = (strands.points @ turn.T + head[:, 3]).astype(np.float32)
        tangents = (strands.tangents @ turn.T).astype(np.float32)
        points = np.concatenate([skin, hair])
        normals = np.concatenate([skin_normals, (strands.normals @ turn.T).astype(np.float32)])
        wrap = np.concatenate([coat.wrap, np.full((len(hair), 3), DRY_WRAP, np.float32)])
        casters = vertices + 1e-3 * self.mesh.coarse_cap_mm[:, None] * base_normals
        # Shadows are cast by, and fall on, the surface without its relief: furrows would shade themselves.
        diffuse, visible = light.light(
            self._lights, casters, self._base_faces, self._corners, self._weights, normals, wrap
        )
        shade = np.clip(1 - (drive * coat.fold_shade).sum(0), 0.35, 1)[:, None]
        albedo = np.concatenate([coat.albedo * shade, strands.albedo]).astype(np.float32)
        return PosedHead(points, normals, albedo * diffuse, visible, tangents, len(skin))

    def picture(self, posed: PosedHead, camera: Camera, supersampling: int = 3) -> Picture:
        """What a camera sees, with depth and normals."""
        matrix = camera.world_to_camera.double().numpy()
        eye = -matrix[:3, :3].T @ matrix[:3, 3]
        seen = posed.points @ matrix[:3, :3].T + matrix[:3, 3]
        px = np.empty(seen.shape, np.float32)
        px[:, 0] = camera.fx * seen[:, 0] / seen[:, 2] + camera.cx
        px[:, 1] = camera.fy * seen[:, 1] / seen[:, 2] + camera.cy
        px[:, 2] = seen[:, 2]
        rgb = to_display(self.person.light.exposure * self._radiance(posed, eye)).astype(np.float32)
        values = np.concatenate([rgb, posed.normals, px[:, 2:]], 1)
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
        n, coat, hair = posed.num_skin, self.mesh.coat, self.mesh.strands.albedo.mean(1)
        out = posed.base.copy()
        for rows, share, strength, gloss, tangents in (
            (slice(None, n), SHINE, coat.shine, coat.gloss, None),
            (slice(n, None), 0.5, 0.004 + 0.3 * hair, np.full(len(hair), 60), posed.tangents),
        ):
            points, normals = posed.points[rows], posed.normals[rows]
            out[rows] += share * light.shine(
                self._lights, posed.visible[rows], points, normals, strength, gloss, eye, tangents
            )
        return out


def _landmarks() -> NDArray[np.float64]:
    """MediaPipe's landmarks [478, 3] on the average head, canonical millimetres."""
    embedding, head = LandmarkEmbedding.load(HEAD_LANDMARKS), load_head()
    corners = canonical_mm(head)[head.faces.numpy()[embedding.triangles]]
    return np.asarray(np.einsum("lkd,lk->ld", corners, embedding.barycentric))
