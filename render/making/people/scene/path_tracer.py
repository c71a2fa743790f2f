"""Path-traces people with Blender's Cycles: the only file that imports bpy, a process of its own.

blender.py runs it in a Python that has Blender. It reads messages from stdin and answers each with a line on
stdout.

A message is 8 bytes of length and an .npz: `json` and the arrays it names. Axes come x left, y up, z forward
and become Blender's z up.
"""

from __future__ import annotations

import importlib.util
import io
import json
import os
import struct
import sys
from pathlib import Path
from typing import Any, BinaryIO

import bpy
import mathutils
import numpy as np

STATE = "state"  # name of the node whose picture changes from pose to pose, see dry_shaders.py
MELANIN = "melanin"  # attribute of strands, see dry_shaders.py
AXES = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]], float)


def in_blender(points: Any) -> Any:
    return np.asarray(points, float) @ AXES.T


def matrix_in_blender(matrix: Any) -> mathutils.Matrix:
    turned = np.eye(4)
    turned[:3, :3] = AXES @ matrix[:3, :3] @ AXES.T
    turned[:3, 3] = AXES @ matrix[:3, 3]
    return mathutils.Matrix(turned.tolist())


class Shader:
    """A principled material being wired."""

    def __init__(self, name: str) -> None:
        self.material = bpy.data.materials.new(name)
        self.material.use_nodes = True
        self.nodes, self.links = self.material.node_tree.nodes, self.material.node_tree.links
        self.surface = self.nodes["Principled BSDF"]

    def node(self, kind: str, **inputs: Any) -> Any:
        made = self.nodes.new(f"ShaderNode{kind}")
        for key, value in inputs.items():
            made.inputs[key.replace("_", " ")].default_value = value
        return made

    def picture(self, path: str) -> Any:
        node = self.node("TexImage")
        node.image = bpy.data.images.load(path, check_existing=True)
        node.interpolation = "Cubic"
        return node

    def link(self, source: Any, target: Any) -> None:
        self.links.new(source, target)

    def ramp(self, value: Any, start: float, end: float, low: float, high: float) -> Any:
        """A value that rises smoothly from `low` at `start` to `high` at `end`."""
        node = self.nodes.new("ShaderNodeMapRange")
        node.interpolation_type = "SMOOTHSTEP"
        for key, number in zip(
            ("From Min", "From Max", "To Min", "To Max"), (start, end, low, high), strict=True
        ):
            node.inputs[key].default_value = number
        self.link(value, node.inputs["Value"])
        return node.outputs["Result"]

    def mix(self, share: Any, first: Any, second: Any) -> Any:
        """Two shaders, `share` of the second."""
        node = self.node("MixShader")
        self.link(share, node.inputs[0])
        self.link(first.outputs[0], node.inputs[1])
        self.link(second.outputs[0], node.inputs[2])
        return node

    def finish(self, surface: Any) -> Any:
        self.link(surface.outputs[0], self.nodes["Material Output"].inputs["Surface"])
        return self.material

    def colour(self, source: Any) -> None:
        self.link(source.outputs["Color"], self.surface.inputs["Base Color"])

    def bump(self, height: Any, strength: float, distance: float) -> None:
        """Unevenness, metres high at most, by an output."""
        bump = self.node("Bump", Strength=strength, Distance=distance)
        self.link(height, bump.inputs["Height"])
        self.link(bump.outputs["Normal"], self.surface.inputs["Normal"])

    def in_space(self, kind: str, **inputs: Any) -> Any:
        """A texture that fills space."""
        texture = self.node(kind, **inputs)
        self.link(self.node("TexCoord").outputs["Object"], texture.inputs["Vector"])
        return texture

    def scatter(self, weight: float, radius: tuple[float, float, float], metres: float) -> None:
        """Light that walks under the surface, by colour so far."""
        self.surface.subsurface_method = "RANDOM_WALK"
        self.set(Subsurface_Weight=weight, Subsurface_Radius=radius, Subsurface_Scale=metres)

    def set(self, **inputs: Any) -> None:
        for key, value in inputs.items():
            self.surface.inputs[key.replace("_", " ")].default_value = value

    def map(self, path: str) -> Any:
        """A picture of numbers rather than of colours; separated into its channels."""
        node = self.picture(path)
        node.image.colorspace_settings.name = "Non-Color"
        return node

    def channels(self, picture: Any) -> Any:
        apart = self.node("SeparateColor")
        self.link(picture.outputs["Color"], apart.inputs[0])
        return apart.outputs

    def rest(self, *stretch: float) -> Any:
        """Where a point lies before the body moves, each axis times `stretch`."""
        place = self.node("Attribute")
        place.attribute_name = "rest"
        return self.vector("MULTIPLY", place.outputs["Vector"], stretch or (1, 1, 1))

    def math(self, operation: str, *values: Any) -> Any:
        return self._calculated(self.node("Math"), operation, values)

    def vector(self, operation: str, *values: Any) -> Any:
        return self._calculated(self.node("VectorMath"), operation, values)

    def _calculated(self, node: Any, operation: str, values: Any) -> Any:
        node.operation = operation
        for value, target in zip(values, node.inputs, strict=False):
            if isinstance(value, bpy.types.NodeSocket):
                self.link(value, target)
            else:
                target.default_value = value
        return node.outputs[0]

    def texture(self, kind: str, place: Any, output: str, **inputs: Any) -> Any:
        node = self.node(f"Tex{kind}", **inputs)
        self.link(place, node.inputs["Vector"])
        return node.outputs[output]

    def relief(self, *heights_m: Any, normal: Any = None) -> None:
        """Heights over the surface, in metres, that bend its normal."""
        total = heights_m[0]
        for height in heights_m[1:]:
            total = self.math("ADD", total, height)
        bump = self.node("Bump", Strength=1.0, Distance=1.0)
        self.link(total, bump.inputs["Height"])
        if normal is not None:
            self.link(normal, bump.inputs["Normal"])
        self.link(bump.outputs["Normal"], self.surface.inputs["Normal"])


def shaders_of(file: str) -> dict[str, Any]:
    """What a file beside this one has, by name; its folder stays off the path: there are Blender's names."""
    found = importlib.util.spec_from_file_location(file, Path(__file__).with_name(f"{file}.py"))
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return dict(module.SHADERS)


SHADERS = {**shaders_of("dry_shaders"), **shaders_of("wet_shaders")}


def material(description: dict[str, Any]) -> Any:
    kind = description["shader"]
    further = {name: picture["path"] for name, picture in description["further"].items()}
    numbers: dict[str, Any] = {**description["numbers"], "pictures": further}
    return SHADERS[kind](Shader(kind), numbers, description["picture"])


def show_state(material: Any, state: Any) -> None:
    """Give a material the picture [H, W, 3] of the pose at hand."""
    node = material.node_tree.nodes[STATE]
    if node.image is not None:
        bpy.data.images.remove(node.image)
    height, width = state.shape[:2]
    # A new one each time: Cycles keeps what it has loaded of an image between pictures.
    node.image = bpy.data.images.new(STATE, width, height, float_buffer=True, is_data=True)
    pixels = np.ones((height, width, 4), np.float32)
    pixels[..., :3] = state[::-1]
    node.image.pixels.foreach_set(pixels.ravel())
    node.image.update()


class Scene:
    """One person, and the camera and light of the picture at hand."""

    def __init__(self, message: dict[str, Any], arrays: dict[str, Any]) -> None:
        bpy.ops.wm.read_factory_settings(use_empty=True)
        self.scene = bpy.context.scene
        self.meshes: dict[str, Any] = {}
        self.subdivisions: dict[str, int] = {}
        self.hairs: dict[str, Any] = {}
        for name, description in message["surfaces"].items():
            self._add_surface(name, description, arrays)
        for name, description in message["strands"].items():
            self._add_strands(name, description, arrays)
        self.camera = bpy.data.objects.new("camera", bpy.data.cameras.new("camera"))
        self._show(self.camera)
        self.scene.camera = self.camera
        self.scene.world = bpy.data.worlds.new("room")
        self.scene.world.use_nodes = True
        self.lamps: list[Any] = []
        self._settings()

    def _show(self, thing: Any) -> None:
        self.scene.collection.objects.link(thing)

    def _add_surface(self, name: str, description: dict[str, Any], arrays: dict[str, Any]) -> None:
        counts, corners = arrays[f"{name}.counts"], arrays[f"{name}.corners"]
        polygons = np.split(corners, np.cumsum(counts)[:-1])
        mesh = bpy.data.meshes.new(name)
        mesh.from_pydata(np.zeros((description["vertices"], 3)).tolist(), [], [p.tolist() for p in polygons])
        mesh.uv_layers.new(name="UV").data.foreach_set("uv", arrays[f"{name}.uv"].ravel())
        mesh.polygons.foreach_set("use_smooth", [True] * len(polygons))
        if f"{name}.rest" in arrays:
            rest = mesh.attributes.new("rest", "FLOAT_VECTOR", "POINT")
            rest.data.foreach_set("vector", arrays[f"{name}.rest"].ravel())
        mesh.materials.append(material(description["material"]))
        thing = bpy.data.objects.new(name, mesh)
        self._show(thing)
        if description["subdivisions"]:
            rounded = thing.modifiers.new("round", "SUBSURF")
            rounded.levels = rounded.render_levels = description["subdivisions"]
        self.meshes[name] = mesh

    def _add_strands(self, name: str, description: dict[str, Any], arrays: dict[str, Any]) -> None:
        points, radius = arrays[f"{name}.points"], arrays[f"{name}.radius"]
        curves = bpy.data.hair_curves.new(name)
        curves.add_curves([points.shape[1]] * len(points))
        curves.position_data.foreach_set("vector", in_blender(points).astype(np.float32).ravel())
        thickness = curves.attributes.get("radius") or curves.attributes.new("radius", "FLOAT", "POINT")
        thickness.data.foreach_set("value", radius.ravel())
        curves.attributes.new(MELANIN, "FLOAT", "CURVE").data.foreach_set("value", arrays[f"{name}.melanin"])
        curves.materials.append(material(description["material"]))
        self.hairs[name] = bpy.data.objects.new(name, curves)
        self._show(self.hairs[name])

    def _settings(self) -> None:
        render, cycles = self.scene.render, self.scene.cycles
        render.engine = "CYCLES"
        render.use_persistent_data = True
        render.film_transparent = True
        render.image_settings.file_format = "PNG"
        render.image_settings.color_mode = "RGBA"
        # One curve for all pictures, that of film: highlights roll off instead of clipping.
        self.scene.view_settings.view_transform = "AgX"
        self.scene.view_settings.look = "AgX - Medium High Contrast"
        cycles.device = "CPU"
        cycles.use_denoising = True
        cycles.denoiser = "OPENIMAGEDENOISE"
        cycles.adaptive_threshold = 0.02
        cycles.max_bounces = 6
        cycles.transparent_max_bounces = 16
        cycles.seed = 0
        self._denoise_outline()

    def _denoise_outline(self) -> None:
        """Denoise alpha too, as Cycles does not: few samples leave speckles where hairs end."""
        self.scene.use_nodes = True
        tree = self.scene.node_tree
        tree.nodes.clear()
        traced = tree.nodes.new("CompositorNodeRLayers")
        smoothed = tree.nodes.new("CompositorNodeDenoise")
        smoothed.use_hdr = False
        covered = tree.nodes.new("CompositorNodeSetAlpha")
        covered.mode = "REPLACE_ALPHA"
        picture = tree.nodes.new("CompositorNodeComposite")
        tree.links.new(traced.outputs["Alpha"], smoothed.inputs["Image"])
        tree.links.new(traced.outputs["Image"], covered.inputs["Image"])
        tree.links.new(smoothed.outputs["Image"], covered.inputs["Alpha"])
        tree.links.new(covered.outputs["Image"], picture.inputs["Image"])

    def draw(self, message: dict[str, Any], arrays: dict[str, Any]) -> None:
        """Render one picture to message['path']."""
        self._pose_surfaces(arrays)
        for name, thing in self.hairs.items():
            if f"{name}.placement" in arrays:
                thing.matrix_world = matrix_in_blender(arrays[f"{name}.placement"])
            else:
                points = in_blender(arrays[f"{name}.points"]).astype(np.float32)
                thing.data.position_data.foreach_set("vector", points.ravel())
                thing.data.update_tag()
        self._light(message["lighting"])
        self._aim(message["camera"], arrays["camera_to_world"])
        self.scene.cycles.samples = message["samples"]
        self.scene.render.filepath = message["path"]
        bpy.ops.render.render(write_still=True)

    def _pose_surfaces(self, arrays: dict[str, Any]) -> None:
        for name, mesh in self.meshes.items():
            points = in_blender(arrays[f"{name}.vertices"])
            mesh.vertices.foreach_set("co", points.astype(np.float32).ravel())
            mesh.update()
            if f"{name}.state" in arrays:
                show_state(mesh.materials[0], arrays[f"{name}.state"])

    def _light(self, lighting: dict[str, Any]) -> None:
        for lamp in self.lamps:
            bpy.data.lights.remove(lamp)
        self.lamps = []
        eyes = in_blender(lighting["eyes"])
        for description in lighting["lamps"]:
            lamp = bpy.data.lights.new("lamp", "AREA")
            lamp.size, lamp.energy, lamp.color = (description[k] for k in ("size", "watts", "colour"))
            thing = bpy.data.objects.new("lamp", lamp)
            away = in_blender(description["place"])
            thing.location = eyes + away
            thing.rotation_euler = mathutils.Vector(-away).to_track_quat("-Z", "Y").to_euler()
            self._show(thing)
            self.lamps.append(lamp)
        room = self.scene.world.node_tree.nodes["Background"]
        room.inputs[0].default_value = (*lighting["room_colour"], 1)
        room.inputs[1].default_value = lighting["room"]

    def _aim(self, camera: dict[str, Any], camera_to_world: Any) -> None:
        lens, render = self.camera.data, self.scene.render
        render.resolution_x, render.resolution_y = camera["width"], camera["height"]
        border = camera["border"]
        render.use_border = render.use_crop_to_border = border is not None
        if border is not None:
            left, top, width, height = border
            render.border_min_x = left / camera["width"]
            render.border_max_x = (left + width) / camera["width"]
            render.border_min_y = 1 - (top + height) / camera["height"]
            render.border_max_y = 1 - top / camera["height"]
        lens.sensor_fit = "VERTICAL"
        lens.angle = 2 * np.arctan(0.5 * camera["height"] / camera["focal"])
        # Ours looks along z with y down, Blender's along -z with y up.
        placed = np.eye(4)
        placed[:3, :3] = AXES @ camera_to_world[:3, :3] @ np.diag([1.0, -1, -1])
        placed[:3, 3] = AXES @ camera_to_world[:3, 3]
        self.camera.matrix_world = mathutils.Matrix(placed.tolist())


def messages(stream: BinaryIO) -> Any:
    while header := stream.read(8):
        (length,) = struct.unpack("<q", header)
        with np.load(io.BytesIO(stream.read(length)), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        yield json.loads(str(arrays.pop("json"))), arrays


def answer(kind: Any) -> None:
    """Answer messages to their end, with scenes of a `kind`: Scene, or one that draws otherwise."""
    # Blender writes to stdout what it does: only answers may go there.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    scene: Any = None
    print(f"blender {bpy.app.version_string}", file=answers, flush=True)
    for message, arrays in messages(sys.stdin.buffer):
        if message["kind"] == "person":
            scene = kind(message, arrays)
        elif scene is not None:
            scene.draw(message, arrays)
        print("done", file=answers, flush=True)


if __name__ == "__main__":
    answer(Scene)
