"""The kernels' structures (kernels/structures.h) as NumPy sees them: one element is one structure's bytes.

Pointers are 64-bit numbers, booleans are int32.
"""

from enum import IntEnum

import numpy as np

MAX_OUTPUTS = 8
MAX_STRIDES = 4
MAX_DETECTIONS = 512
"""Capacity of FOUND_DETECTIONS, and the most that `max_candidates` may be."""
MAX_CLASSES = 1 << 12
MAX_PREDICTIONS = 1 << 20
"""For each canvas, of all levels together."""

TILE_WIDTH_PX = 64
TILE_HEIGHT_PX = 16
"""What one block of `draw_canvas` draws when the grid is ceil(width / 64), ceil(height / 16), batch."""
DRAW_BLOCK = (32, 8, 1)
FIND_BLOCK = (256, 1, 1)
"""Of `find_detections`, whose grid is batch, 1, 1."""
PIXEL_BLOCK = (32, 8, 1)
"""Of kernels with a thread for each pixel of a plane."""
FOLLOW_BLOCK = (32, 4, 1)
"""Of `follow_points`: a warp for each of four points."""
CORNER_BLOCK = (64, 1, 1)
"""Of `find_corners`, whose grid is cells, boxes, 1."""
TEMPLATE_BLOCK = (256, 1, 1)
"""Of `sample_templates`, whose grid is boxes, 1, 1."""
MAX_LEVELS = 4
"""Of a pyramid of luma."""


class FrameKind(IntEnum):
    """What the planes of a canvas's frame hold."""

    NONE = 0
    """There is no frame: the canvas is all padding."""
    BGR = 1
    STUDIO_YUV = 2
    FULL_YUV = 3


class TensorType(IntEnum):
    """Element type of the input tensor."""

    UINT8 = 0
    FLOAT32 = 1
    FLOAT16 = 2


class Family(IntEnum):
    """Whose raw outputs these are; shapes as in `app.detect.decoders`."""

    YOLOX = 0
    """(B, N, 5 + C)."""
    YOLO = 1
    """(B, N, 5 + C), boxes decoded in the graph."""
    YOLOV8 = 2
    """(B, 4 + C, N)."""
    NANODET = 3
    """Scores (B, n, C) of each level, then distances (B, n, 32) of each level."""
    NANODET_PLUS = 4
    """(B, N, C + 32)."""
    FASTESTDET = 5
    """(B, 5 + C, rows, columns)."""


CANVAS_JOB = np.dtype(
    [
        ("planes", np.uint64, 3),
        ("luma_pitch", np.int32),
        ("chroma_pitch", np.int32),
        ("width", np.int32),
        ("height", np.int32),
        ("kind", np.int32),
        ("first_copy", np.int32),
        ("n_copies", np.int32),
        ("pad", np.uint8, 3),
    ],
    align=True,
)
"""One canvas of a batch: its frame (pitches in bytes, size in pixels), its copies, and its padding's BGR colour."""

PATCH_COPY = np.dtype([("source", np.int32, 4), ("target", np.int32, 4)], align=True)
"""`core.types.PatchCopy`: neither rectangle is empty, both lie inside their picture. The last of several wins."""

INPUT_LAYOUT = np.dtype(
    [
        ("dtype", np.int32),
        ("is_channels_last", np.int32),
        ("is_rgb", np.int32),
        ("scale", np.float32, 3),
        ("offset", np.float32, 3),
    ],
    align=True,
)
"""`detect.preprocess.Preprocessing` and how the tensor is laid out."""

PREDICTION_SET = np.dtype(
    [
        ("outputs", np.uint64, MAX_OUTPUTS),
        ("family", np.int32),
        ("n_classes", np.int32),
        ("n_predictions", np.int32),
        ("width", np.int32),
        ("height", np.int32),
        ("n_columns", np.int32),
        ("n_strides", np.int32),
        ("strides", np.int32, MAX_STRIDES),
        ("max_candidates", np.int32),
        ("is_half", np.int32),
        ("score_floor", np.float32),
        ("objectness_floor", np.float32),
        ("nms_iou", np.float32),
        ("centre", np.float32),
    ],
    align=True,
)
"""The raw outputs of a batch of canvases of one size (in pixels), and what makes detections of them.

`objectness_floor` is score_floor, or score_floor ** (1 / 0.6) for FASTESTDET; `nms_iou` is negative for none.
`n_columns` is of FASTESTDET's map, `strides` are of YOLOX and NANODET, `centre` is NANODET's.
"""

FOUND_DETECTIONS = np.dtype(
    [
        ("n", np.int32),
        ("boxes", np.float32, (MAX_DETECTIONS, 4)),
        ("scores", np.float32, MAX_DETECTIONS),
        ("class_ids", np.int32, MAX_DETECTIONS),
    ],
    align=True,
)
"""What was found on one canvas, highest score first; rows from `n` on are undefined. Boxes xyxy in canvas pixels."""

LUMA_PLANE = np.dtype(
    [("pixels", np.uint64), ("pitch", np.int32), ("width", np.int32), ("height", np.int32)], align=True
)
"""A plane of 8-bit luma; pitch in bytes. Also of a picture's interleaved BGR."""

FLOW_JOB = np.dtype(
    [
        ("earlier", LUMA_PLANE, MAX_LEVELS),
        ("later", LUMA_PLANE, MAX_LEVELS),
        ("n_levels", np.int32),
        ("n_points", np.int32),
        ("max_steps", np.int32),
        ("last_step_px", np.float32),
    ],
    align=True,
)
"""Two frames between which points are followed, and when to give up."""

POINT_SEARCH = np.dtype([("start", np.float32, 2), ("guess", np.float32, 2)], align=True)
"""x, y in the earlier and in the later frame, from the middle of the first pixel."""

FOLLOWED_POINT = np.dtype(
    [
        ("there", np.float32, 2),
        ("back", np.float32, 2),
        ("min_eigenvalue", np.float32),
        ("has_converged", np.int32),
    ],
    align=True,
)
"""Where a point went, and where it came from if asked there; `has_converged` both times."""

CAMERA_MAP = np.dtype([("x", np.float32, 3), ("y", np.float32, 3), ("is_used", np.int32)], align=True)
"""Rows of the (2, 3) affine from the later to the earlier frame."""
