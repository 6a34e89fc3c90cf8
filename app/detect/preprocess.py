"""From canvases (uint8, blue-green-red, interleaved) to the tensor that a model's first layer expects."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import DTypeLike, NDArray

Channels = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """Colour order and normalisation of a model family: value = pixel · scale - offset, pixel 0 to 255."""

    is_rgb: bool = False
    """Red first; otherwise blue first, as the canvas is."""
    scale: Channels = (1.0, 1.0, 1.0)
    """In the model's channel order."""
    offset: Channels = (0.0, 0.0, 0.0)
    """In the model's channel order."""

    @property
    def is_uniform(self) -> bool:
        """One factor does for all channels."""
        return len(set(self.scale)) == 1 and not any(self.offset)


def from_mean_and_deviation(mean: Channels, deviation: Channels, *, is_rgb: bool) -> Preprocessing:
    """Preprocessing of a model trained on (pixel - mean) / deviation, both for pixels 0 to 255."""
    scale = (1 / deviation[0], 1 / deviation[1], 1 / deviation[2])
    offset = (mean[0] * scale[0], mean[1] * scale[1], mean[2] * scale[2])
    return Preprocessing(is_rgb=is_rgb, scale=scale, offset=offset)


class InputBuffer:
    """Memory for one input tensor, used over and over. Belongs to one thread.

    It grows to the largest batch and never shrinks; the tensor it returns is borrowed until the next call.
    """

    def __init__(self, preprocessing: Preprocessing, dtype: DTypeLike, *, is_channels_last: bool) -> None:
        self._is_rgb = preprocessing.is_rgb
        self._scale = np.array(preprocessing.scale, np.float32)
        self._offset = np.array(preprocessing.offset, np.float32)
        self._is_uniform = preprocessing.is_uniform
        self._is_plain = self._is_uniform and preprocessing.scale[0] == 1
        self._is_channels_last = is_channels_last
        self._dtype = np.dtype(dtype)
        self._tensor = np.empty(0, self._dtype)
        self._planes = np.empty(0, np.uint8)

    def fill(self, canvases: NDArray[np.uint8], batch: int) -> NDArray[np.generic]:
        """The input tensor for canvases (B, H, W, 3), filled up with zeros to `batch` entries.

        Integer inputs take the pixels as they are: such graphs normalise by themselves.
        """
        n, height, width, _ = canvases.shape
        entry = height * width * 3
        if self._tensor.size < batch * entry:
            self._tensor = np.empty(batch * entry, self._dtype)
        flat = self._tensor[: batch * entry]
        if self._is_channels_last:
            tensor = flat.reshape(batch, height, width, 3)
            source = canvases[..., ::-1] if self._is_rgb else canvases
            self._normalise(source, tensor[:n], self._scale, self._offset)
        else:
            tensor = flat.reshape(batch, 3, height, width)
            for canvas, target in zip(canvases, tensor, strict=False):
                planes = self._split(canvas, target)
                self._normalise(planes, target, self._scale[:, None, None], self._offset[:, None, None])
        tensor[n:] = 0
        return tensor

    def _split(self, canvas: NDArray[np.uint8], target: NDArray[np.generic]) -> NDArray[np.uint8]:
        """The canvas's three colour planes in the model's order; in place if the target takes bytes."""
        if self._dtype == np.uint8:
            planes = target.view(np.uint8)
        else:
            if self._planes.shape != target.shape:
                self._planes = np.empty(target.shape, np.uint8)
            planes = self._planes
        ordered = list(planes[::-1] if self._is_rgb else planes)
        cv2.split(np.ascontiguousarray(canvas), ordered)
        return planes

    def _normalise(
        self,
        pixels: NDArray[np.uint8],
        target: NDArray[np.generic],
        scale: NDArray[np.float32],
        offset: NDArray[np.float32],
    ) -> None:
        if self._dtype == np.uint8 or self._is_plain:
            if not np.may_share_memory(pixels, target):
                np.copyto(target, pixels, casting="unsafe")
            return
        factor = self._scale[0] if self._is_uniform else scale
        np.multiply(pixels, factor, out=target, dtype=np.float32, casting="unsafe")
        if not self._is_uniform:
            np.subtract(target, offset, out=target, casting="unsafe")
