"""Frames in GPU memory: the picture's planes, and its luma halved again and again."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.core.types import BgrPicture, Picture, PreparedFrame, ResidentPicture, Size
from app.gpu.buffers import Layout
from app.gpu.pool import Lease
from app.gpu.structures import LUMA_PLANE, MAX_LEVELS
from app.vision.alignment import Thumbnail
from app.vision.drawing import ScaledPicture
from app.vision.luma import WINDOW_PX, reduced_size


@dataclass(frozen=True)
class FrameLayout:
    """Where things lie in the memory of a frame, for pictures of one kind and size."""

    size: Size
    is_bgr: bool
    divisor: int
    planes: tuple[int, ...]
    """Offsets in bytes: of interleaved BGR; or of Y, U, V."""
    levels: tuple[int, ...]
    """Offsets of luma at reduced size, and each half as large as the one before."""
    level_sizes: tuple[Size, ...]
    picture_bytes: int
    """Of the planes, which come first."""
    n_bytes: int

    @staticmethod
    def of(size: Size, *, is_bgr: bool, divisor: int) -> "FrameLayout":
        """
        Args:
            is_bgr: rather than planes.
            divisor: by how much luma is reduced.
        """
        chroma = Size(-(-size.width // 2), -(-size.height // 2))
        layout = Layout()
        planes = tuple(map(layout.place, [3 * size.pixels] if is_bgr else [size.pixels, chroma.pixels, chroma.pixels]))
        picture_bytes = layout.n_bytes
        sizes = _level_sizes(reduced_size(size, divisor))
        levels = tuple(layout.place(level.pixels) for level in sizes)
        if not is_bgr and divisor == 1:
            levels = (planes[0], *levels[1:])
        return FrameLayout(size, is_bgr, divisor, planes, levels, sizes, picture_bytes, layout.n_bytes)

    def fits(self, picture: Picture) -> bool:
        """Whether it is for such pictures."""
        return picture.size == self.size and isinstance(picture, BgrPicture) == self.is_bgr

    @property
    def reduces(self) -> bool:
        """Whether luma is not a plane of the picture itself."""
        return self.levels[0] != self.planes[0]


class GpuFrame:
    """A picture in GPU memory. Its memory is held for as long as somebody holds the frame, or what was made of it."""

    __slots__ = ("_lease", "has_colour", "layout", "levels", "on_processor", "scale", "scaled", "size", "thumbnail")

    def __init__(self, picture: Picture, layout: FrameLayout, lease: Lease) -> None:
        self.size = picture.size
        self.scale = 1 / layout.divisor
        self.scaled = ScaledPicture(picture)
        self.layout = layout
        self._lease = lease
        self.levels = np.zeros(len(layout.levels), LUMA_PLANE)
        """Of luma, as kernels take them."""
        for level, offset, size in zip(self.levels, layout.levels, layout.level_sizes, strict=True):
            level["pixels"], level["pitch"] = lease.address + offset, size.width
            level["width"], level["height"] = size
        self.has_colour = layout.is_bgr
        self.thumbnail: Thumbnail | None = None
        self.on_processor: PreparedFrame | None = None
        """The same, prepared there, once it was needed."""

    @property
    def picture(self) -> Picture:
        return self.scaled.picture

    @property
    def luma(self) -> NDArray[Any]:
        """At reduced size: one LUMA_PLANE."""
        return np.asarray(self.levels[0])

    def address_of(self, plane: int) -> int:
        """Of the picture's planes."""
        return self._lease.address + self.layout.planes[plane]

    def source(self) -> NDArray[Any]:
        """The first plane of the picture: one LUMA_PLANE, even if it is BGR."""
        plane = np.zeros((), LUMA_PLANE)
        plane["pixels"] = self.address_of(0)
        plane["pitch"] = self.size.width * (3 if self.layout.is_bgr else 1)
        plane["width"], plane["height"] = self.size
        return plane

    def resident(self, gpu: int) -> ResidentPicture:
        """The picture, once its colour is there.

        Args:
            gpu: CUDA's number of it.
        """
        addresses = tuple(self.address_of(plane) for plane in range(len(self.layout.planes)))
        return ResidentPicture(gpu, addresses, self._lease)


def _level_sizes(luma: Size) -> tuple[Size, ...]:
    """Of a pyramid, as long as the search window finds room."""
    sizes = [luma]
    while len(sizes) < MAX_LEVELS:
        smaller = Size(*(-(-side // 2) for side in sizes[-1]))
        if min(smaller) <= WINDOW_PX:
            break
        sizes.append(smaller)
    return tuple(sizes)
