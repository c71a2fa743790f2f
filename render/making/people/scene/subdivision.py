"""Catmull and Clark's subdivision as one matrix, so that a mesh is rounded by a product pose after pose.

Source: E. Catmull, J. Clark, "Recursively generated B-spline surfaces on arbitrary topological meshes", 1978;
where vertices end is from M. Halstead et al., "Efficient, fair interpolation using Catmull-Clark surfaces",
1993.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array, diags_array, vstack

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Rounded:
    """A mesh after some subdivisions, N vertices and Q quads, by the V vertices of the one before."""

    matrix: csr_array  # [N, V] float32: points of the limit surface
    quads: Integers  # [Q, 4]
    corner_uv: NDArray[np.float32]  # [4 Q, 2]

    @property
    def triangles(self) -> NDArray[np.int32]:
        """Two of each quad, [2 Q, 3]."""
        return np.concatenate([self.quads[:, :3], self.quads[:, [0, 2, 3]]]).astype(np.int32)

    def turned_over(self) -> Rounded:
        """The same with its other side out."""
        uv = self.corner_uv.reshape(-1, 4, 2)[:, ::-1].reshape(-1, 2)
        return Rounded(self.matrix, self.quads[:, ::-1], uv)

    def vertex_uv(self) -> NDArray[np.float32]:
        """One place [N, 2] of each vertex in the picture; on a seam, one of several."""
        uv = np.zeros((self.matrix.shape[0], 2), np.float32)
        uv[self.quads.ravel()] = self.corner_uv
        return uv


def rounded(
    corners: NDArray[Any], counts: NDArray[Any], corner_uv: NDArray[Any], num_vertices: int, levels: int
) -> Rounded:
    """Subdivide polygons (`corners` [C], `counts` [F]) at least once; vertices that none uses are left out.

    `corner_uv` [C, 2] is interpolated within each polygon.
    """
    used, corners = np.unique(corners, return_inverse=True)
    matrix = csr_array((np.ones(len(used)), (np.arange(len(used)), used)), shape=(len(used), num_vertices))
    counts, uv = counts.astype(np.int64), np.asarray(corner_uv, float)
    for _ in range(levels):
        mesh = _Mesh(corners, counts, matrix.shape[0])
        matrix = mesh.refined() @ matrix
        corners, uv = mesh.quads().ravel(), mesh.refined_uv(uv)
        counts = np.full(len(corners) // 4, 4)
    matrix = _Mesh(corners, counts, matrix.shape[0]).limit() @ matrix
    return Rounded(csr_array(matrix.astype(np.float32)), corners.reshape(-1, 4), uv.astype(np.float32))


class _Mesh:
    """Polygons, their edges, and who is whose neighbour; corners are numbered polygon after polygon."""

    def __init__(self, corners: Integers, counts: Integers, num_vertices: int) -> None:
        self.corners, self.num_vertices = corners, num_vertices
        self.face = np.repeat(np.arange(len(counts)), counts)
        first = np.repeat(np.cumsum(counts) - counts, counts)
        place, size = np.arange(len(corners)) - first, np.repeat(counts, counts)
        self.next, self.previous = first + (place + 1) % size, first + (place - 1) % size
        ends = np.sort(np.stack([corners, corners[self.next]], 1), 1)
        self.edges, self.edge = np.unique(ends, axis=0, return_inverse=True)
        self.edge = self.edge.ravel()
        self.rim = np.bincount(self.edge, minlength=len(self.edges)) != 2  # edges that end the surface

    def quads(self) -> Integers:
        """One quad [C, 4] at each corner; vertices come first, then edges, then faces."""
        edge, face = self.num_vertices + self.edge, self.num_vertices + len(self.edges) + self.face
        return np.stack([self.corners, edge, face, edge[self.previous]], 1)

    def refined(self) -> csr_array:
        """Vertices after one subdivision by those before."""
        faces = _mean(self._incidence(self.face, self.corners, self.face.max() + 1))
        middles = _mean(self._edge_ends())
        rows = np.arange(len(self.edges))
        by_face = csr_array(
            (np.ones(len(self.edge)), (self.edge, self.face)), shape=(len(rows), faces.shape[0])
        )
        smooth = diags_array(0.5 * ~self.rim) @ (middles + _mean(by_face) @ faces)
        edges = smooth + diags_array(1.0 * self.rim) @ middles
        valence, inside = self._valence(), ~self._on_rim()
        share = np.where(inside, 1 / np.maximum(valence, 1), 0)
        around = self._incidence(self.corners, self.face, self.num_vertices, faces.shape[0])
        own = np.where(inside, (valence - 3) * share, 0.75)
        vertices = (
            diags_array(share) @ (_mean(around) @ faces)
            + diags_array(2 * share) @ (_mean(self._edge_ends().T.tocsr()) @ middles)
            + diags_array(own)
            + diags_array(0.25 * ~inside) @ _mean(self._along_rim())
        )
        return csr_array(vstack([vertices, edges, faces]))

    def refined_uv(self, uv: NDArray[np.float64]) -> NDArray[np.float64]:
        """Places [4 C, 2] of the refined mesh's corners by those of this one's [C, 2]."""
        count = np.bincount(self.face)[:, None]
        middle = np.stack([np.bincount(self.face, uv[:, k]) for k in range(2)], 1) / count
        ahead, behind = 0.5 * (uv + uv[self.next]), 0.5 * (uv + uv[self.previous])
        return np.stack([uv, ahead, middle[self.face], behind], 1).reshape(-1, 2)

    def limit(self) -> csr_array:
        """Where vertices of a mesh of quads end after endless subdivision."""
        n, inside = self._valence(), ~self._on_rim()
        total = np.maximum(n * (n + 5), 1)
        along = self._neighbours(self.edges, np.full(len(self.edges), True))
        opposite = self.corners[self.next[self.next]]
        across = self._incidence(self.corners, opposite, self.num_vertices, self.num_vertices)
        return csr_array(
            diags_array(np.where(inside, n * n / total, 2 / 3))
            + diags_array(np.where(inside, 4 / total, 0)) @ along
            + diags_array(np.where(inside, 1 / total, 0)) @ across
            + diags_array(np.where(inside, 0, 1 / 3)) @ _mean(self._along_rim())
        )

    def _incidence(
        self, rows: Integers, columns: Integers, height: int, width: int | None = None
    ) -> csr_array:
        shape = (int(height), int(width or self.num_vertices))
        return coo_array((np.ones(len(rows)), (rows, columns)), shape=shape).tocsr()

    def _edge_ends(self) -> csr_array:
        rows = np.repeat(np.arange(len(self.edges)), 2)
        return self._incidence(rows, self.edges.ravel(), len(self.edges))

    def _neighbours(self, edges: Integers, wanted: NDArray[np.bool_]) -> csr_array:
        a, b = edges[wanted].T
        return self._incidence(np.r_[a, b], np.r_[b, a], self.num_vertices)

    def _along_rim(self) -> csr_array:
        """Neighbours along the rim; a vertex with none there is its own."""
        along = self._neighbours(self.edges, self.rim)
        alone = np.asarray(along.sum(1)) == 0
        return csr_array(along + diags_array(1.0 * alone))

    def _valence(self) -> NDArray[np.int64]:
        return np.bincount(self.edges.ravel(), minlength=self.num_vertices)

    def _on_rim(self) -> NDArray[np.bool_]:
        on = np.zeros(self.num_vertices, bool)
        on[self.edges[self.rim].ravel()] = True
        return on


def _mean(incidence: csr_array) -> csr_array:
    """Rows that sum to 1."""
    return csr_array(diags_array(1 / np.maximum(np.asarray(incidence.sum(1)), 1)) @ incidence)
