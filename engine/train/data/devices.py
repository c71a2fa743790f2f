"""What a training step needs, on its device; nothing here waits for the device."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from engine.train.data.views import View
from render.camera import Camera
from render.rigs.params import RigParams


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """`tensor` on `device`; a copy from the host is queued, not waited for."""
    return tensor.to(device, non_blocking=True)


def params_on(params: RigParams, device: torch.device) -> RigParams:
    """The pose with its tensors on `device`."""
    return RigParams(
        sent(params.expression, device),
        sent(params.pose, device),
        sent(params.translation, device),
        None if params.shape is None else sent(params.shape, device),
    )


def camera_on(camera: Camera, device: torch.device) -> Camera:
    """The camera with its transform on `device`."""
    return replace(camera, world_to_camera=sent(camera.world_to_camera, device))


def view_on(view: View, device: torch.device) -> View:
    """The view with pose and camera on `device`; its picture stays where it is read."""
    return replace(view, camera=camera_on(view.camera, device), params=params_on(view.params, device))
