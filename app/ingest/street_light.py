"""What weather and sensor do to a finished frame: brightness drift, cloud shadows, noise."""

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from app.ingest.street_config import StreetConfig
from app.ingest.street_sprites import grain

_NOISE_SHIFTS = 64
_NOISE_LEVELS = 1.6
_CLOUD_COLUMNS = 64


class Light:
    """Applied to every frame in place, as a function of the frame's number alone."""

    def __init__(self, config: StreetConfig) -> None:
        self._config = config
        rng = np.random.default_rng((config.seed, 6))
        self._start = float(rng.uniform(0, 2 * math.pi))
        self._clouds = _make_clouds(config.seed) if config.clouds else np.zeros((0, 0), np.float32)
        self._plus, self._minus = self._make_noise(rng)

    def apply(self, frame: NDArray[np.uint8], index: int) -> None:
        """Change a finished frame (H, W, 3) as the light and the sensor would."""
        t = index / self._config.fps
        if self._config.light:
            drift = 0.05 * math.sin(2 * math.pi * t / 23 + self._start) + 0.03 * math.sin(2 * math.pi * t / 7.3)
            cv2.convertScaleAbs(frame, frame, alpha=1 + self._config.light * drift)
        if self._config.clouds:
            self._shade(frame, t)
        if self._config.noise:
            row, column = np.random.default_rng((self._config.seed, 8, index)).integers(0, _NOISE_SHIFTS, 2)
            height, width = frame.shape[:2]
            part = np.s_[row : row + height, column : column + width]
            cv2.add(frame, self._plus[part], frame)
            cv2.subtract(frame, self._minus[part], frame)

    def _shade(self, frame: NDArray[np.uint8], t: float) -> None:
        height, width = frame.shape[:2]
        rows = np.arange(-(-_CLOUD_COLUMNS * height // width)) + 1.2 * t
        columns = np.arange(_CLOUD_COLUMNS) + 5.0 * t
        size = len(self._clouds)
        fraction = columns[0] - math.floor(columns[0])
        first = np.floor(columns).astype(np.intp)
        at = np.floor(rows).astype(np.intp)[:, None] % size
        cover = (1 - fraction) * self._clouds[at, first[None, :] % size] + fraction * self._clouds[
            at, (first[None, :] + 1) % size
        ]
        light = 1 - 0.28 * self._config.clouds * np.clip(0.6 * cover + 0.4, 0, 1)
        small = np.clip(255 * light, 0, 255).astype(np.uint8)
        full = cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
        cv2.multiply(frame, cv2.cvtColor(full, cv2.COLOR_GRAY2BGR), frame, scale=1 / 255)

    def _make_noise(self, rng: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Brighter and darker specks, larger than the frame: each frame takes another part of them."""
        if not self._config.noise:
            nothing = np.zeros((0, 0, 3), np.uint8)
            return nothing, nothing
        width, height = self._config.size
        spread = _NOISE_LEVELS * self._config.noise * (1.6 if self._config.night else 1.0)
        shape = (height + _NOISE_SHIFTS, width + _NOISE_SHIFTS, 3)
        specks = rng.standard_normal(shape, dtype=np.float32)
        specks *= spread
        np.rint(specks, out=specks)
        return np.clip(specks, 0, 255).astype(np.uint8), np.clip(-specks, 0, 255).astype(np.uint8)


def _make_clouds(seed: int) -> NDArray[np.float32]:
    clouds = cv2.GaussianBlur(grain(seed + 1), (0, 0), 5)
    return np.asarray(clouds / clouds.std(), np.float32)
