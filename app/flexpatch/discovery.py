"""Where new objects may be, and what a look there is worth.

The frame is divided into cells. For each cell and each band of object heights the map keeps how long no look
has been able to see such an object there (the paper's refresh interval, but by size: a thumbnail refreshes the
large bands and not the small ones). A look is worth the objects to be expected in what it can see: those that
have come (birth rate of the band × unseen time), and those that always stood there unseen (`stock.py`); more at
borders and where objects appeared before, less where there is no texture, more where something moves that no track
explains.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.core.types import FrameBoxes, Size
from app.flexpatch.acuity import Acuity
from app.flexpatch.canvas import CanvasLayout
from app.flexpatch.flow import CameraMotion
from app.flexpatch.stock import Stock

SMALLEST_BAND_PX = 24.0
MAX_UNSEEN_S = 60.0
UNSEEN_AT_START_S = 8.0
"""How long a new scene, or what a moving camera has just uncovered, counts as unseen."""
PRIOR_BIRTHS, PRIOR_SECONDS = 0.6, 4.0
"""Gamma prior of the birth rate of the whole frame: 0.15 objects a second, soon outweighed by what is seen."""
MIN_BIRTH_RATE = 0.02
"""Objects a second that are expected even where none ever came."""
BIRTH_MEMORY_S = 60.0
BORDER_WEIGHT = 3.0
EDGE_THRESHOLD = 0.02
"""Share of edge pixels from which a cell has texture (the paper's T)."""
FLAT_WEIGHT = 0.2
COVERED_WEIGHT = 0.1
"""Weight of cells inside tracked boxes: what is there is known."""
EDGE_INTERVAL_S = 0.5
MOTION_INTERVAL_S = 0.06
MOTION_MEMORY_S = 10.0
"""Motion that goes on for so long in one place (leaves, water, screens) becomes part of the background."""
MOTION_FLOOR = 0.08
MOTION_CELLS = 12.0
"""Cells of unexplained motion that promise one new object."""
MOTION_PATIENCE_S = 0.5
"""Motion inspected less long ago promises proportionally less."""
MAX_MOTION_OBJECTS = 3.0
MOTION_HEIGHT_PX = 96.0
MOTION_PRIOR = 2.0
"""Objects promised by motion before what looks really found there outweighs the belief in it."""


@dataclass(frozen=True, slots=True)
class Window:
    """A region worth looking at for new objects."""

    box: tuple[float, float, float, float]
    value: float
    is_motion: bool
    """Most of its worth comes from motion."""


class Discovery:
    """What has been seen where, and what may have appeared since. One instance per stream."""

    def __init__(self, frame: Size, cell_px: int, acuity: Acuity) -> None:
        self._frame = frame
        self._acuity = acuity
        self._cell_px = cell_px
        rows, columns = -(-frame.height // cell_px), -(-frame.width // cell_px)
        n_bands = max(1, int(np.log2(max(frame.height, 48) / SMALLEST_BAND_PX)))
        self._heights_px = SMALLEST_BAND_PX * 2.0 ** np.arange(n_bands)
        x = (np.arange(columns, dtype=np.float32) + 0.5) * cell_px
        y = (np.arange(rows, dtype=np.float32) + 0.5) * cell_px
        self._x, self._y = x, y
        self._unseen_s = np.full((n_bands, rows, columns), UNSEEN_AT_START_S, np.float32)
        self._births = np.full(n_bands, PRIOR_BIRTHS / n_bands)
        self._seconds = PRIOR_SECONDS
        self._stock = Stock(n_bands, (rows, columns))
        self._standing_share = np.zeros(n_bands)
        """(bands,) share of what the last look may have found that had been standing there."""
        self._birthplaces = np.zeros((rows, columns), np.float32)
        self._place_weight = self._borders()
        self._is_ignored = np.zeros((rows, columns), bool)
        self._usual_motion = np.zeros((rows, columns), np.float32)
        self._motion_waited_s = np.full((rows, columns), UNSEEN_AT_START_S, np.float32)
        self._motion_pts_s = -np.inf
        self._promised, self._kept = 0.0, 0.0
        self._motion = np.zeros((rows, columns), np.float32)
        self._is_flat = np.zeros((rows, columns), bool)
        self._edges_due_s = -np.inf
        self._weight = np.ones((rows, columns), np.float32)
        self._drift = np.zeros(2)
        self._window_grids: dict[Size, _WindowGrid] = {}

    # ------------------------------------------------------------------------------ what happens over time

    def ignore(self, is_ignored: NDArray[np.bool_]) -> None:
        """Never look for objects in these cells (rows, columns)."""
        self._is_ignored = is_ignored
        self._weight[is_ignored] = 0
        self._motion[is_ignored] = 0

    @property
    def cell_centres(self) -> NDArray[np.float32]:
        """(rows · columns, 2) in source-frame pixels, row by row."""
        grid_x, grid_y = np.meshgrid(self._x, self._y)
        return np.stack([grid_x.ravel(), grid_y.ravel()], axis=1)

    @property
    def shape(self) -> tuple[int, int]:
        return len(self._y), len(self._x)

    @property
    def unseen_s(self) -> NDArray[np.float32]:
        """(bands, rows, columns) seconds since an object of that height would have been seen there."""
        return self._unseen_s

    def wants_edges(self, pts_s: float) -> bool:
        """Edges change slowly; is a new map due?"""
        return pts_s >= self._edges_due_s

    def set_edges(self, edges: NDArray[np.float32], pts_s: float) -> None:
        """Take a fresh edge map (rows, columns). A cell is flat if it and its neighbours lack edges."""
        self._edges_due_s = pts_s + EDGE_INTERVAL_S
        self._is_flat = _box_sum(edges, 2) < EDGE_THRESHOLD * 25

    def advance(self, dt_s: float, camera: CameraMotion) -> None:
        """Time passes, and with a moving camera the seen area moves over the frame."""
        self._unseen_s += np.float32(dt_s)
        np.minimum(self._unseen_s, np.float32(MAX_UNSEEN_S), out=self._unseen_s)
        fade = float(np.exp(-dt_s / BIRTH_MEMORY_S))
        self._births = self._births * fade
        self._seconds = self._seconds * fade + dt_s
        self._birthplaces *= np.float32(fade)
        self._motion_waited_s += np.float32(dt_s)
        self._promised, self._kept = self._promised * fade, self._kept * fade
        self._follow(camera)

    def wants_motion(self, pts_s: float) -> bool:
        """At high frame rates every other motion map tells as much; is one due?"""
        return pts_s - self._motion_pts_s >= MOTION_INTERVAL_S

    def observe_motion(self, motion: NDArray[np.float32], tracked: FrameBoxes, pts_s: float) -> None:
        """Take a motion map (rows, columns): keep what neither habit nor a track explains."""
        dt_s = min(pts_s - self._motion_pts_s, 1.0)
        self._motion_pts_s = pts_s
        excess = motion - 2 * self._usual_motion - MOTION_FLOOR
        share = min(1.0, dt_s / MOTION_MEMORY_S)
        self._usual_motion += np.float32(share) * (motion - self._usual_motion)
        is_covered = self._weigh(tracked)
        self._motion = np.where(is_covered | self._is_ignored, 0, np.clip(excess, 0, 1)).astype(np.float32)

    def observe_tracks(self, tracked: FrameBoxes, pts_s: float) -> None:
        """Instead of a motion map: only learn where objects are known to be."""
        self._motion_pts_s = pts_s
        self._weigh(tracked)

    def _weigh(self, tracked: FrameBoxes) -> NDArray[np.bool_]:
        """Weigh the cells anew; gives those (rows, columns) that tracks explain."""
        is_covered = self._covered(tracked)
        weight = self._place_weight * np.where(self._is_flat, FLAT_WEIGHT, 1)
        weight = np.where(is_covered, weight * COVERED_WEIGHT, weight)
        weight[self._is_ignored] = 0
        self._weight = weight.astype(np.float32)
        return is_covered

    def record_look(self, layout: CanvasLayout) -> None:
        """Reset what was inside inspected patches, as far as the detector could see it at their scale."""
        standing, born = np.zeros(len(self._heights_px)), np.full(len(self._heights_px), 1e-9)
        for (x1, y1, x2, y2), scale in zip(layout.source, layout.scale.min(axis=1), strict=True):
            fits = self._heights_px <= max(y2 - y1, 1) * (1.0 if y2 - y1 >= self._frame.height else 0.8)
            blind = np.where(fits, 1 - self._acuity.visibility(self._heights_px * scale), 1).astype(np.float32)
            rows = slice(*np.searchsorted(self._y, (y1, y2)))
            columns = slice(*np.searchsorted(self._x, (x1, x2)))
            share = self._motion_share(np.array(scale))
            self._promised += float((self._motion * self._waiting())[rows, columns].sum() * share)
            weight = self._weight[rows, columns]
            unknown, unseen_s = self._stock.unknown[:, rows, columns], self._unseen_s[:, rows, columns]
            standing += (1 - blind) * np.einsum("brc,rc->b", unknown, weight)
            born += (1 - blind) * np.einsum("brc,rc->b", unseen_s, weight)
            self._stock.record_look(rows, columns, 1 - blind, self._weight)
            unseen_s *= blind[:, None, None]
            self._motion_waited_s[rows, columns] *= np.float32(1 - self._acuity.visibility(MOTION_HEIGHT_PX * scale))
        standing, born = standing * self._stock.objects, born * self._birth_rates
        self._standing_share = standing / (standing + born)

    def record_stock(self, boxes: FrameBoxes, scores: NDArray[np.float32]) -> None:
        """Learn where objects are from the first look at a scene: they have come at some time, but not just now."""
        if len(boxes):
            self._stock.record_found(self._bands_of(boxes), scores)
        self._record_places(boxes, scores)

    def record_births(self, boxes: FrameBoxes, scores: NDArray[np.float32]) -> None:
        """Learn where and how large new objects (N, 4) appear; each counts by its score (N,).

        To be called after `record_look`: what it showed for the first time may have found objects that always stood
        there, and these tell nothing of how often others come.
        """
        if len(boxes) == 0:
            return
        bands = self._bands_of(boxes)
        standing = scores * self._standing_share[bands]
        self._stock.record_found(bands, standing)
        np.add.at(self._births, bands, scores - standing)
        rows, columns = self._cells_of(boxes)
        self._kept += float(scores[_box_sum(self._motion, 1)[rows, columns] > 0].sum())
        self._record_places(boxes, scores)

    def forget_births(self) -> None:
        """Start anew to learn how often objects appear: others are looked for from now on."""
        self._stock.forget()
        self._births = np.full(len(self._heights_px), PRIOR_BIRTHS / len(self._heights_px))
        self._seconds = PRIOR_SECONDS

    def _record_places(self, boxes: FrameBoxes, scores: NDArray[np.float32]) -> None:
        np.add.at(self._birthplaces, self._cells_of(boxes), scores)
        self._weigh_places()

    def _weigh_places(self) -> None:
        """Shift weight to where objects appeared; the sum over the frame stays."""
        borders = self._borders()
        heat = _box_sum(self._birthplaces, 4)
        weight = borders + 2 * heat / max(float(heat.mean()), 0.05)
        self._place_weight = weight * np.float32(borders.mean() / weight.mean())

    def _cells_of(self, boxes: FrameBoxes) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Rows and columns (N,) of the cells under the middles of boxes (N, 4)."""
        rows = ((boxes[:, 1] + boxes[:, 3]) / 2 / self._cell_px).astype(np.intp)
        columns = ((boxes[:, 0] + boxes[:, 2]) / 2 / self._cell_px).astype(np.intp)
        return np.clip(rows, 0, len(self._y) - 1), np.clip(columns, 0, len(self._x) - 1)

    # --------------------------------------------------------------------------------- what a look is worth

    def value_of_frame(self, scales: NDArray[np.floating]) -> NDArray[np.float64]:
        """Objects that a look at the whole frame at each of `scales` (S,) may be expected to find: (S,)."""
        unseen = np.einsum("brc,rc->b", self._unseen_s, self._weight)
        births = self._finds_per_cell(scales[:, None]) @ unseen
        moving = float((self._motion * self._waiting()).sum()) * self._motion_share(scales)
        unknown = np.einsum("brc,rc->b", self._stock.unknown, self._weight)
        return np.asarray(births + moving + self._standing_per_cell(scales[:, None]) @ unknown)

    def windows(self, size: Size, scale: float, n_most: int) -> list[Window]:
        """The best regions of `size` (frame pixels) to look at with `scale`, apart from one another.

        Windows stand on a grid of half their size, and reach the far borders.
        """
        motion = self._motion * self._waiting() * np.float32(self._motion_share(np.array(scale)))
        finds = self._finds_per_cell(np.array(scale)) * (self._heights_px <= 0.8 * size.height)
        standing = self._standing_per_cell(np.array(scale)) * (self._heights_px <= 0.8 * size.height)
        density = np.tensordot(finds.astype(np.float32), self._unseen_s, axes=1)
        density += np.tensordot(standing.astype(np.float32), self._stock.unknown, axes=1)
        density = density * self._weight + motion
        grid = self._window_grid(size)
        values = grid.sums(density)
        moving = grid.sums(motion)
        boxes = grid.boxes
        found: list[Window] = []
        for _ in range(min(n_most, len(boxes))):
            best = int(values.argmax())
            if values[best] <= 0:
                break
            x1, y1, x2, y2 = boxes[best].tolist()
            is_motion = bool(moving[best] > 0.5 * values[best])
            found.append(Window((x1, y1, x2, y2), float(values[best]), is_motion))
            apart = (boxes[:, 0] >= x2) | (boxes[:, 2] <= x1) | (boxes[:, 1] >= y2) | (boxes[:, 3] <= y1)
            values = np.where(apart, values, 0)
        return found

    def _finds_per_cell(self, scales: NDArray[np.floating]) -> NDArray[np.float64]:
        """Births a second and cell in each band, times the chance to see them at `scales`; bands come last."""
        return np.asarray(self._birth_rates * self._acuity.visibility(self._heights_px * scales) / self._weight.size)

    @property
    def _birth_rates(self) -> NDArray[np.float64]:
        """(bands,) objects that come into the whole frame in a second."""
        return np.asarray(np.maximum(self._births / self._seconds, MIN_BIRTH_RATE / len(self._heights_px)))

    def _standing_per_cell(self, scales: NDArray[np.floating]) -> NDArray[np.float64]:
        """Standing objects in each band and cell, times the chance to see them at `scales`; bands come last."""
        return np.asarray(self._stock.objects * self._acuity.visibility(self._heights_px * scales) / self._weight.size)

    def _bands_of(self, boxes: FrameBoxes) -> NDArray[np.intp]:
        """(N,) the band of heights of each box (N, 4)."""
        heights = np.maximum(boxes[:, 3] - boxes[:, 1], 1)
        return np.asarray(np.abs(np.log2(heights[:, None] / self._heights_px[None, :])).argmin(axis=1))

    def _waiting(self) -> NDArray[np.float32]:
        """(rows, columns) how far motion has waited for a look, 0 to 1."""
        return np.minimum(self._motion_waited_s / np.float32(MOTION_PATIENCE_S), 1)

    def _motion_share(self, scales: NDArray[np.floating]) -> NDArray[np.float64]:
        """Objects to be found for each moving cell, by a look at `scales`.

        Motion tells neither size nor class; a medium height stands for all.
        """
        promised = max(float(self._motion.sum()) / MOTION_CELLS, 1e-6)
        trust = (MOTION_PRIOR + self._kept) / (MOTION_PRIOR + self._promised)
        each = min(1.0, MAX_MOTION_OBJECTS / promised) * min(1.0, trust) / MOTION_CELLS
        return np.asarray(self._acuity.visibility(MOTION_HEIGHT_PX * scales) * each)

    def _window_grid(self, size: Size) -> "_WindowGrid":
        """Windows of a size, laid out once."""
        if size not in self._window_grids:
            self._window_grids[size] = _WindowGrid.over(self._frame, size, self._x, self._y)
        return self._window_grids[size]

    # --------------------------------------------------------------------------------------------- details

    def _borders(self) -> NDArray[np.float32]:
        """Objects enter at the sides more often than they appear in the middle."""
        weight = np.ones((len(self._y), len(self._x)), np.float32)
        deep = max(1, len(self._x) // 16)
        weight[:, :deep] = BORDER_WEIGHT
        weight[:, -deep:] = BORDER_WEIGHT
        return weight

    def _covered(self, boxes: FrameBoxes) -> NDArray[np.bool_]:
        """(rows, columns) cells whose centre lies in a box grown by a cell on each side."""
        margin = self._cell_px
        in_x = (self._x >= boxes[:, 0:1] - margin) & (self._x <= boxes[:, 2:3] + margin)
        in_y = (self._y >= boxes[:, 1:2] - margin) & (self._y <= boxes[:, 3:4] + margin)
        return np.asarray((in_y.T.astype(np.float32) @ in_x.astype(np.float32)) > 0)

    def _follow(self, camera: CameraMotion) -> None:
        """Shift the maps with the picture, in whole cells; what comes into view was never seen.

        A pan too slow to count as motion between two frames adds up all the same.
        """
        centre = np.array([self._frame.width / 2, self._frame.height / 2])
        self._drift += (camera.affine[:, :2] @ centre + camera.affine[:, 2] - centre) / self._cell_px
        columns, rows = (int(step) for step in np.trunc(self._drift))
        if columns or rows:
            self._drift -= (columns, rows)
            self._unseen_s = _shifted(self._unseen_s, rows, columns, UNSEEN_AT_START_S)
            self._motion_waited_s = _shifted(self._motion_waited_s, rows, columns, UNSEEN_AT_START_S)
            self._stock.unknown = _shifted(self._stock.unknown, rows, columns, 1.0)
            self._usual_motion = _shifted(self._usual_motion, rows, columns, 0)
            self._birthplaces = _shifted(self._birthplaces, rows, columns, 0)
            self._weigh_places()


@dataclass(frozen=True, slots=True)
class _WindowGrid:
    """Windows half their size apart, and which cells lie in their rows and columns."""

    boxes: NDArray[np.float32]
    """(M, 4) row by row."""
    rows: NDArray[np.float32]
    """(tops, rows) 1 where the cell's centre is in the window's rows, else 0."""
    columns: NDArray[np.float32]
    """(columns, lefts)"""

    @classmethod
    def over(cls, frame: Size, size: Size, x: NDArray[np.float32], y: NDArray[np.float32]) -> "_WindowGrid":
        width, height = min(size.width, frame.width), min(size.height, frame.height)
        lefts, tops = _stations(frame.width, width), _stations(frame.height, height)
        left, top = np.meshgrid(lefts, tops)
        return cls(
            boxes=np.stack([left, top, left + width, top + height], axis=-1).reshape(-1, 4),
            rows=((y >= tops[:, None]) & (y < tops[:, None] + height)).astype(np.float32),
            columns=((x[:, None] >= lefts) & (x[:, None] < lefts + width)).astype(np.float32),
        )

    def sums(self, cells: NDArray[np.float32]) -> NDArray[np.float32]:
        """Sum (M,) of a map (rows, columns) inside each window."""
        return (self.rows @ cells @ self.columns).ravel().astype(np.float32)


def _shifted(cells: NDArray[np.float32], rows: int, columns: int, fill: float) -> NDArray[np.float32]:
    """Maps (..., rows, columns) moved down and right, `fill` where nothing came from."""
    n_rows, n_columns = cells.shape[-2:]
    moved = np.full_like(cells, fill)
    if abs(rows) < n_rows and abs(columns) < n_columns:
        moved[..., max(rows, 0) : n_rows + min(rows, 0), max(columns, 0) : n_columns + min(columns, 0)] = cells[
            ..., max(-rows, 0) : n_rows - max(rows, 0), max(-columns, 0) : n_columns - max(columns, 0)
        ]
    return moved


def _box_sum(cells: NDArray[np.float32], radius: int) -> NDArray[np.float32]:
    """Sum over the square of side 2·radius + 1 round each cell, zeros beyond the border."""
    total = cells.astype(np.float64)
    for _ in range(2):  # down the columns, and on the transposed map along the rows
        running = np.cumsum(np.pad(total, ((radius + 1, radius), (0, 0))), axis=0)
        total = (running[2 * radius + 1 :] - running[: -2 * radius - 1]).T
    return total.astype(np.float32)


def _stations(length: int, window: int) -> NDArray[np.float32]:
    """Left edges of windows along an axis, half a window apart, the last one flush with the end."""
    n = 1 if length <= window else int(np.ceil(2 * (length - window) / window)) + 1
    return np.round(np.linspace(0, length - window, n)).astype(np.float32)
