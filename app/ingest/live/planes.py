"""Pictures in memory that two processes share; it has no name, and is gone when both have let go of it."""

import mmap
import os
import weakref
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.core.types import Size, YuvPicture

_PAGE = mmap.PAGESIZE


@dataclass(frozen=True, slots=True)
class PlaneFormat:
    """4:2:0 planes of one size, one after the other."""

    size: Size
    is_full_range: bool

    @property
    def shapes(self) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
        """Rows and columns of luma and of the two colour differences."""
        colour = (-(-self.size.height // 2), -(-self.size.width // 2))
        return (self.size.height, self.size.width), colour, colour

    @property
    def n_bytes(self) -> int:
        """Of one picture."""
        return sum(rows * columns for rows, columns in self.shapes)

    @property
    def slot_bytes(self) -> int:
        """The same, in whole pages."""
        return -(-self.n_bytes // _PAGE) * _PAGE


class PlaneSlots:
    """So many slots for pictures of one format."""

    def __init__(self, shape: PlaneFormat, n_slots: int, fd: int | None = None) -> None:
        """Make the memory, or map the one that another process made (its descriptor is taken over)."""
        self.shape = shape
        self.fd = os.memfd_create("flexpatch-planes") if fd is None else fd
        if fd is None:
            os.ftruncate(self.fd, shape.slot_bytes * n_slots)
        self._memory = mmap.mmap(self.fd, shape.slot_bytes * n_slots)

    def close_descriptor(self) -> None:
        """The mapping stays, for as long as a picture in it is in use."""
        os.close(self.fd)

    def write(self, slot: int, picture: YuvPicture) -> None:
        """Copy a picture of the format into a slot."""
        for target, plane in zip(self._planes(self._pixels(slot)), (picture.y, picture.u, picture.v), strict=True):
            np.copyto(target, plane)

    def picture(self, slot: int, give_back: Callable[[], None]) -> YuvPicture:
        """What a slot holds, without a copy, read-only.

        Args:
            give_back: called once nothing looks at the picture any more, in whatever thread that is.
        """
        pixels = self._pixels(slot)
        pixels.flags.writeable = False
        # Every view of it holds on to this array.
        weakref.finalize(pixels, give_back).atexit = False
        y, u, v = self._planes(pixels)
        return YuvPicture(y, u, v, self.shape.is_full_range)

    def _pixels(self, slot: int) -> NDArray[np.uint8]:
        return np.frombuffer(self._memory, np.uint8, self.shape.n_bytes, slot * self.shape.slot_bytes)

    def _planes(self, pixels: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
        planes, first = [], 0
        for rows, columns in self.shape.shapes:
            planes.append(pixels[first : first + rows * columns].reshape(rows, columns))
            first += rows * columns
        return planes
