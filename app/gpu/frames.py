"""Frames on their way to GPU memory: which rows of which planes, and where they lie then."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.core.types import BgrPicture, CanvasOrder, PatchCopy, Picture, ResidentPicture
from app.gpu.buffers import aligned
from app.gpu.structures import CANVAS_JOB, PATCH_COPY, FrameKind

_ROWS_TOGETHER = 4
"""A row of halved chroma stands for so many of luma."""


@dataclass(frozen=True, slots=True)
class _Plane:
    pixels: NDArray[np.uint8]
    """The rows that are needed."""
    first_row: int
    """Of these, in the plane."""


def planes_of(picture: Picture, copies: Sequence[PatchCopy]) -> list[_Plane]:
    """The rows of a picture's planes that patches are cut from."""
    if not copies:
        return []
    height = picture.size.height
    low = min(copy.source[1] for copy in copies) // _ROWS_TOGETHER * _ROWS_TOGETHER
    high = min(height, -(-max(copy.source[3] for copy in copies) // _ROWS_TOGETHER) * _ROWS_TOGETHER)
    if isinstance(picture, BgrPicture):
        return [_Plane(picture.pixels[low:high], low)]
    chroma = slice(low // 2, -(-high // 2))
    return [
        _Plane(picture.y[low:high], low),
        _Plane(picture.u[chroma], chroma.start),
        _Plane(picture.v[chroma], chroma.start),
    ]


def staged_bytes(planes: Sequence[_Plane]) -> int:
    """Memory that planes take, one after the other."""
    return sum(aligned(plane.pixels.size) for plane in planes)


def stage(order: CanvasOrder, planes: Sequence[_Plane], target: NDArray[np.uint8], address: int) -> NDArray[Any]:
    """Copy planes to where they are uploaded from.

    Args:
        target: (staged_bytes,) in the processor's memory.
        address: on the GPU, where the target's bytes are going to lie.
    Returns:
        One CANVAS_JOB for the frame's canvas, but for which copies are its own.
    """
    job = _job_of(order, has_planes=bool(planes))
    offset = 0
    for index, plane in enumerate(planes):
        rows, row_bytes = plane.pixels.shape[0], plane.pixels[0].size
        np.copyto(target[offset : offset + rows * row_bytes].reshape(plane.pixels.shape), plane.pixels)
        # Where row 0 would lie: the kernel counts rows from the top of the frame.
        job["planes"][index] = address + offset - plane.first_row * row_bytes
        job["luma_pitch" if index == 0 else "chroma_pitch"] = row_bytes
        offset += aligned(plane.pixels.size)
    return job


def resident_job(order: CanvasOrder, resident: ResidentPicture) -> NDArray[Any]:
    """As `stage`, of a picture that is there already."""
    job = _job_of(order, has_planes=True)
    width = order.picture.size.width
    job["planes"][: len(resident.planes)] = resident.planes
    is_bgr = isinstance(order.picture, BgrPicture)
    job["luma_pitch"], job["chroma_pitch"] = (3 * width, 0) if is_bgr else (width, -(-width // 2))
    return job


def _job_of(order: CanvasOrder, *, has_planes: bool) -> NDArray[Any]:
    """One CANVAS_JOB, but for its planes and copies."""
    job = np.zeros((), CANVAS_JOB)
    job["width"], job["height"] = order.picture.size
    job["kind"] = _kind(order.picture) if has_planes else FrameKind.NONE
    job["pad"] = order.pad_value
    return job


def copies_of(copies: Sequence[PatchCopy]) -> NDArray[Any]:
    """(K,) PATCH_COPY."""
    table = np.zeros(len(copies), PATCH_COPY)
    for row, copy in enumerate(copies):
        table[row] = (copy.source, copy.target)
    return table


def _kind(picture: Picture) -> FrameKind:
    if isinstance(picture, BgrPicture):
        return FrameKind.BGR
    return FrameKind.FULL_YUV if picture.is_full_range else FrameKind.STUDIO_YUV
