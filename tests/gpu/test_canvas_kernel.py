"""Canvases drawn by the kernel are, to the last bit, those of CpuVision and InputBuffer."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from app.core.types import BgrPicture, PatchCopy, Picture, Size, YuvPicture
from app.detect.preprocess import InputBuffer, Preprocessing, from_mean_and_deviation
from app.gpu.structures import (
    CANVAS_JOB,
    INPUT_LAYOUT,
    PATCH_COPY,
    TILE_HEIGHT_PX,
    TILE_WIDTH_PX,
    FrameKind,
    TensorType,
)
from app.vision.cpu import CpuVision
from tests.gpu.kernels import ALONE, Dimensions, Kernels, Place

TYPES: dict[TensorType, type[np.generic]] = {
    TensorType.UINT8: np.uint8,
    TensorType.FLOAT32: np.float32,
    TensorType.FLOAT16: np.float16,
}
NORMALISATIONS = {
    "plain": Preprocessing(),
    "plain rgb": Preprocessing(is_rgb=True),
    "to one": Preprocessing(scale=(1 / 255, 1 / 255, 1 / 255), is_rgb=True),
    "imagenet": from_mean_and_deviation((123.675, 116.28, 103.53), (58.395, 57.12, 57.375), is_rgb=True),
    "imagenet bgr": from_mean_and_deviation((103.53, 116.28, 123.675), (57.375, 57.12, 58.395), is_rgb=False),
}


@dataclass(frozen=True)
class Drawing:
    """One canvas to draw; no picture means only padding."""

    picture: Picture | None
    copies: Sequence[PatchCopy]
    pad: tuple[int, int, int]


@dataclass(frozen=True)
class Tensor:
    """How the model wants its input."""

    preprocessing: Preprocessing
    dtype: TensorType
    is_channels_last: bool


PLAIN = Tensor(Preprocessing(), TensorType.UINT8, is_channels_last=True)


def noise(width: int, height: int, channels: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """(height, width · channels) noise whose rows lie further apart than they are long."""
    row = width * channels
    return rng.integers(0, 256, (height, row + int(rng.integers(0, 9))), np.uint8)[:, :row]


def picture_of(kind: FrameKind, size: Size, seed: int) -> Picture | None:
    rng = np.random.default_rng(seed)
    if kind == FrameKind.NONE:
        return None
    if kind == FrameKind.BGR:
        rows = noise(size.width, size.height, 3, rng)
        return BgrPicture(np.lib.stride_tricks.as_strided(rows, (size.height, size.width, 3), (rows.strides[0], 3, 1)))
    half = Size(-(-size.width // 2), -(-size.height // 2))
    chroma = rng.integers(0, 256, (2, half.height, half.width + int(rng.integers(0, 9))), np.uint8)
    return YuvPicture(
        y=noise(size.width, size.height, 1, rng),
        u=chroma[0, :, : half.width],
        v=chroma[1, :, : half.width],
        is_full_range=kind == FrameKind.FULL_YUV,
    )


def job_of(drawing: Drawing, first_copy: int, place: Place) -> NDArray[np.void]:
    job = np.zeros((), CANVAS_JOB)
    picture = drawing.picture
    job["first_copy"], job["n_copies"], job["pad"] = first_copy, len(drawing.copies), drawing.pad
    if picture is None:
        return job
    job["width"], job["height"] = picture.size
    if isinstance(picture, BgrPicture):
        job["kind"], job["luma_pitch"] = FrameKind.BGR, picture.pixels.strides[0]
        job["planes"][0] = place(picture.pixels)
        return job
    job["kind"] = FrameKind.FULL_YUV if picture.is_full_range else FrameKind.STUDIO_YUV
    job["luma_pitch"], job["chroma_pitch"] = picture.y.strides[0], picture.u.strides[0]
    job["planes"] = [place(plane) for plane in (picture.y, picture.u, picture.v)]
    return job


def by_kernel(
    kernels: Kernels, drawings: Sequence[Drawing], size: Size, tensor: Tensor, block: Dimensions = ALONE
) -> NDArray[np.generic]:
    table = np.array([(copy.source, copy.target) for drawing in drawings for copy in drawing.copies], PATCH_COPY)
    layout = np.zeros((), INPUT_LAYOUT)
    layout["dtype"], layout["is_channels_last"] = tensor.dtype, tensor.is_channels_last
    layout["is_rgb"] = tensor.preprocessing.is_rgb
    layout["scale"], layout["offset"] = tensor.preprocessing.scale, tensor.preprocessing.offset
    planes = (3, size.height, size.width)
    shape = (size.height, size.width, 3) if tensor.is_channels_last else planes
    result = np.zeros((len(drawings), *shape), TYPES[tensor.dtype])
    sides: list[NDArray[Any]] = [np.array(side, np.int32) for side in size]
    grid = (-(-size.width // TILE_WIDTH_PX), -(-size.height // TILE_HEIGHT_PX), len(drawings))

    def arguments(place: Place) -> list[NDArray[Any]]:
        jobs = np.zeros(len(drawings), CANVAS_JOB)
        n_copies = 0
        for index, drawing in enumerate(drawings):
            jobs[index] = job_of(drawing, n_copies, place)
            n_copies += len(drawing.copies)
        alive.append(jobs)
        return [place(jobs), place(table), place(result), *sides, layout]

    alive: list[NDArray[Any]] = []
    kernels.run("draw_canvas", grid, block, arguments, [result])
    return result


def by_processor(drawings: Sequence[Drawing], size: Size, tensor: Tensor) -> NDArray[np.generic]:
    canvases = []
    for drawing in drawings:
        vision, picture = CpuVision(), drawing.picture
        if isinstance(picture, BgrPicture):
            picture = BgrPicture(np.ascontiguousarray(picture.pixels))
        copies = [] if picture is None else drawing.copies
        frame = vision.prepare(picture or BgrPicture(np.zeros((8, 8, 3), np.uint8)))
        canvases.append(vision.canvas(frame, copies, size, drawing.pad))
    buffer = InputBuffer(tensor.preprocessing, TYPES[tensor.dtype], is_channels_last=tensor.is_channels_last)
    return buffer.fill(np.stack(canvases), len(canvases))


def rectangle(rng: np.random.Generator, size: Size, largest: int) -> tuple[int, int, int, int]:
    """Some rectangle inside; of each axis, one in three begins and one in three ends at the edge."""
    low, high = [], []
    for side in size:
        length = int(rng.integers(1, min(side, largest) + 1))
        first = int(rng.choice([0, side - length, int(rng.integers(0, side - length + 1))]))
        low.append(first)
        high.append(first + length)
    return low[0], low[1], high[0], high[1]


def some_copies(rng: np.random.Generator, frame: Size, canvas: Size, n: int) -> list[PatchCopy]:
    """Patches of every scale; one in four is copied as it is, and one in four is halved exactly."""
    copies = []
    for _ in range(n):
        target = rectangle(rng, canvas, 40)
        source = rectangle(rng, frame, 200)
        size = Size(target[2] - target[0], target[3] - target[1])
        factor = int(rng.choice([0, 0, 1, 2]))
        if factor and size.width * factor <= frame.width and size.height * factor <= frame.height:
            x, y = int(rng.integers(frame.width - size.width * factor + 1)), 0
            source = (x, y, x + size.width * factor, y + size.height * factor)
        copies.append(PatchCopy(source, target))
    return copies


@st.composite
def drawings(draw: st.DrawFn, canvas: Size, kinds: Sequence[FrameKind] = tuple(FrameKind)) -> Drawing:
    seed = draw(st.integers(0, 2**32 - 1))
    frame = Size(draw(st.integers(1, 180)), draw(st.integers(1, 120)))
    rng = np.random.default_rng(seed)
    copies = some_copies(rng, frame, canvas, draw(st.integers(0, 6)))
    pad = (int(rng.integers(256)), int(rng.integers(256)), int(rng.integers(256)))
    return Drawing(picture_of(draw(st.sampled_from(kinds)), frame, seed), copies, pad)


@st.composite
def batches(draw: st.DrawFn) -> tuple[list[Drawing], Size]:
    canvas = Size(draw(st.integers(1, 70)), draw(st.integers(1, 40)))
    return draw(st.lists(drawings(canvas), min_size=1, max_size=3)), canvas


@given(batch=batches())
def test_patches_lie_on_canvases_as_opencv_resizes_them(kernels: Kernels, batch: tuple[list[Drawing], Size]) -> None:
    canvases, size = batch
    np.testing.assert_array_equal(by_kernel(kernels, canvases, size, PLAIN), by_processor(canvases, size, PLAIN))


@pytest.mark.parametrize("is_channels_last", [True, False], ids=["last", "first"])
@pytest.mark.parametrize("dtype", TYPES, ids=lambda dtype: dtype.name.lower())
@pytest.mark.parametrize("normalisation", NORMALISATIONS)
def test_tensors_are_normalised_as_the_input_buffer_does(
    kernels: Kernels, normalisation: str, dtype: TensorType, is_channels_last: bool
) -> None:
    size, rng = Size(67, 19), np.random.default_rng(3)
    frame = Size(90, 51)
    picture = picture_of(FrameKind.BGR, frame, 4)
    batch = [Drawing(picture, some_copies(rng, frame, size, 4), (114, 7, 30)), Drawing(None, [], (1, 2, 3))]
    tensor = Tensor(NORMALISATIONS[normalisation], dtype, is_channels_last)
    found, expected = by_kernel(kernels, batch, size, tensor), by_processor(batch, size, tensor)
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("kind", [FrameKind.STUDIO_YUV, FrameKind.FULL_YUV], ids=lambda kind: kind.name.lower())
def test_every_colour_is_converted_as_opencv_does(kernels: Kernels, kind: FrameKind) -> None:
    # Chroma passes smoothly through all pairs of codes; luma is another at every pixel.
    u, v = np.meshgrid(np.arange(256, dtype=np.uint8), np.arange(256, dtype=np.uint8))
    size = Size(512, 512)
    for seed in range(4):
        luma = np.random.default_rng(seed).integers(0, 256, (512, 512), np.uint8)
        picture = YuvPicture(luma, np.ascontiguousarray(u), np.ascontiguousarray(v), kind == FrameKind.FULL_YUV)
        whole = [Drawing(picture, [PatchCopy((0, 0, *size), (0, 0, *size))], (0, 0, 0))]
        np.testing.assert_array_equal(by_kernel(kernels, whole, size, PLAIN), by_processor(whole, size, PLAIN))


@pytest.mark.parametrize("kind", [FrameKind.BGR, FrameKind.STUDIO_YUV], ids=lambda kind: kind.name.lower())
def test_large_frames_are_sampled_as_exactly_as_small_ones(kernels: Kernels, kind: FrameKind) -> None:
    # Far from the patch's corner the float weights have the fewest bits left.
    frame, size = Size(3839, 401), Size(1999, 64)
    drawing = Drawing(
        picture_of(kind, frame, 1),
        [PatchCopy((1, 1, 3838, 53), (0, 0, 1999, 32)), PatchCopy((3, 7, 3839, 400), (7, 40, 640, 64))],
        (9, 8, 7),
    )
    np.testing.assert_array_equal(by_kernel(kernels, [drawing], size, PLAIN), by_processor([drawing], size, PLAIN))


def test_more_copies_than_are_looked_at_at_once_overwrite_each_other_in_order(kernels: Kernels) -> None:
    frame, size = Size(64, 48), Size(70, 20)
    copies = some_copies(np.random.default_rng(5), frame, size, 200)
    drawing = Drawing(picture_of(FrameKind.BGR, frame, 6), copies, (1, 2, 3))
    np.testing.assert_array_equal(by_kernel(kernels, [drawing], size, PLAIN), by_processor([drawing], size, PLAIN))


@pytest.mark.parametrize("block", [(32, 8, 1), (5, 3, 1), (128, 1, 1)], ids=str)
@settings(max_examples=3)
@given(batch=batches())
def test_any_block_draws_the_same(kernels: Kernels, block: Dimensions, batch: tuple[list[Drawing], Size]) -> None:
    canvases, size = batch
    alone = by_kernel(kernels, canvases, size, PLAIN)
    np.testing.assert_array_equal(by_kernel(kernels, canvases, size, PLAIN, block), alone)
