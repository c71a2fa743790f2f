import pytest
import torch

from render.camera import Camera


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_points_are_projected_as_a_pinhole_does(dtype):
    """From the front, 2 m away: a pixel is 2 mm wide where the focal length is 1,000 pixels."""
    camera = Camera(640, 480, 1000.0, 500.0, 320.0, 200.0, Camera.orbit(
        (0, 0, 0), distance_m=2, width=640, height=480, vertical_fov_deg=30,
    ).world_to_camera)  # fmt: skip
    # The person's left is right in a picture from the front, and what is up has a small y.
    points = torch.tensor([[0.0, 0, 0], [0.2, 0, 0], [0, 0.2, 0], [0, 0, 1]], dtype=dtype)
    seen = camera.project(points)
    wanted = torch.tensor([[320.0, 200, 2], [420, 200, 2], [320, 150, 2], [320, 200, 1]], dtype=dtype)
    assert seen.dtype == dtype
    torch.testing.assert_close(seen, wanted, atol=2e-4, rtol=0)


def test_what_is_behind_a_camera_has_no_depth():
    camera = Camera.orbit((0, 0, 0), distance_m=2, width=64, height=64, vertical_fov_deg=30)
    seen = camera.project(torch.tensor([[0.1, 0.0, 3.0]]))
    assert float(seen[0, 2]) == pytest.approx(-1)
    assert seen.isfinite().all()
