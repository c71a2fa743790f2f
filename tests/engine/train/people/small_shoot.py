"""A shoot that takes a second to draw: a built-in person's Gaussians on the average adult."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch

from engine.train.people.dataset import dataset_of
from render.avatars.avatar import Avatar
from render.avatars.bindings import TriangleBinding
from render.avatars.library import open_avatar
from render.cpu.renderer import CpuRenderer
from render.making.people.head import rig_reference
from render.making.people.person import Shape
from render.making.people.shoot import Shot, Start, Strands, Surface, read_shoot, write_shots, write_start
from render.rigs.head import load_head, load_head_surface
from render.rigs.rig import Rig

SIZE = 64


def average_person() -> Avatar:
    """Few and large Gaussians on the skin itself, nothing beyond what the rig does."""
    vera, reference = open_avatar("vera"), rig_reference(Shape())
    binding = vera.bindings[0]
    rows = torch.nonzero(vera.gaussians.means.norm(dim=1) < 1)[::8, 0]  # what stands off further is hair
    assert isinstance(binding, TriangleBinding)
    few = vera.gaussians.chosen(rows)
    return vera.replace(
        rig=reference.rebuild(load_head()),
        rig_reference=reference,
        gaussians=replace(few, log_scales=few.log_scales + math.log(3)),
        bindings=(TriangleBinding(binding.face_index[rows]),),
        deformation=None,
    )


def start_of(rig: Rig, num_strands: int = 400) -> Start:
    """The rig's own surface, and strands that stand off the crown."""
    surface, vertices = load_head_surface(), rig.template.numpy()

    def part(*groups: str) -> Surface:
        return Surface(vertices, rig.faces[surface.faces_of(rig.faces, *groups)].numpy().astype(np.int32))

    rng = np.random.default_rng(0)
    crown = vertices[vertices[:, 1] > vertices[:, 1].max() - 0.03]
    roots = crown[rng.integers(len(crown), size=num_strands)]
    steps = np.linspace(0, 0.04, 5)[None, :, None] * np.array([0.0, 1.0, 0.0])
    strands = Strands((roots[:, None] + steps).astype(np.float32), np.full(num_strands, 4e-5, np.float32))
    surfaces = {
        "skin": part("body"),
        "eyes": part("left_eye", "right_eye"),
        "teeth": part("upper_teeth", "lower_teeth"),
    }
    return Start(surfaces, {"hair": strands})


def camera_to_world(yaw_deg: float, distance_m: float = 1.05) -> np.ndarray:
    """An OpenGL camera that looks at the head from the person's left (positive) or right."""
    yaw = math.radians(yaw_deg)
    matrix = np.eye(4)
    matrix[:3, :3] = [[math.cos(yaw), 0, math.sin(yaw)], [0, 1, 0], [-math.sin(yaw), 0, math.cos(yaw)]]
    matrix[:3, 3] = (distance_m * math.sin(yaw), 0.0, distance_m * math.cos(yaw))
    return matrix


def shots() -> list[Shot]:
    """The person at rest and with an open mouth and a turned gaze; two of each are held out."""
    focal = 0.5 * SIZE / math.tan(math.radians(10.0))
    moved = {"jawOpen": 0.8, "eyeLookOutLeft": 0.4, "eyeLookInRight": 0.4}
    made = []
    for weights in ({}, moved):
        for yaw in (-60, -30, -10, 0, 15, 30, 60):
            made.append(
                Shot(
                    file=f"{len(made):02d}.png",
                    width=SIZE,
                    height=SIZE,
                    focal_px=focal,
                    camera_to_world=camera_to_world(yaw),
                    weights=weights,
                    gaze_deg=(12.0, 0.0) if weights else None,
                    held_out=yaw in (-10, 30),
                )
            )
    return made


def write_shoot(folder: Path) -> None:
    """Draw and write everything."""
    person, renderer = average_person(), CpuRenderer(SIZE, SIZE)
    for shot in shots():
        (folder / shot.file).write_bytes(b"")
    write_shots(folder, "average", Shape(), shots())
    write_start(folder, start_of(person.rig))
    for view in dataset_of(read_shoot(folder)).views:
        with torch.inference_mode():
            drawn = renderer.render(person.pose(view.params), view.camera)
            rgb = (drawn.rgb / drawn.alpha.clamp_min(1e-3)[..., None]).clamp(0, 1)
            pixels = torch.cat([rgb.flip(-1), drawn.alpha[..., None]], -1)
        cv2.imwrite(str(folder / f"{view.name}.png"), (pixels * 255).round().to(torch.uint8).numpy())
