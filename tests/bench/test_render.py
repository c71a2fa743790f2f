from bench import render


def test_measures_every_scene_on_one_core_and_on_all() -> None:
    result = render.measure(avatars=(), frames=3)
    assert {"ellipsoid 20k", "ellipsoid 60k"} <= result["scenes"].keys()
    assert result["scenes"]["ellipsoid 60k"]["num_gaussians"] == 60_000
    for scene in result["scenes"].values():
        assert scene["cores"].keys() == {"1", str(render.usable_cores())}
        for stages in scene["cores"].values():
            splat = stages["splat"]
            assert 0 < splat["min_ms"] <= splat["p50_ms"] <= splat["p95_ms"] <= splat["p99_ms"]
    assert result["first_call_ms"] > 0
    lines = render.table(result).splitlines()
    assert sum("splat, 1 core" in line for line in lines) == len(result["scenes"])
