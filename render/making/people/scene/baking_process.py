"""Bakes a person's light into colours of vertices: path_tracer.py's process with another scene.

Instead of a picture, `draw` writes to `path` the display colours of the surfaces named, vertex after
vertex, as an 8-bit picture 1,024 wide whose rows run from the top.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np

ROW = 1024
_BAKED = "baked"


def _path_tracer() -> Any:
    # By its path: the folder stays off sys.path, there are names of Blender's in it.
    found = importlib.util.spec_from_file_location("path_tracer", Path(__file__).with_name("path_tracer.py"))
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


tracer = _path_tracer()
bpy = tracer.bpy


_Scene: Any = tracer.Scene


class BakingScene(_Scene):
    """One person of surfaces alone, strands being ribbons among them."""

    def _add_surface(self, name: str, description: dict[str, Any], arrays: dict[str, Any]) -> None:
        super()._add_surface(name, description, arrays)
        mesh = self.meshes[name]
        mesh.color_attributes.new(_BAKED, "FLOAT_COLOR", "POINT")
        if f"{name}.melanin" in arrays:
            pigment = mesh.attributes.new(tracer.MELANIN, "FLOAT", "POINT")
            pigment.data.foreach_set("value", arrays[f"{name}.melanin"])

    def draw(self, message: dict[str, Any], arrays: dict[str, Any]) -> None:
        """Bake instead: write the colours of message['surfaces'] to message['path']."""
        self._pose_surfaces(arrays)
        self._light(message["lighting"])
        self._aim(message["camera"], arrays["camera_to_world"])
        self.scene.cycles.samples = message["samples"]
        self.scene.cycles.use_denoising = False  # neighbours in a list are none in the picture
        self.scene.render.bake.view_from = "ACTIVE_CAMERA" if message["from_camera"] else "ABOVE_SURFACE"
        for thing in self.scene.objects:
            thing.select_set(thing.name in message["surfaces"])
            thing.hide_render = thing.name in message["hidden"]
        bpy.context.view_layer.objects.active = self.scene.objects[message["surfaces"][0]]
        bpy.ops.object.bake(type="COMBINED", target="VERTEX_COLORS")
        self._write([self.meshes[name] for name in message["surfaces"]], message["path"])

    def _write(self, meshes: list[Any], path: str) -> None:
        colours = []
        for mesh in meshes:
            values = np.empty(4 * len(mesh.vertices), np.float32)
            mesh.color_attributes[_BAKED].data.foreach_get("color", values)
            colours.append(values.reshape(-1, 4))
        linear = np.concatenate(colours)
        rows = -(-len(linear) // ROW)
        pixels = np.ones((rows * ROW, 4), np.float32)
        pixels[: len(linear), :3] = np.nan_to_num(linear[:, :3])
        image = bpy.data.images.new(_BAKED, ROW, rows, float_buffer=True)
        image.pixels.foreach_set(pixels.reshape(rows, ROW, 4)[::-1].ravel())
        image.update()
        # Written as pictures are, so that both have the same look.
        image.save_render(path, scene=self.scene)
        bpy.data.images.remove(image)


if __name__ == "__main__":
    tracer.answer(BakingScene)
