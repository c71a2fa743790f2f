"""Shaders of what is wet: eyes and the inside of a mouth. Run by path_tracer.py, whose Shader they wire.

Lengths are in metres.
"""

from __future__ import annotations

from typing import Any

Numbers = dict[str, float]

# The middle and the iris's radius in MakeHuman's pictures of eyes, as in eyeballs.py.
EYE_CENTRE = (0.2939, 0.2982)
EYE_IRIS = 0.1152


def eyeball(shader: Any, numbers: Numbers, picture: str) -> Any:
    """The white of an eye and, inside the limbus, a cornea that bends light."""
    from_middle = shader.node("VectorMath")
    from_middle.operation = "DISTANCE"
    from_middle.inputs[1].default_value = (*EYE_CENTRE, 0)
    shader.link(shader.node("TexCoord").outputs["UV"], from_middle.inputs[0])
    radius = from_middle.outputs["Value"]
    # Redder towards the corners, where the vessels come from.
    red = shader.node("MixRGB", Color2=(1.0, 0.62, 0.56, 1))
    red.blend_type = "MULTIPLY"
    blood = shader.ramp(radius, 1.5 * EYE_IRIS, 2.6 * EYE_IRIS, 0.05, 0.5 * numbers["redness"])
    shader.link(blood, red.inputs["Fac"])
    tone = shader.node("HueSaturation", Saturation=1.1, Value=1.22)
    shader.link(shader.picture(picture).outputs["Color"], tone.inputs["Color"])
    shader.link(tone.outputs["Color"], red.inputs["Color1"])
    shader.colour(red)
    shader.scatter(0.4, (1, 0.55, 0.4), 2.5e-3)
    shader.bump(shader.in_space("TexNoise", Scale=700, Detail=2).outputs["Fac"], 0.1, 2e-4)
    shader.set(Roughness=0.1, Specular_IOR_Level=0.5)
    # A mirror that is a little rough finds lamps by itself: without that catchlights would be noise.
    mirror = shader.node("BsdfGlossy", Roughness=0.04)
    bent = shader.node("BsdfRefraction", Roughness=0.0, IOR=1.336)
    wet = shader.mix(shader.node("Fresnel", IOR=1.376).outputs[0], bent, mirror)
    # Only what the camera sees is bent: lamps light the iris straight, without caustics' noise.
    path, clear = shader.node("LightPath"), shader.node("BsdfTransparent")
    cornea = shader.mix(path.outputs["Is Camera Ray"], clear, wet)
    limbus = shader.ramp(radius, 0.93 * EYE_IRIS, 1.08 * EYE_IRIS, 0.0, 1.0)
    return shader.finish(shader.mix(limbus, cornea, shader.surface))


def iris(shader: Any, numbers: Numbers, picture: str) -> Any:
    image = shader.picture(picture)
    tone = shader.node(
        "HueSaturation", Hue=numbers["hue"], Saturation=numbers["saturation"], Value=numbers["brightness"]
    )
    shader.link(image.outputs["Color"], tone.inputs["Color"])
    shader.colour(tone)
    shader.bump(image.outputs["Color"], 0.35, 1.5e-4)
    shader.set(Roughness=0.6, Specular_IOR_Level=0.0)  # under water nothing shines
    return shader.material


def tears(shader: Any, _numbers: Numbers, _picture: str) -> Any:
    """A film of water: what it shows is its shine."""
    shine = shader.node("Fresnel", IOR=1.336).outputs[0]
    film = shader.mix(shine, shader.node("BsdfTransparent"), shader.node("BsdfGlossy", Roughness=0.06))
    return shader.finish(film)


def flesh(shader: Any, numbers: Numbers, _picture: str) -> Any:
    """Gums and the eyes' corners."""
    unrest = shader.in_space("TexNoise", Scale=420, Detail=3).outputs["Fac"]
    colour = [numbers[k] for k in ("red", "green", "blue")]
    tint = shader.node("MixRGB", Color1=(*colour, 1), Color2=(*(0.75 * c for c in colour), 1))
    shader.link(unrest, tint.inputs["Fac"])
    shader.colour(tint)
    shader.bump(unrest, 0.15, 3e-4)
    shader.scatter(0.5, (1, 0.3, 0.25), 1e-3 * numbers["depth_mm"])
    shader.set(Roughness=numbers["roughness"], Specular_IOR_Level=0.5)
    return shader.material


def enamel(shader: Any, numbers: Numbers, _picture: str) -> Any:
    shader.set(Base_Color=(*(numbers[k] for k in ("red", "green", "blue")), 1))
    shader.bump(shader.in_space("TexNoise", Scale=160, Detail=2).outputs["Fac"], 0.12, 5e-4)
    shader.scatter(0.6, (1, 0.8, 0.6), 1.5e-3)
    shader.set(Roughness=0.16, Specular_IOR_Level=0.5)
    return shader.material


def tongue(shader: Any, _numbers: Numbers, picture: str) -> Any:
    tone = shader.node("HueSaturation", Saturation=0.95, Value=0.62)
    shader.link(shader.picture(picture).outputs["Color"], tone.inputs["Color"])
    shader.colour(tone)
    shader.bump(shader.in_space("TexVoronoi", Scale=1300).outputs["Distance"], 0.3, 4e-4)
    shader.scatter(0.5, (1, 0.35, 0.25), 3e-3)
    shader.set(Roughness=0.32, Specular_IOR_Level=0.5)
    return shader.material


SHADERS = {
    "eyeball": eyeball,
    "iris": iris,
    "tears": tears,
    "flesh": flesh,
    "enamel": enamel,
    "tongue": tongue,
}
