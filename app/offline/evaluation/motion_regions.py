"""The rival of camera recorders: look only where the background model sees something move."""

import time

import cv2
import numpy as np
from numpy.typing import NDArray

from app.core.boxes import clip, contains
from app.core.types import Frame, FrameBoxes, Picture, Size, YuvPicture
from app.flexpatch.canvas import canvas_ladder, joined, without_duplicates
from app.offline.evaluation.every_kth import IdentityLedger, Interval
from app.offline.evaluation.looks import Look, Looks, region_layout, whole_layout
from app.offline.evaluation.outputs import FrameCost, FrameOutput

MODEL_WIDTH_PX = 480
"""The background is modelled on a picture of that width."""
HISTORY_S = 10.0
MIN_AREA_SHARE = 0.0004
"""Of the frame; less motion than that is noise."""
GROWTH = 0.3
"""Margin round what moves, as a share of its larger side, for the rest of the object."""
MAX_MISSES = 3
"""So many looks in a row must deny an object before it is dropped."""
REACH_PX = 5
"""Moving pixels of the small picture that lie so near to each other are one region."""


class MotionRegions:
    """Background difference, square crops round what moves, the detector on those; what rests stays where it was.

    The first frame is looked at as a whole, since what rests would never be found.
    """

    def __init__(self, looks: Looks, crop: Size, class_id: int, *, max_regions: int, every: int, fps: float) -> None:
        """
        Args:
            crop: canvas of one region.
            max_regions: looked at on one frame; the largest first.
            every: look on every so-manieth frame; the background is modelled on all.
            fps: frames a second of the sequence.
        """
        self._looks = looks
        self._crop = crop
        self._max_regions = max_regions
        self._class_id = class_id
        self._interval = Interval(every)
        self._ledger = IdentityLedger()
        self._background = cv2.createBackgroundSubtractorMOG2(history=round(HISTORY_S * fps), detectShadows=False)
        self._is_first = True
        self._boxes = FrameBoxes(np.zeros((0, 4), np.float32))
        self._scores = np.zeros(0, np.float32)
        self._ids = np.zeros(0, np.int64)
        self._misses = np.zeros(0, np.int64)

    def step(self, frame: Frame) -> tuple[FrameOutput, FrameCost]:
        started_s = time.perf_counter()
        regions = self._moving(frame)
        plan_ms = (time.perf_counter() - started_s) * 1e3
        looks: list[Look] = []
        if self._interval.is_due():
            if self._is_first:
                looks = [self._looks.look(frame, whole_layout(frame.size, _largest(self._looks, frame.size)))]
            else:
                looks = [self._show(frame, region) for region in regions[: self._max_regions]]
            self._is_first = False
            self._take(looks, frame.size)
        stages = {
            "plan": plan_ms,
            "canvas": sum(look.canvas_ms for look in looks),
            "detect": sum(look.detect_ms for look in looks),
        }
        cost = FrameCost(sum(look.pixels for look in looks), len(looks), stages)
        return FrameOutput(FrameBoxes(clip(self._boxes, *frame.size)), self._scores, self._ids), cost

    def _moving(self, frame: Frame) -> list[tuple[int, int, int, int]]:
        """Regions of the frame in which something moves, largest first."""
        luma = _luma(frame.picture)
        scale = min(1.0, MODEL_WIDTH_PX / frame.size.width)
        small = cv2.resize(luma, (round(frame.size.width * scale), round(frame.size.height * scale)))
        moving = self._background.apply(small)
        moving = cv2.morphologyEx(moving, cv2.MORPH_OPEN, np.ones((2, 2), np.uint8))
        joined = cv2.dilate(moving, np.ones((2 * REACH_PX + 1, 2 * REACH_PX + 1), np.uint8))
        n_labels, _, stats, _ = cv2.connectedComponentsWithStats(joined)
        found = stats[1:n_labels]
        found = found[found[:, cv2.CC_STAT_AREA] >= MIN_AREA_SHARE * small.size]
        found = found[np.argsort(-found[:, cv2.CC_STAT_AREA], kind="stable")]
        boxes = [[value / scale for value in (x, y, x + w, y + h)] for x, y, w, h, _ in found.tolist()]
        regions: list[tuple[int, int, int, int]] = []
        for x1, y1, x2, y2 in boxes:
            region = square_region((x1, y1, x2, y2), frame.size, self._crop.width)
            if not any(_holds(other, (x1, y1, x2, y2)) for other in regions):
                regions.append(region)
        return regions

    def _show(self, frame: Frame, region: tuple[int, int, int, int]) -> Look:
        # Regions hang on the background model's state: asked anew each time, like FlexPatch's patches.
        scale = min(self._crop.width / (region[2] - region[0]), self._crop.height / (region[3] - region[1]))
        return self._looks.ask(frame, region_layout(region, self._crop, min(1.0, scale)))

    def _take(self, looks: list[Look], frame: Size) -> None:
        if not looks:
            return
        found = without_duplicates(joined([look.found(frame, self._class_id) for look in looks]))
        found = found[~found.is_cut]  # the crop cut it, and the object may well be known whole
        examined = np.concatenate([look.layout.source for look in looks])
        ids = self._ledger.assign(self._boxes, self._ids, found)
        seen_again = np.isin(self._ids, ids)
        was_shown = contains(examined, clip(self._boxes, *frame)).any(axis=0) if len(self._boxes) else seen_again
        misses = np.where(was_shown, self._misses + 1, self._misses)
        stays = ~seen_again & (misses < MAX_MISSES)
        self._boxes = FrameBoxes(np.concatenate([self._boxes[stays], found.boxes]))
        self._scores = np.concatenate([self._scores[stays], found.scores])
        self._ids = np.concatenate([self._ids[stays], ids])
        self._misses = np.concatenate([misses[stays], np.zeros(len(ids), np.int64)])


def square_region(box: tuple[float, float, float, float], frame: Size, least_side_px: int) -> tuple[int, int, int, int]:
    """A square round a box and its margin, at least `least_side_px` wide, moved into the frame."""
    x1, y1, x2, y2 = box
    side = max(least_side_px, round(max(x2 - x1, y2 - y1) * (1 + 2 * GROWTH)))
    width, height = min(side, frame.width), min(side, frame.height)
    left = min(max(0, round((x1 + x2 - width) / 2)), frame.width - width)
    top = min(max(0, round((y1 + y2 - height) / 2)), frame.height - height)
    return left, top, left + width, top + height


def _holds(region: tuple[int, int, int, int], box: tuple[float, float, float, float]) -> bool:
    """Whether a region shows all of a box already."""
    return region[0] <= box[0] and region[1] <= box[1] and region[2] >= box[2] and region[3] >= box[3]


def _largest(looks: Looks, frame: Size) -> Size:
    """The canvas of the first look: about half the frame's width, as FlexPatch takes it."""
    return canvas_ladder(frame, looks.detector.input_sizes, None)[-1]


def _luma(picture: Picture) -> NDArray[np.uint8]:
    if isinstance(picture, YuvPicture):
        return picture.y
    return np.asarray(cv2.cvtColor(picture.pixels, cv2.COLOR_BGR2GRAY))
