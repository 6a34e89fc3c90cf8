"""Which objects of a session are put out, and in which of its zones they stand."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray

from app.core.errors import SettingsError
from app.core.types import TrackedObject

Polygon = tuple[tuple[float, float], ...]
"""Corners x, y in source-frame pixels; the last one joins the first."""


@dataclass(frozen=True, slots=True)
class Zone:
    """A named area of the picture."""

    name: str
    polygon: Polygon


@dataclass(frozen=True, slots=True)
class FilterSpec:
    """What a client asked for."""

    classes: tuple[str, ...] | None = None
    """Labels of the detector to keep; None: all."""
    min_score: float = 0.0
    """Objects with a lower score are not put out."""
    zones: tuple[Zone, ...] = ()
    """An object lists the zones that hold its foot point, the middle of its box's lower edge."""
    masks: tuple[Polygon, ...] = ()
    """An object whose foot point lies in a mask is ignored."""


class Filters:
    """A specification made ready for one detector's classes. Immutable; any thread.

    Raises:
        SettingsError: a class the detector does not know, a polygon without an area, a zone named twice.
    """

    def __init__(self, spec: FilterSpec, class_names: Sequence[str]) -> None:
        self.spec = spec
        self.class_ids = _class_ids(spec.classes, class_names)
        names = [zone.name for zone in spec.zones]
        if duplicates := sorted({name for name in names if names.count(name) > 1}):
            raise SettingsError(f"Two zones have the name {duplicates[0]!r}; zone names must differ.")
        self._zones = [(zone.name, _prepared(zone.polygon, f"Zone {zone.name!r}")) for zone in spec.zones]
        masks = [_prepared(polygon, f"Mask {index}") for index, polygon in enumerate(spec.masks)]
        self._mask = shapely.union_all(masks) if masks else None
        if self._mask is not None:
            shapely.prepare(self._mask)

    @property
    def has_masks(self) -> bool:
        return self._mask is not None

    def is_masked(self, points: NDArray[np.float32]) -> NDArray[np.bool_]:
        """For each point (M, 2) in source-frame pixels: does a mask hold it, edges included?"""
        if self._mask is None:
            return np.zeros(len(points), np.bool_)
        return np.asarray(shapely.intersects_xy(self._mask, points[:, 0], points[:, 1]), np.bool_)

    def apply(self, objects: Sequence[TrackedObject]) -> tuple[tuple[TrackedObject, ...], tuple[tuple[str, ...], ...]]:
        """The objects that pass, in their order, and for each the names of the zones it stands in."""
        kept = [
            item
            for item in objects
            if item.score >= self.spec.min_score and (self.class_ids is None or item.class_id in self.class_ids)
        ]
        if not kept or (self._mask is None and not self._zones):
            return tuple(kept), ((),) * len(kept)
        feet = np.array([[(i.box[0] + i.box[2]) / 2, i.box[3]] for i in kept], np.float32)
        visible = ~self.is_masked(feet)
        zones: list[list[str]] = [[] for _ in kept]
        for name, polygon in self._zones:
            for index in np.flatnonzero(shapely.intersects_xy(polygon, feet[:, 0], feet[:, 1])):
                zones[index].append(name)
        indices = np.flatnonzero(visible)
        return tuple(kept[i] for i in indices), tuple(tuple(zones[i]) for i in indices)


def _class_ids(classes: tuple[str, ...] | None, class_names: Sequence[str]) -> frozenset[int] | None:
    if classes is None:
        return None
    unknown = [label for label in classes if label not in class_names]
    if unknown:
        known = ", ".join(class_names[:12]) + (", …" if len(class_names) > 12 else "")
        raise SettingsError(f"The detector knows no class {unknown[0]!r}; it knows {known}.")
    return frozenset(index for index, name in enumerate(class_names) if name in classes)


def _prepared(polygon: Polygon, what: str) -> shapely.Polygon:
    if len(polygon) < 3:
        raise SettingsError(f"{what} has {len(polygon)} corners; a polygon needs at least 3.")
    shape = shapely.Polygon(polygon)
    if not shape.is_valid:
        raise SettingsError(f"{what} is not a simple polygon: {shapely.is_valid_reason(shape)}.")
    if shape.area <= 0:
        raise SettingsError(f"{what} has no area.")
    shapely.prepare(shape)
    return shape
