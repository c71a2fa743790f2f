"""People whose light lies baked beside this file, so that tests need no Blender.

    python -m tests.engine.train.baked_people

bakes those that are not there, some minutes each. Needs VISAVIS_MAKEHUMAN and VISAVIS_BLENDER.
"""

from __future__ import annotations

from pathlib import Path

from render.making.items import Assets
from render.making.people.scene.anybody import anybody
from render.making.people.scene.baked_mesh import BakedMesh
from render.making.people.scene.baking import baked_colours
from render.making.people.scene.model import PersonModel

FOLDER = Path(__file__).with_name("baked")
SHORT_HAIR, BOB = 3, 4  # seeds

if __name__ == "__main__":
    for seed in (SHORT_HAIR, BOB):
        model = PersonModel(anybody(seed), Assets.open())
        baked_colours(model, BakedMesh(model), FOLDER)
