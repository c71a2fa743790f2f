"""Path-traces people with Blender's Cycles: the only file that imports bpy, a process of its own.

blender.py runs it in a Python that has Blender. It reads messages from stdin and answers each with a line on
stdout.

A message is 8 bytes of length and an .npz: `json` and the arrays it names. Axes come x left, y up, z forward
and become Blender's z up.
"""

from __future__ import annotations

import io
import json
import os
import struct
import sys
from typing import Any, BinaryIO

import bpy
import mathutils
import numpy as np

MELANIN = "melanin"  # attribute of strands
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

    def set(self, **inputs: Any) -> None:
        for key, value in inputs.items():
            self.surface.inputs[key.replace("_", " ")].default_value = value


def skin(numbers: dict[str, float], picture: str) -> Any:
    shader = Shader("skin")
    tone = shader.node("HueSaturation", Value=numbers["brightness"])
    shader.link(shader.picture(picture).outputs["Color"], tone.inputs["Color"])
    shader.link(tone.outputs["Color"], shader.surface.inputs["Base Color"])
    shader.surface.subsurface_method = "RANDOM_WALK"
    shader.set(
        Subsurface_Weight=0.35,
        Subsurface_Radius=(1, 0.35, 0.18),
        Subsurface_Scale=0.004,
        Roughness=0.46,
        Specular_IOR_Level=0.4,
    )
    place = shader.node("TexCoord")
    pores, unrest = shader.node("TexVoronoi", Scale=1100), shader.node("TexNoise", Scale=260, Detail=4)
    height, bump = shader.node("Math"), shader.node("Bump", Strength=0.22, Distance=6e-4)
    for kind in (pores, unrest):
        shader.link(place.outputs["Object"], kind.inputs["Vector"])
    shader.link(pores.outputs["Distance"], height.inputs[0])
    shader.link(unrest.outputs["Fac"], height.inputs[1])
    shader.link(height.outputs[0], bump.inputs["Height"])
    shader.link(bump.outputs["Normal"], shader.surface.inputs["Normal"])
    return shader.material


def painted(numbers: dict[str, float], picture: str) -> Any:
    shader = Shader("painted")
    image = shader.picture(picture)
    shader.link(image.outputs["Color"], shader.surface.inputs["Base Color"])
    shader.link(image.outputs["Alpha"], shader.surface.inputs["Alpha"])
    shader.set(Roughness=numbers["roughness"], Specular_IOR_Level=numbers["specular"])
    return shader.material


def hair(numbers: dict[str, float], _picture: str) -> Any:
    material = bpy.data.materials.new("hair")
    material.use_nodes = True
    nodes = material.node_tree.nodes
    nodes.clear()
    fibre = nodes.new("ShaderNodeBsdfHairPrincipled")
    fibre.parametrization = "MELANIN"
    inputs = {
        "Melanin Redness": numbers["redness"],
        "Roughness": 0.32,
        "Radial Roughness": 0.4,
        "Random Color": 0.1,
        "Random Roughness": 0.2,
    }
    for key, value in inputs.items():
        fibre.inputs[key].default_value = value
    pigment = nodes.new("ShaderNodeAttribute")
    pigment.attribute_name = MELANIN
    material.node_tree.links.new(pigment.outputs["Fac"], fibre.inputs["Melanin"])
    output = nodes.new("ShaderNodeOutputMaterial")
    material.node_tree.links.new(fibre.outputs[0], output.inputs["Surface"])
    return material


SHADERS = {"skin": skin, "painted": painted, "hair": hair}


def material(description: dict[str, Any]) -> Any:
    return SHADERS[description["shader"]](description["numbers"], description["picture"])


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
        self.scene.view_settings.view_transform = "Standard"
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
        for name, mesh in self.meshes.items():
            points = in_blender(arrays[f"{name}.vertices"])
            mesh.vertices.foreach_set("co", points.astype(np.float32).ravel())
            mesh.update()
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


def main() -> None:
    # Blender writes to stdout what it does: only answers may go there.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    scene: Scene | None = None
    print(f"blender {bpy.app.version_string}", file=answers, flush=True)
    for message, arrays in messages(sys.stdin.buffer):
        if message["kind"] == "person":
            scene = Scene(message, arrays)
        elif scene is not None:
            scene.draw(message, arrays)
        print("done", file=answers, flush=True)


if __name__ == "__main__":
    main()
