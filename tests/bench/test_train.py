"""The training benchmark measures what it says; nobody checks the figures here."""

from __future__ import annotations

from bench import train


def test_every_scene_is_drawn_and_differentiated_with_all_maps_and_with_colour_only() -> None:
    result = train.measure(steps=2, cores=1, scenes=[(True, 200, 32), (False, 100, 48)])
    assert list(result["scenes"]) == ["200 surfels at 32x32", "100 3D Gaussians at 48x48"]
    for scene in result["scenes"].values():
        assert list(scene) == ["all maps", "colour"]
        for figures in scene.values():
            assert figures["forward_ms"] > 0
            assert figures["backward_ms"] > 0
            assert figures["p50_ms"] <= figures["p95_ms"]
    assert len(train.table(result).splitlines()) == 2 + 4
