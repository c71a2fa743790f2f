"""Skin: where its Gaussians sit, what colour they have, how they shine."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from render.making.people import wrinkles
from render.making.people.features import above_hairline, above_neckline, lid_crease, mask, nostrils
from render.making.people.fields import (
    blob,
    fbm,
    groove,
    linear,
    mix,
    skin_colour,
    smoothstep,
    unit,
    value_noise,
)
from render.making.people.gaussians.sampling import (
    SKIN,
    UNDERLAY,
    Cloud,
    Samples,
    cloud,
    frame_from,
    poisson_samples,
)
from render.making.people.head import Head
from render.making.people.person import Hair, Person

Array = NDArray[np.float64]

# Folded skin is sampled so that it stays covered in the pose that unfolds it.
UNFOLDED = {"eyeBlink@": 1.0, "jawOpen": 0.35}
_SIGMA_PER_SPACING = 0.54
_FLATNESS = 0.30  # thickness of a skin disc over its radius; lips and lids, which touch, are thinner
# Darkening of each fold at rest, and what full age adds.
_LINES = {
    "nasolabial": (0.13, 0.20),
    "marionette": (0.03, 0.22),
    "crows_feet": (0.0, 0.28),
    "under_eye": (0.11, 0.22),
    "glabella": (0.0, 0.20),
    "forehead": (0.02, 0.22),
}


def _spacing(canonical: Array, uv: Array, hair: Hair) -> Array:
    """Distance between neighbouring skin Gaussians, metres."""
    x, y, z = np.abs(canonical[:, 0]), canonical[:, 1], canonical[:, 2]
    face = smoothstep(-95, -45, z) * smoothstep(-122, -100, y) * smoothstep(80, 62, x)
    mm = 4.6 - 2.90 * face
    middle = smoothstep(-15, 10, z) * smoothstep(55, 35, x) * (y < 35)
    mm = mm - 0.42 * middle
    nose = blob(np.c_[x, y, z], (9, -41, 30), (11, 6, 14))
    mm = mm - 0.85 * nose
    mm = np.where(mask("ears", uv) > 0.3, 2.0, mm)
    mm = np.where(above_hairline(canonical, hair) > 6, 6.5, mm)
    from_mouth = np.hypot(np.maximum(x - 18, 0), y + 66)
    mm = np.where(z > 0, np.minimum(mm, 1.0 + 0.3 * smoothstep(12, 26, from_mouth)), mm)
    mm = np.where(mask("lips", uv, 2) > 0.06, 0.80, mm)
    from_eye = np.hypot(x - 28.9, 1.2 * (y - 2))
    mm = np.where(z > -20, np.minimum(mm, 0.85 + 0.5 * smoothstep(15, 30, from_eye)), mm)
    mm = np.where(mask("inside-mouth", uv) > 0.5, np.where((z > 12) & (y < -50), 1.3, 3.0), mm)
    return np.asarray(1.08e-3 * mm)


def make_skin(head: Head, person: Person, rng: np.random.Generator) -> list[Cloud]:
    """Visible skin, lips, lids and mouth lining, and a coarse layer beneath that closes every pinhole."""
    faces = head.faces_of("body")
    corners = head.canonical[head.faces[faces]]
    visible = above_neckline(corners.reshape(-1, 3), person.clothes).reshape(-1, 3).max(1) > -9
    faces = faces[visible]
    samples = poisson_samples(head, faces, lambda c, uv: _spacing(c, uv, person.hair), rng, UNFOLDED)
    samples = samples.where(~(_faces_eyeball(head, samples) | _behind_upper_lip(samples)))
    lips = mask("lips", samples.uv) * (mask("inside-mouth", samples.uv) < 0.5)
    lids = mask("eyelids", samples.uv)
    inner = smoothstep(0.3, 0.7, mask("inside-mouth", samples.uv))
    albedo = _albedo(head, person, samples, lips, lids, inner, rng)
    scalp = scalp_share(samples.canonical, samples.uv, person)
    specular, gloss = _shine(person, samples, lips, inner, scalp)
    c = samples.canonical
    bump = np.stack([value_noise(c, 0.26, 50 + k) + 0.7 * value_noise(c, 0.62, 60 + k) for k in range(3)], 1)
    pores = rng.normal(size=(len(samples), 3))
    rough = ((1 - inner) * (1 - 0.6 * lids) * (1 + 1.2 * person.age))[:, None]
    normal = unit(samples.normal + rough * (0.040 * bump + 0.04 * pores))
    # The mouth's lining keeps off the outer skin, which it would shine through at the corners.
    position = (
        samples.position + samples.normal * (5e-4 * smoothstep(0.5, 0.9, inner) * (lips < 0.02))[:, None]
    )
    opacity = 0.99 * smoothstep(-9, -5, above_neckline(c, person.clothes))
    coarse = smoothstep(1.5e-3, 2.2e-3, samples.spacing)
    around_mouth = blob(np.c_[np.abs(c[:, 0]), c[:, 1:]], (14, -66, 25), (22, 18, 30))
    wider = np.maximum(coarse, 0.6 * around_mouth)
    sigma = samples.spacing * (_SIGMA_PER_SPACING + 0.09 * wider * (inner < 0.5))
    edge = head.vertices[head.faces[samples.face][:, 1]] - head.vertices[head.faces[samples.face][:, 0]]
    outer = cloud(
        SKIN,
        samples.face,
        position,
        frame_from(samples.normal, edge),
        np.c_[
            sigma,
            sigma,
            np.where((lips > 0.1) | (lids > 0.1) | (inner > 0.5), 0.4, 1 - 0.75 * coarse) * _FLATNESS * sigma,
        ],
        albedo,
        opacity,
        normal,
        specular=specular,
        gloss=gloss,
        canonical=c,
        lip=lips,
        lid=lids,
        inner=inner,
    )
    return [outer, *_underlay(head, faces, samples, albedo, rng)]


def _faces_eyeball(head: Head, samples: Samples) -> NDArray[np.bool_]:
    """Lining of the sockets [N], which nobody sees but through a gap in the lids."""
    hidden = np.zeros(len(samples), bool)
    for side in ("left", "right"):
        centre, radius = head.eye(side)
        outwards = samples.position - centre
        distance = np.linalg.norm(outwards, axis=1)
        inside = (outwards * samples.normal).sum(1) / distance < -0.35
        hidden |= inside & (distance < radius + 7e-3)
    return hidden


def _behind_upper_lip(samples: Samples) -> NDArray[np.bool_]:
    """Lining between gum and upper lip [N]: the teeth hide it, but it would shine through the thin lip."""
    c = samples.canonical
    return (mask("inside-mouth", samples.uv) > 0.6) & (c[:, 1] > -60) & (c[:, 2] > 8)


def _underlay(
    head: Head, faces: NDArray[np.int64], samples: Samples, albedo: Array, rng: np.random.Generator
) -> list[Cloud]:
    """Discs below the face, so that no gap between skin Gaussians shows the inside of the head.

    Coarse and 2 mm deep; around the mouth fine and shallow, or they would hang below an opened lip.
    """
    centre = head.canonical[head.faces[faces]].mean(1)
    uv = head.uv[faces].mean(1)
    mirrored = np.c_[np.abs(centre[:, 0]), centre[:, 1:]]
    keep = (centre[:, 2] > -30) & (centre[:, 1] > -112) & (mask("eyelids", uv) < 0.05)
    keep &= (mask("lips", uv) < 0.3) & (mask("inside-mouth", uv) < 0.05)
    keep &= np.hypot(mirrored[:, 0] - 28.9, mirrored[:, 1]) > 17
    keep &= np.linalg.norm(mirrored - [8, -42, 29], axis=1) > 9
    mouth = (mirrored[:, 0] < 44) & (mirrored[:, 1] < -44) & (mirrored[:, 1] > -92)
    beside = np.hypot(mirrored[:, 0] / 29, (mirrored[:, 1] + 67.5) / 15.5) > 1
    layers = []
    for chosen, spacing, depth in ((keep & ~mouth, 4.6e-3, 2.2e-3), (keep & mouth & beside, 2.4e-3, 1.1e-3)):
        below = poisson_samples(head, faces[chosen], spacing, rng)
        near = cKDTree(samples.position).query(below.position, k=12)[1]
        sigma = below.spacing * 0.66
        corner = head.vertices[head.faces[below.face]]
        layers.append(
            cloud(
                UNDERLAY,
                below.face,
                below.position - depth * below.normal,
                frame_from(below.normal, corner[:, 1] - corner[:, 0]),
                np.c_[sigma, sigma, 0.08 * sigma],
                0.93 * albedo[near].mean(1),
                0.97,
                below.normal,
                canonical=below.canonical,
            )
        )
    return layers


def scalp_share(canonical: Array, uv: Array, person: Person) -> Array:
    """How much hair colours the skin below it, [N] in 0..1."""
    above = above_hairline(canonical, person.hair) + 5 * value_noise(canonical, 0.09, 43)
    return np.asarray(smoothstep(-6, 8, above) * (mask("ears", uv) < 0.3) * (canonical[:, 1] > -78.5))


def _albedo(
    head: Head,
    person: Person,
    samples: Samples,
    lips: Array,
    lids: Array,
    inner: Array,
    rng: np.random.Generator,
) -> Array:
    """Linear reflectance [N, 3] of every skin sample."""
    c, uv = samples.canonical, samples.uv
    mirrored = np.c_[np.abs(c[:, 0]), c[:, 1:]]
    melanin, haemoglobin = _pigments(person, c, mirrored, uv, lids)
    shade = _lines(person, c, mirrored, lids)
    grain = rng.normal(size=len(c))
    shade *= 1 + (1 - 0.7 * lids) * (0.03 * value_noise(c, 0.5, 8) + 0.045 * grain)
    if person.skin.freckles:
        melanin += _freckles(person, c, mirrored, lips, lids, samples.spacing, rng)
    albedo = skin_colour(melanin, haemoglobin) * shade[:, None]
    if person.skin.stubble:
        albedo = _stubble(person, albedo, c, mirrored, lips, rng)

    # Lips: more blood, fine vertical lines, a dark seam where they touch.
    vertical = 1 + 0.11 * value_noise(c, (0.70, 0.17, 0.17), 31) + 0.06 * fbm(c, 0.08, 33)
    lip_m, lip_h = person.skin.lip_pigment
    lip_colour = skin_colour(melanin + lip_m, haemoglobin + lip_h) * vertical[:, None]
    albedo = mix(albedo, lip_colour, 0.92 * smoothstep(0.2, 0.6, lips))
    seam = np.flatnonzero((mask("lips", uv, 2) > 0.06) | (inner > 0.5))
    albedo[seam] *= 1 - 0.88 * _touching(samples, seam)[:, None] * np.array([0.8, 1, 1])
    albedo = mix(albedo, linear(122, 48, 46), inner)

    # Rims of the lids: moist pink, the upper one darkened by lash roots.
    radius = np.minimum(
        *(
            np.linalg.norm(samples.position - eye[0], axis=1) - eye[1]
            for eye in (head.eye("left"), head.eye("right"))
        )
    )
    rim = (mask("eyelids", uv) > 0.2) & (radius < 1.4e-3)
    albedo[rim] = 0.6 * albedo[rim] + 0.4 * skin_colour(0.7 * person.skin.melanin, 1.0)
    upper = (mask("eyelids", uv) > 0.2) & (radius < 2.0e-3) & (c[:, 1] > 0.5)
    albedo[upper] *= 1 - person.eyes.liner * np.array([0.85, 0.95, 1.0])
    scalp = scalp_share(c, uv, person)
    root = mix(linear(*person.hair.dark), linear(150, 146, 142), 0.6 * person.hair.grey)
    root = root * (1 + 0.2 * value_noise(c, 0.2, 41))[:, None]
    cover = 0.97 if person.hair.style in ("bob", "afro") else 0.80
    return np.clip(mix(albedo, root, cover * scalp), 0.004, 1)


def _pigments(person: Person, c: Array, mirrored: Array, uv: Array, lids: Array) -> tuple[Array, Array]:
    """Melanin and haemoglobin [N] before freckles and lips."""
    melanin = person.skin.melanin * (1 + 0.09 * fbm(c, 0.022, 1) + 0.03 * fbm(c, 0.09, 5))
    blood = person.skin.haemoglobin * (1 + 0.14 * fbm(c, 0.05, 11) + 0.07 * fbm(c, 0.16, 13))
    flush = (
        0.34 * blob(mirrored, (44, -30, 10), (15, 12, 40))
        + 0.22 * blob(mirrored, (0, -36, 42), (9, 8, 20))
        + 0.30 * blob(mirrored, (17, -41, 22), (5, 6, 12))
        + 0.18 * blob(mirrored, (0, -96, 20), (15, 10, 40))
        + 0.10 * blob(mirrored, (0, -55, 30), (26, 10, 40))
        + 0.55 * mask("ears", uv) * (mirrored[:, 0] > 60)
    )
    blood += person.skin.ruddiness * flush * (1 + 0.35 * fbm(c, 0.06, 17))
    blood += 0.30 * blob(mirrored, (28, -16, 10), (15, 5, 20)) + 0.35 * lids
    melanin += (0.10 + 0.10 * person.skin.melanin) * blob(mirrored, (28, -15, 10), (16, 6, 20))
    melanin += 0.12 * blob(mirrored, (30, 12, 10), (18, 6, 20)) + 0.10 * lids * (np.abs(c[:, 1]) < 14)
    melanin += 0.05 * blob(mirrored, (0, 50, 20), (50, 25, 50)) - 0.05 * blob(
        mirrored, (40, -22, 10), (18, 9, 30)
    )
    melanin += 0.10 * person.skin.melanin * blob(mirrored, (0, -66, 30), (34, 16, 40))
    blood -= 0.18 * blob(mirrored, (0, 50, 20), (45, 25, 40))
    return melanin, np.maximum(blood, 0.1)


def _lines(person: Person, c: Array, mirrored: Array, lids: Array) -> Array:
    """Darkening [N] by folds, creases and openings at rest."""
    shade = np.ones(len(c))
    for name, (depth, aged) in _LINES.items():
        strength = depth + person.age * aged
        if strength:
            furrow, ridge = wrinkles.fold(name, c)
            shade *= 1 - strength * furrow + 0.15 * strength * ridge
    shade *= 1 - 0.38 * lid_crease(c, 0.95) * (1 - smoothstep(0.3, 0.8, lids))
    shade *= 1 - 0.93 * nostrils(c)
    shade *= 1 - 0.35 * blob(mirrored, (19.5, -41, 20), (1.6, 4.5, 5))
    return shade


def _freckles(
    person: Person,
    c: Array,
    mirrored: Array,
    lips: Array,
    lids: Array,
    spacing: Array,
    rng: np.random.Generator,
) -> Array:
    density = blob(mirrored, (24, -24, 15), (26, 12, 40)) * (lips < 0.05) * (lids < 0.05) + 0.01 * (
        c[:, 1] > -98
    )
    density = density * (mirrored[:, 0] < 62) * (c[:, 2] > -40) * spacing**2
    centre = rng.choice(len(c), person.skin.freckles, replace=False, p=density / density.sum())
    distance, index = cKDTree(c[centre]).query(c)
    size, depth = rng.uniform(0.6, 1.3, len(centre)), rng.uniform(0.08, 0.35, len(centre))
    return np.asarray(depth[index] * groove(distance, 1.0) ** (1 / size[index] ** 2))


def _stubble(
    person: Person, albedo: Array, c: Array, mirrored: Array, lips: Array, rng: np.random.Generator
) -> Array:
    """Shaved beard: blue-grey under the skin and a speckle of hair tips."""
    jaw = smoothstep(-40, -62, c[:, 1] - 0.45 * np.maximum(mirrored[:, 0] - 40, 0)) * smoothstep(
        -140, -118, c[:, 1]
    )
    jaw = jaw * smoothstep(-85, -55, c[:, 2]) * smoothstep(78, 66, mirrored[:, 0])
    moustache = blob(mirrored, (11, -53.5, 33), (13, 4.5, 30))
    cheek = blob(mirrored, (34, -50, 10), (16, 13, 30))
    area = np.clip(np.maximum(jaw, moustache) - 0.8 * cheek, 0, 1) * (lips < 0.1)
    speckle = np.clip(0.75 + 0.45 * rng.normal(size=len(c)), 0, 1.6)
    take = np.clip(person.skin.stubble * area * speckle, 0, 0.85)
    return mix(albedo, np.broadcast_to(linear(96, 92, 92), albedo.shape), take * 0.55)


def _touching(samples: Samples, chosen: NDArray[np.int64]) -> Array:
    """1 where skin faces other skin it touches (the lips' seam), [len(chosen)]."""
    p, n = samples.position[chosen], samples.normal[chosen]
    distance, near = cKDTree(p).query(p, k=40)
    distance = np.where((n[near] * n[:, None]).sum(2) < -0.15, distance, 9.0)
    nearest = np.sort(distance, 1)[:, :3].mean(1)
    return groove(nearest, 1.5e-3)


def _shine(person: Person, samples: Samples, lips: Array, inner: Array, scalp: Array) -> tuple[Array, Array]:
    """Strength and sharpness [N] of the skin's highlight."""
    c = samples.canonical
    mirrored = np.c_[np.abs(c[:, 0]), c[:, 1:]]
    oil = (
        0.34
        + 0.55 * blob(mirrored, (0, 50, 20), (35, 20, 50))
        + 0.80 * blob(mirrored, (0, -25, 40), (6, 22, 40))
        + 0.50 * blob(mirrored, (42, -20, 0), (12, 11, 40))
        + 0.30 * blob(mirrored, (0, -97, 20), (10, 8, 30))
    )
    specular = oil * (1 + 0.45 * value_noise(c, 0.30, 71) + 0.25 * value_noise(c, 0.8, 73)) * (1 - scalp)
    wet = 1.25 * person.skin.lip_gloss * (1 + 0.5 * value_noise(c, (0.6, 0.18, 0.18), 72))
    outer = 0.25 + 0.75 * smoothstep(-0.1, 0.6, samples.normal[:, 2])  # no glitter on the lips' inner sides
    specular = np.where(lips > 0.4, wet * outer, specular)
    specular = np.where(inner > 0.5, 0.5, specular)
    return np.asarray(np.maximum(specular, 0)), np.where(lips > 0.4, 42.0, 20.0)
