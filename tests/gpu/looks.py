"""Canvases and models that GPU tests look at, and how answers are compared."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from app.core.boxes import iou
from app.core.types import BgrPicture, CanvasDetections, CanvasOrder, PatchCopy, Picture, Size, YuvPicture
from app.vision.drawing import Drawer, ScaledPicture
from tests.detect import encoders
from tests.detect.encoders import Objects

SIZE = Size(192, 128)
TRUTH = Objects(
    np.array([[10, 20, 60, 100], [100, 30, 180, 90]], np.float32),
    np.array([0.9, 0.6], np.float32),
    np.array([2, 0], np.int32),
)
LAYOUTS: dict[str, Callable[[Objects, Size, int], list[NDArray[np.float32]]]] = {
    "yolox": encoders.yolox,
    "yolov5": encoders.yolo,
    "yolov6": encoders.yolov6,
    "yolov8": encoders.yolov8,
    "yolov10": encoders.end_to_end,
    "raw detr": encoders.detr_queries,
    "joined detr": encoders.detr_joined,
    "nanodet": encoders.nanodet,
    "nanodet plus": encoders.nanodet_plus,
    "fastestdet": encoders.fastestdet,
}


def outputs_of(layout: str) -> dict[str, NDArray[np.float32]]:
    """What a model of that layout puts out for TRUTH, by name."""
    arrays = LAYOUTS[layout](TRUTH, SIZE, 80)
    names = ("logits", "pred_boxes") if layout == "raw detr" else [f"o{i}" for i in range(len(arrays))]
    return dict(zip(names, arrays, strict=True))


def assert_same(mine: Sequence[CanvasDetections], theirs: Sequence[CanvasDetections], tolerance: float = 1e-3) -> None:
    """Both found the same objects in the same order, boxes (in pixels) and scores within the tolerance."""
    assert [len(found) for found in mine] == [len(found) for found in theirs]
    for one, other in zip(mine, theirs, strict=True):
        np.testing.assert_allclose(one.boxes, other.boxes, atol=tolerance)
        np.testing.assert_allclose(one.scores, other.scores, atol=tolerance)
        np.testing.assert_array_equal(one.class_ids, other.class_ids)


def n_found_again(sure: CanvasDetections, others: CanvasDetections) -> int:
    """How many of the detections that score .3 and more have a partner of their class that overlaps by a half."""
    if not (len(sure) and len(others)):
        return 0
    overlap = iou(sure.boxes, others.boxes)
    overlap[sure.class_ids[:, None] != others.class_ids[None, :]] = 0
    return int(((overlap.max(axis=1) >= 0.5) & (sure.scores >= 0.3)).sum())


def picture_of(pixels: NDArray[np.uint8], kind: str) -> Picture:
    """Pixels (H, W, 3) as a picture: `bgr`, or planes of other colours: `video` or `full range`."""
    if kind == "bgr":
        return BgrPicture(np.ascontiguousarray(pixels))
    small = pixels[::2, ::2]
    return YuvPicture(
        pixels[..., 1].copy(), small[..., 0].copy(), small[..., 2].copy(), is_full_range=kind == "full range"
    )


def order_of(picture: Picture, copies: Sequence[PatchCopy], size: Size, pad: tuple[int, int, int]) -> CanvasOrder:
    """An order for a canvas."""
    scaled, drawer = ScaledPicture(picture), Drawer()
    return CanvasOrder(picture, tuple(copies), size, pad, lambda: drawer.draw(scaled, copies, size, pad))


def whole_frame(frame: Size, canvas: Size) -> PatchCopy:
    """The frame in a corner of the canvas, as large as it can be."""
    scale = min(canvas.width / frame.width, canvas.height / frame.height)
    return PatchCopy((0, 0, *frame), (0, 0, round(frame.width * scale), round(frame.height * scale)))
