import numpy as np
import pytest
import torch

from render.camera import Camera
from render.rigs.head import load_head, load_head_surface
from tracking.errors import TrackingError
from tracking.fit.embedding import (
    HEAD_LANDMARKS,
    LEFT_IRIS,
    LEFT_OUTER_CORNER,
    RIGHT_IRIS,
    RIGHT_OUTER_CORNER,
    LandmarkEmbedding,
    fuse_hits,
    landmark_model,
    surface_hits,
    topology_of,
)

# A square facing the camera, counter-clockwise seen from +z, before a larger one behind it.
VERTICES = np.array(
    [[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0], [-9, -9, -3], [9, -9, -3], [9, 9, -3], [-9, 9, -3]],
    float,
)
FACES = np.array([[0, 1, 2], [0, 2, 3], [4, 5, 6], [4, 6, 7], [2, 1, 0]])  # the last one faces away
UPPER_LIP, LOWER_LIP, CHIN, NOSE_TIP, FOREHEAD = 13, 14, 152, 1, 10


@pytest.fixture(scope="module")
def head():
    return load_head()


@pytest.fixture(scope="module")
def model(head):
    return landmark_model(head, LandmarkEmbedding.load(HEAD_LANDMARKS))


def _in_picture(points, camera):
    return camera.project(torch.from_numpy(points)).numpy()


@pytest.mark.parametrize("yaw", [0.0, 30.0])
def test_hits_are_the_points_that_were_projected(yaw):
    camera = Camera.orbit((0, 0, 0), distance_m=6, yaw_deg=yaw, width=200, height=200, vertical_fov_deg=40)
    seen = _in_picture(VERTICES, camera)
    wanted = np.array([[0.5, -0.3, 0], [-0.7, 0.6, 0], [3.0, 0.5, -3.0]])
    triangles, weights = surface_hits(seen, FACES, _in_picture(wanted, camera)[:, :2])
    points = (VERTICES[FACES[triangles]] * weights[..., None]).sum(1)
    np.testing.assert_allclose(points, wanted, atol=1e-9)  # perspective is part of the weights
    assert triangles[0] == 0
    assert triangles[1] == 1


def test_rays_that_miss_hit_nothing():
    camera = Camera.orbit((0, 0, 0), distance_m=6, width=200, height=200, vertical_fov_deg=40)
    triangles, _ = surface_hits(_in_picture(VERTICES[:4], camera), FACES[[4]], np.array([[100.0, 100.0]]))
    assert triangles.tolist() == [-1]  # only the back of a triangle lies there
    triangles, _ = surface_hits(_in_picture(VERTICES, camera), FACES[:2], np.array([[1.0, 1.0]]))
    assert triangles.tolist() == [-1]


def test_fused_hits_ignore_a_view_that_saw_another_surface():
    exact = np.array([0.2, 0.3, 0.5])
    triangles = np.array([[0], [0], [0], [2]])
    aside = np.array([0.01, 0, -0.01])
    weights = np.array([[exact], [exact + aside], [exact - aside], [[1, 0, 0]]])
    facing = np.array([[1.0], [0.9], [0.9], [0.1]])
    fused = fuse_hits(VERTICES, FACES, triangles, weights, facing, "any")
    point = fused.barycentric[0] @ VERTICES[FACES[fused.triangles[0]]]
    np.testing.assert_allclose(point, exact @ VERTICES[FACES[0]], atol=1e-9)
    with pytest.raises(TrackingError, match="seen in 1 views"):
        fuse_hits(VERTICES, FACES, triangles[:1], weights[:1], facing[:1], "any")


def test_landmarks_lie_where_their_names_say(head, model):
    surface = load_head_surface()
    embedding = LandmarkEmbedding.load(HEAD_LANDMARKS)
    group = surface.vertex_group.numpy()[head.faces.numpy()[embedding.triangles, 0]]
    for iris, name, eye in ((LEFT_IRIS, "left_eye", 0), (RIGHT_IRIS, "right_eye", 1)):
        assert set(group[iris]) == {surface.group_names.index(name)}
        assert set(model.eye_of[iris]) == {eye}
        # An iris is 12 mm wide; its centre is the front of the ball, turned in by a few degrees at most.
        centre = model.points[iris][0] - model.eye_centres[eye]
        assert np.degrees(np.arccos(centre[2] / np.linalg.norm(centre))) < 10
        ring = np.linalg.norm(model.points[iris][1:] - model.points[iris][0], axis=1)
        assert ((ring > 4e-3) & (ring < 8e-3)).all()
    assert set(group[: RIGHT_IRIS.start]) == {surface.group_names.index("body")}
    points = model.points
    heights = points[[FOREHEAD, NOSE_TIP, UPPER_LIP, LOWER_LIP, CHIN], 1]
    assert (np.diff(heights) < 0).all()
    assert points[:468, 2].argmax() in (1, 4)  # the nose's tip and the point above it
    assert points[LEFT_OUTER_CORNER, 0] > 0 > points[RIGHT_OUTER_CORNER, 0]
    assert 0.075 < np.linalg.norm(points[LEFT_OUTER_CORNER] - points[RIGHT_OUTER_CORNER]) < 0.1  # metres


def test_opening_the_jaw_parts_the_lips_landmarks(model):
    jaw = model.units[:, :, model.unit_names.index("jawOpen")]
    assert jaw[LOWER_LIP, 1] - jaw[UPPER_LIP, 1] < -0.01
    assert abs(jaw[FOREHEAD]).max() < 1e-3


def test_the_model_is_the_rig_at_the_landmarks(head, model):
    embedding = LandmarkEmbedding.load(HEAD_LANDMARKS)
    rng = np.random.default_rng(0)
    units, weights = rng.uniform(0, 1, 52), rng.normal(size=head.num_shapes)
    params = head.neutral_params().replace(
        expression=torch.tensor(units).float(), shape=torch.tensor(weights).float()
    )
    posed = head(params)
    corners = posed.vertices[head.faces[embedding.triangles]].double().numpy()
    expected = (corners * embedding.barycentric[..., None]).sum(1)
    joints = head.joints_template + (params.shape @ head.joints_shape).view(-1, 3)
    person = model.with_identity(weights)
    # float32 metres on the rig's side.
    np.testing.assert_allclose(
        person.points + model.units @ units, expected - joints[2].double().numpy(), atol=2e-6
    )
    np.testing.assert_allclose(person.eye_centres, (joints[4:6] - joints[2]).double().numpy(), atol=2e-6)


def test_another_mesh_and_damaged_files_are_refused(head, tmp_path):
    embedding = LandmarkEmbedding.load(HEAD_LANDMARKS)
    assert embedding.topology == topology_of(head)
    fields = {k: v for k, v in vars(head).items() if not k.startswith("_")}
    other = type(head)(**{**fields, "faces": head.faces.flip(0)})
    with pytest.raises(TrackingError, match="another rig"):
        landmark_model(other, embedding)
    path = tmp_path / "landmarks.safetensors"
    embedding.save(path)
    again = LandmarkEmbedding.load(path)
    np.testing.assert_array_equal(again.triangles, embedding.triangles)
    for content in (b"", path.read_bytes()[:200]):
        path.write_bytes(content)
        with pytest.raises(TrackingError, match="install visavis again") as caught:
            LandmarkEmbedding.load(path)
        assert "\n" not in str(caught.value)
