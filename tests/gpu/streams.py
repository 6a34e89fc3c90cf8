"""What a GPU makes of whole streams: vision piece by piece, beside the processor's, and how many streams keep pace."""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from functools import partial
from itertools import count
from typing import Any

import numpy as np

from app.core.clock import SystemClock
from app.core.errors import FlexPatchError
from app.core.types import Frame, FrameBoxes, Picture, Size, Vision
from app.detect.gpu.detector import GpuModel
from app.flexpatch.config import PipelineConfig
from app.flexpatch.failure import hand_set_model
from app.flexpatch.pipeline import Pipeline
from app.gpu.device import Gpu
from app.gpu.machine import GpuMachine
from app.ingest.source import open_source
from app.vision.cpu import CpuVision
from app.vision.gpu.kernels import VisionKernels
from app.vision.gpu.pixels import GpuPixels
from app.vision.luma import divisor_of
from app.vision.moving import MovingVision, Wishes
from tests.gpu.looks import order_of, picture_of, whole_frame
from tests.gpu.pace import FPS, quartiles, rates

SIZES = (Size(1920, 1080), Size(3840, 2160))
N_POINTS = 600
N_BOXES = 40
WHOLE_FRAME = Size(1920, 1088)
_STREET = "synthetic:{}@30?objects=30&seed=51&frames={}"
_N_FRAMES = 24
_MEGABYTE = 1024 * 1024

Row = dict[str, Any]


def planes(size: Size, n_frames: int) -> list[Picture]:
    """Frames of a street, as a video decoder gives them."""
    with open_source(_STREET.format(size, n_frames)) as source:
        return [picture_of(frame.picture.pixels, "video") for frame in source]  # type: ignore[union-attr]


def vision_rows(machine: GpuMachine, n_runs: int) -> Iterator[Row]:
    """Milliseconds of each piece of work on a frame, on the GPU and on the processor, by turns."""
    opened = machine.opened()
    kernels = VisionKernels(opened.kernels)
    for size in SIZES:
        earlier, later = planes(size, 2)
        divisor = divisor_of(size)
        before = opened.gpu.memory().free
        with closing(GpuPixels(opened.gpu, kernels)) as pixels:
            theirs = CpuVision()
            on_gpu = _work(pixels, partial(pixels.prepare, divisor=divisor), earlier, later)
            on_gpu["prepare"] = partial(_sent, pixels, later, divisor)
            on_cpu = _work(theirs, theirs.prepare, earlier, later)
            took = {name: _by_turns(on_gpu[name], on_cpu[name], n_runs) for name in on_gpu}
            yield {
                "frame": str(size),
                "points": N_POINTS,
                "boxes": N_BOXES,
                "ms": {name: {"gpu": round(gpu, 3), "cpu": round(cpu, 3)} for name, (gpu, cpu) in took.items()},
                "prepare_bytes_per_s": round(1.5 * size.pixels / (took["prepare"][0] / 1e3)),
                "stream_mb": round((before - opened.gpu.memory().free) / _MEGABYTE, 1),
                "buffers_mb": round(pixels.device_bytes / _MEGABYTE, 1),
            }


def _sent(pixels: GpuPixels, picture: Picture, divisor: int) -> None:
    """Prepare a frame, and wait until all of it is there."""
    pixels.resident(pixels.prepare(picture, divisor))


def _work(
    vision: Any, prepare: Callable[[Picture], Any], earlier: Picture, later: Picture
) -> dict[str, Callable[[], object]]:
    size = later.size
    rng = np.random.default_rng(1)
    before, after = prepare(earlier), prepare(later)
    points = rng.uniform((0, 0), size, (N_POINTS, 2)).astype(np.float32)
    low = rng.uniform((0, 0), np.array(size) * 0.9, (N_BOXES, 2))
    boxes = FrameBoxes(np.concatenate([low, low + np.array(size) * (0.03, 0.1)], axis=1).astype(np.float32))
    camera = np.array([[1.0, 0.0, 3.0], [0.0, 1.0, -2.0]])
    return {
        "prepare": lambda: prepare(later),
        "flow": lambda: vision.flow(before, after, points, points),
        "corners": lambda: vision.corners(after, boxes, (3, 4)),
        "templates": lambda: vision.templates(after, boxes),
        "edges": lambda: vision.edge_map(after),
        "motion": lambda: vision.motion_map(before, after, None),
        "motion, camera moving": lambda: vision.motion_map(before, after, camera),
    }


def _by_turns(one: Callable[[], object], other: Callable[[], object], n_runs: int) -> tuple[float, float]:
    """Median milliseconds of both."""
    took_ms: tuple[list[float], list[float]] = ([], [])
    for n in range(n_runs + 5):
        for work, times in zip((one, other), took_ms, strict=True):
            began_s = time.perf_counter()
            work()
            if n >= 5:
                times.append((time.perf_counter() - began_s) * 1e3)
    return statistics.median(took_ms[0]), statistics.median(took_ms[1])


def uploaded_bytes_per_s(gpu: Gpu) -> int:
    """From pinned memory of the processor to the GPU, measured."""
    n_bytes, n_copies = 64 * _MEGABYTE, 10
    with gpu.allocate_pinned(n_bytes) as source, gpu.allocate(n_bytes) as target, gpu.open_stream() as stream:
        stream.upload(source, target.address, n_bytes)
        stream.wait()
        began_s = time.perf_counter()
        for _ in range(n_copies):
            stream.upload(source, target.address, n_bytes)
        stream.wait()
        return round(n_bytes * n_copies / (time.perf_counter() - began_s))


def stream_rows(name: str, model: GpuModel, machine: GpuMachine, options: argparse.Namespace) -> Iterator[Row]:
    """Frames a second of so many 1080p streams that want 30 each, decoding left out.

    FlexPatch with its vision on the GPU and on the processor; and a look at every whole frame.
    """
    pictures = planes(SIZES[0], _N_FRAMES)
    makers: dict[str, Callable[[ExitStack], Callable[[int], None]]] = {
        "flexpatch, vision on the GPU": partial(_follower, model, machine, pictures, is_on_gpu=True),
        "flexpatch, vision on the processor": partial(_follower, model, machine, pictures, is_on_gpu=False),
        "whole frames": partial(_looker, model, pictures),
    }
    for n_streams in options.sessions:
        for method, make in makers.items():
            try:
                with ExitStack() as stack:
                    rate = rates([make(stack) for _ in range(n_streams)], options.seconds)
            except FlexPatchError as error:
                yield {"backend": name, "streams": n_streams, "method": method, "failed": str(error)}
                continue
            yield {
                "backend": name,
                "streams": n_streams,
                "method": method,
                "frames_per_s": [round(each, 1) for each in quartiles(rate)],
                "keeps_up": min(rate) >= 0.98 * FPS,
            }


def _follower(
    model: GpuModel, machine: GpuMachine, pictures: Sequence[Picture], stack: ExitStack, *, is_on_gpu: bool
) -> Callable[[int], None]:
    """Gives a session of its own the next frame: forward through the pictures, and back again."""
    detector = stack.enter_context(closing(model.open()))
    vision: Vision = MovingVision(machine, Wishes(lambda: is_on_gpu, lambda: is_on_gpu, lambda: True), _fail)
    pipeline = stack.enter_context(
        closing(Pipeline(vision, detector, PipelineConfig(), hand_set_model(), SystemClock()))
    )
    there_and_back = [*pictures, *pictures[-2:0:-1]]
    numbers = count(1)

    def step(_: int) -> None:
        seq = next(numbers)
        pipeline.step(Frame(seq, seq / FPS, there_and_back[seq % len(there_and_back)]))

    return step


def _fail(error: Exception) -> None:
    raise error


def _looker(model: GpuModel, pictures: Sequence[Picture], stack: ExitStack) -> Callable[[int], None]:
    detector = stack.enter_context(closing(model.open()))
    orders = [
        order_of(picture, [whole_frame(picture.size, WHOLE_FRAME)], WHOLE_FRAME, detector.pad_value)
        for picture in pictures
    ]

    def look(number: int) -> None:
        detector.look([orders[number % len(orders)]])

    return look
