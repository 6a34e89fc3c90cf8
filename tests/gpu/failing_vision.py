"""A process whose GPU fails for good while a stream is followed: `python -m tests.gpu.failing_vision`.

Prints what kind of frame vision prepares before and after, and why it changed.
"""

import sys

import numpy as np

from app.core.types import Size
from app.gpu.machine import GpuMachine
from app.gpu.structures import LUMA_PLANE
from app.vision.cpu import CpuVision
from app.vision.gpu.kernels import VisionKernels
from app.vision.moving import MovingVision
from tests.gpu.seeing import ON_GPU, assert_alike, pair, seen
from tests.vision.pictures import yuv

_NOWHERE = 16
"""An address at which nothing is."""


def main() -> None:
    """Look at two frames, have the GPU fail, and look again."""
    machine = GpuMachine()
    failures: list[str] = []
    vision = MovingVision(machine, ON_GPU, lambda error: failures.append(type(error).__name__))
    pictures = pair(Size(1920, 1080), yuv)
    frames = [vision.prepare(picture) for picture in pictures]
    usual = CpuVision()
    expected = seen(usual, *map(usual.prepare, pictures))
    assert_alike(seen(vision, *frames), expected)
    # A kernel that reads where nothing is leaves the context unusable, as a GPU that is lost does.
    opened = machine.opened()
    nothing = np.zeros((), LUMA_PLANE)
    nothing["pixels"], nothing["pitch"], nothing["width"], nothing["height"] = _NOWHERE, 64, 64, 64
    opened.gpu.make_current()
    VisionKernels(opened.kernels).halve(opened.gpu.open_stream(), nothing, nothing)
    assert_alike(seen(vision, *frames), expected)
    after = vision.prepare(pictures[0])
    sys.stdout.write(f"{type(frames[0]).__name__} {type(after).__name__} {' '.join(failures)}\n")


if __name__ == "__main__":
    main()
