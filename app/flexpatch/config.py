"""The pipeline's own settings: what a user may turn, with units and limits."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.core.errors import SettingsError
from app.core.types import Size

PointPredicate = Callable[[NDArray[np.float32]], NDArray[np.bool_]]
"""Takes points (M, 2) in source-frame pixels, says for each whether it holds."""


@dataclass(frozen=True, slots=True)
class Parts:
    """Which parts of the method are at work. All of them, but for measuring what each is worth."""

    patches: bool = True
    """Look at parts of the frame, not only at all of it."""
    tiles: bool = True
    """Look for new objects region by region."""
    motion: bool = True
    """Look where something moves that no track explains."""
    patch_scaling: bool = True
    """Reduce objects taller than the detector needs them, rather than show them at their own height."""
    small_canvases: bool = True
    """Choose the canvas's size by what there is to see; else the largest one always."""
    fused_looks: bool = True
    """An object's score is the evidence of all looks; else the last look's score."""
    weak_matches: bool = True
    """Detections of low score may confirm tracks."""
    credibility: bool = True
    """Learn which scores can be believed, and doubt faint finds on patches; else take every score at face value."""
    camera_motion: bool = True
    """Follow the camera's own motion."""


@dataclass(frozen=True, slots=True)
class PipelineConfig:
    """What the schedule may spend, and how long tracks live.

    Raises:
        SettingsError: a value is outside its range.
    """

    max_canvas: Size | None = None
    """Largest detector canvas in pixels; None: as wide as half the frame, 640 to 1280, in the frame's shape."""
    megapixels_per_frame: float = 0.08
    """Detector pixels to spend on an average frame, in millions. An idle scene takes far fewer."""
    object_height_px: float | None = None
    """Height on the canvas to which taller objects are reduced where they are looked at one by one; None: learned."""
    context: float = 0.4
    """Margin round an object in its patch, as a share of its larger side, before drift is added."""
    max_tracks: int = 300
    """More tracks than this, and those with the least evidence are dropped."""
    track_lifetime_s: float = 2.5
    """A track that no detector has confirmed for so long, though it was looked for, is removed."""
    min_output_score: float = 0.05
    """Objects below this fused score are not put out."""
    parts: Parts = Parts()

    def __post_init__(self) -> None:
        ranges = {
            "megapixels_per_frame": (0.001, 16.0),
            "object_height_px": (24.0, 512.0),
            "context": (0.1, 3.0),
            "max_tracks": (1, 2000),
            "track_lifetime_s": (0.1, 60.0),
            "min_output_score": (0.0, 1.0),
        }
        for name, (low, high) in ranges.items():
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise SettingsError(f"{name} is {value}; it must be between {low} and {high}.")
        if self.max_canvas is not None and not all(32 <= side <= 4096 for side in self.max_canvas):
            raise SettingsError(f"max_canvas is {self.max_canvas}; each side must be 32 to 4096 pixels.")
