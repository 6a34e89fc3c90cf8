"""What an engine is built for."""

from dataclasses import dataclass
from typing import Literal

from app.core.errors import SettingsError
from app.core.types import Size

Precision = Literal["float", "half", "int8"]

USUAL_CANVAS = Size(640, 384)
"""What an engine is tuned for: a frequent canvas of 1080p streams."""
LARGEST_SIDE_PX = 1920
_SIDES_PX = (640, 8192)
_MOST_CANVASES = 64


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """What a user may choose about an engine; part of what tells one engine from another.

    Raises:
        SettingsError: a value is outside its range.
    """

    precision: Precision = "half"
    """Of the arithmetic; inputs and outputs stay as they are."""
    max_batch: int = 1
    """Canvases in one inference, at most."""
    max_side_px: int = LARGEST_SIDE_PX
    """Longer side of a canvas, at most."""

    def __post_init__(self) -> None:
        if self.precision not in {"float", "half", "int8"}:
            raise SettingsError(f"The precision is {self.precision!r}; choose float, half or int8.")
        if not 1 <= self.max_batch <= _MOST_CANVASES:
            raise SettingsError(f"max_batch is {self.max_batch}; it must be 1 to {_MOST_CANVASES}.")
        low, high = _SIDES_PX
        if not low <= self.max_side_px <= high:
            raise SettingsError(f"max_side_px is {self.max_side_px}; it must be {low} to {high}.")
