"""Where points of the street land in the picture: a camera on a mast that looks across it."""

import math
from dataclasses import dataclass

from app.core.types import Size
from app.ingest.street_config import StreetConfig

CAMERA_HEIGHT_M = 3.5
_FOCAL = 1.57
"""Focal length in frame heights."""
_HORIZON = 0.22
"""The horizon's distance from the top, in frame heights."""
_PAN_SHARE = 0.25
_PAN_PERIOD_S = 32.0
_SHAKE_SHARE = 4 / 1080


@dataclass(frozen=True, slots=True)
class View:
    """The panorama: everything the camera sees while it pans. Frames are windows of it.

    Ground coordinates are metres: x to the right of the middle, z away from the camera.
    """

    size: Size
    """Of the panorama."""
    frame: Size
    focal_px: float
    horizon_px: float
    centre_px: float
    margin: tuple[int, int]
    """How far the camera may move from the middle, across and down, in pixels."""

    @classmethod
    def of(cls, config: StreetConfig) -> "View":
        """The panorama that a street's frames need."""
        width, height = config.size
        shake = math.ceil(_SHAKE_SHARE * height * config.shake * 1.5)
        across = math.ceil(_PAN_SHARE * width * config.pan) + shake
        return cls(
            size=Size(width + 2 * across, height + 2 * shake),
            frame=config.size,
            focal_px=_FOCAL * height,
            horizon_px=shake + _HORIZON * height,
            centre_px=across + width / 2,
            margin=(across, shake),
        )

    def px_per_m(self, z: float) -> float:
        """How large a metre looks at distance z."""
        return self.focal_px / z

    def ground(self, x: float, z: float) -> tuple[float, float]:
        """Panorama pixels of a point on the ground."""
        return self.point(x, 0.0, z)

    def point(self, x: float, up: float, z: float) -> tuple[float, float]:
        """Panorama pixels of a point `up` metres above the ground."""
        scale = self.focal_px / z
        return self.centre_px + scale * x, self.horizon_px + scale * (CAMERA_HEIGHT_M - up)

    def half_width_m(self, z: float) -> float:
        """How far to each side the panorama reaches at distance z."""
        return self.size.width / 2 * z / self.focal_px

    def nearest_m(self) -> float:
        """Distance of the ground at the lower edge of the picture."""
        return self.focal_px * CAMERA_HEIGHT_M / (self.size.height - self.horizon_px)


def camera_offset(config: StreetConfig, view: View, t: float) -> tuple[int, int]:
    """Upper left corner of the frame in the panorama at time t, in whole pixels."""
    x, y = view.margin
    phase = 2 * math.pi * (t / _PAN_PERIOD_S + config.seed * 0.137)
    swing = _PAN_SHARE * view.frame.width * config.pan * math.sin(phase)
    tremor = _SHAKE_SHARE * view.frame.height * config.shake
    dx = tremor * (0.8 * math.sin(7.1 * t + config.seed) + 0.5 * math.sin(17.3 * t))
    dy = tremor * (0.8 * math.sin(9.7 * t + 2) + 0.5 * math.sin(23.9 * t + config.seed))
    return (
        min(max(round(x + swing + dx), 0), 2 * x),
        min(max(round(y + dy), 0), 2 * y),
    )
