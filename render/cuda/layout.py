"""The structures that kernels take, as the host fills them: the mirror of kernels/frame.cuh."""

from __future__ import annotations

import ctypes
from ctypes import c_float, c_int, c_int64, c_void_p

from render.deformations.coefficients import MAX_LAYERS

TILE = 16
THREADS = 256  # of every block of every kernel
JOINT_FLOATS = 16
MAX_JOINTS = 128
MAX_ROWS = 2048  # of expression basis and pose correctives together

POSED, TRIANGLE, VERTEX, VERTEX_FIXED, SKINNING = range(5)
LAYOUTS = {"rgb8": 0, "yuv420": 1, "nv12": 2, "float": 3}

# Offsets into a picture's float32 parameters; the pose is followed by the condition.
ROTATION, TRANSLATION, FOCAL, CENTRE, SIZE, LIMITS, POSITION = 0, 9, 12, 14, 16, 18, 22
BACKGROUND, HAS_PICTURE, ROOT, POSE = 25, 28, 29, 32


class RunStruct(ctypes.Structure):
    """Gaussians that hang on the rig in one way."""

    _fields_ = (
        *[(name, c_int) for name in ("binding", "first", "count", "first_block", "influences", "unused")],
        *[(name, c_void_p) for name in ("index", "joints", "weights", "basis")],
    )


_DRAWABLE_ARRAYS = (
    *("means", "quats", "log_scales", "logits", "sh", "sh_quats"),
    *("deformed", "d_means", "d_quats", "d_log_scales", "d_logits", "d_sh0"),
    *("vertices", "basis", "joints", "joints_expression", "parents", "depths", "skin_joints", "skin_weights"),
    *("faces", "rest_inverse", "runs"),
)
_DRAWABLE_NUMBERS = (
    *("num_layers", "clamped", "num_condition"),
    *("num_gaussians", "num_runs", "terms", "sh_row", "sh_column", "antialiased"),
    *("num_coefficients", "num_deltas"),
    *("num_vertices", "num_expressions", "num_pose_rows", "num_joints", "num_levels", "influences"),
)


class DrawableStruct(ctypes.Structure):
    """One avatar, or one set of posed Gaussians."""

    _fields_ = (
        *[(name, c_void_p) for name in _DRAWABLE_ARRAYS],
        ("layer_weights", c_void_p * MAX_LAYERS),
        ("layer_biases", c_void_p * MAX_LAYERS),
        ("layer_widths", c_int * MAX_LAYERS),
        *[(name, c_int) for name in _DRAWABLE_NUMBERS],
    )


_FRAME_ARRAYS = (
    *("drawables", "params", "vertices", "joints", "coefficients", "records"),
    *("tile_counts", "tile_starts", "tickets", "pairs", "keys", "background", "picture"),
)
_FRAME_NUMBERS = (
    *("params_stride", "vertices_stride", "joints_stride", "coefficients_stride"),
    *("num_records", "capacity", "width", "height", "tiles_x", "tiles_y", "layout", "unused"),
)


class FrameStruct(ctypes.Structure):
    """The one argument of every kernel."""

    _fields_ = (
        *[(name, c_void_p) for name in _FRAME_ARRAYS],
        *[(name, c_int) for name in _FRAME_NUMBERS],
        ("picture_stride", c_int64),
        ("yuv", c_float * 12),
    )
