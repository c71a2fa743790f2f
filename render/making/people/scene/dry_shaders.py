"""Shaders of skin, cloth and hair. Run by path_tracer.py, whose Shader they wire. Lengths are in metres."""

from __future__ import annotations

import math
from typing import Any

Numbers = dict[str, Any]

STATE, MELANIN = "state", "melanin"  # as in path_tracer.py


def skin(shader: Any, numbers: Numbers, picture: str) -> Any:
    rough, pores, moist = shader.channels(shader.map(numbers["pictures"]["surface"]))[:3]
    folds_mm, blood, shut = shader.channels(face_state(shader, numbers["face_box"]))[:3]
    # To first order in blood: Beer and Lambert for each colour.
    taken = [float(math.exp(-share) - 1) for share in numbers["blood"]]
    tint = shader.vector("MULTIPLY_ADD", blood, taken, (1, 1, 1))
    tint = shader.vector("MULTIPLY", tint, shader.math("SUBTRACT", 1, shut))
    tone = shader.vector("MULTIPLY", shader.picture(picture).outputs["Color"], tint)
    shader.link(tone, shader.surface.inputs["Base Color"])
    shader.link(rough, shader.surface.inputs["Roughness"])
    shader.link(moist, shader.surface.inputs["Coat Weight"])
    shader.surface.subsurface_method = "RANDOM_WALK"
    shader.set(
        Subsurface_Weight=1.0,
        Subsurface_Radius=numbers["radius_m"],
        Subsurface_Scale=1.0,
        IOR=1.4,
        Coat_Roughness=0.16,
        Coat_IOR=1.36,
        Sheen_Weight=0.04,  # vellus hair, seen at the edge of a cheek
        Sheen_Roughness=0.4,
    )
    pits = shader.texture("Voronoi", shader.rest(), "Distance", Scale=950)
    pits = shader.math("SMOOTH_MIN", pits, 0.4, 0.15)
    net = shader.texture("Noise", shader.rest(), "Fac", Scale=1500, Detail=2)
    unrest = shader.texture("Noise", shader.rest(), "Fac", Scale=280, Detail=3)
    along_lips = shader.texture("Noise", shader.rest(1, 0.16, 0.16), "Fac", Scale=800, Detail=2)
    shader.relief(
        shader.math("MULTIPLY", folds_mm, 1e-3),
        shader.math("MULTIPLY", pores, shader.math("MULTIPLY", pits, 5e-4)),
        shader.math("MULTIPLY", net, 1.4e-4),
        shader.math("MULTIPLY", unrest, 3e-4),
        shader.math("MULTIPLY", moist, shader.math("MULTIPLY", along_lips, 4e-4)),
    )
    return shader.material


def face_state(shader: Any, box: list[float]) -> Any:
    """The picture that every pose brings anew, in a part of the UV (left, bottom, width, height)."""
    state = shader.node("TexImage")
    state.name = STATE
    state.interpolation, state.extension = "Cubic", "CLIP"
    place = shader.node("UVMap").outputs["UV"]
    place = shader.vector("SUBTRACT", place, (*box[:2], 0))
    shader.link(shader.vector("DIVIDE", place, (*box[2:], 1)), state.inputs["Vector"])
    return state


def cloth(shader: Any, numbers: Numbers, picture: str) -> Any:
    image = shader.picture(picture)
    shader.link(image.outputs["Alpha"], shader.surface.inputs["Alpha"])
    shader.set(Roughness=0.85, Specular_IOR_Level=0.25, Sheen_Weight=numbers["fuzz"], Sheen_Roughness=0.6)
    # A wave of scale 1 has 20 radians a metre.
    scale = numbers["threads_per_m"] * 2 * math.pi / 20
    threads = []
    for direction in ("X", "Y"):
        wave = shader.node("TexWave", Scale=scale, Distortion=0.6, Detail=1.0, Detail_Scale=0.2)
        wave.bands_direction = direction
        shader.link(shader.rest(), wave.inputs["Vector"])
        threads.append(wave.outputs["Fac"])
    weave = shader.math("MAXIMUM", *threads)
    yarn = shader.texture("Noise", shader.rest(1, 0.3, 1), "Fac", Scale=500, Detail=2)
    shade = shader.math("MULTIPLY_ADD", shader.math("ADD", weave, yarn), 0.16, 0.84)
    shader.link(shader.vector("MULTIPLY", image.outputs["Color"], shade), shader.surface.inputs["Base Color"])
    creases = shader.texture("Noise", shader.rest(1, 0.6, 1), "Fac", Scale=24, Detail=2, Distortion=1.2)
    normal = None
    if "normal" in numbers["pictures"]:
        bent = shader.node("NormalMap", Strength=0.8)
        shader.link(shader.map(numbers["pictures"]["normal"]).outputs["Color"], bent.inputs["Color"])
        normal = bent.outputs["Normal"]
    shader.relief(
        shader.math("MULTIPLY", weave, 1.2e-4),
        shader.math("MULTIPLY", creases, 4 * numbers["creases_m"]),
        normal=normal,
    )
    return shader.material


def hair(shader: Any, numbers: Numbers, _picture: str) -> Any:
    fibre = shader.node("BsdfHairPrincipled")
    fibre.parametrization = "MELANIN"  # before its inputs: they are there only then
    inputs = {
        "Melanin Redness": numbers["redness"],
        "Roughness": 0.32,
        "Radial Roughness": 0.4,
        "Random Color": 0.1,
        "Random Roughness": 0.2,
    }
    for key, value in inputs.items():
        fibre.inputs[key].default_value = value
    pigment = shader.node("Attribute")
    pigment.attribute_name = MELANIN
    shader.link(pigment.outputs["Fac"], fibre.inputs["Melanin"])
    return shader.finish(fibre)


SHADERS = {"skin": skin, "cloth": cloth, "hair": hair}
