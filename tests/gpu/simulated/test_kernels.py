"""The service's kernels, loaded and launched as on a GPU."""

from collections.abc import Iterator

import numpy as np
import pytest

from app.core.types import Size
from app.detect.selection import Thresholds
from app.gpu.device import Gpu
from app.gpu.structures import Family, FrameKind
from tests.gpu import test_canvas_kernel as canvases
from tests.gpu import test_detections_kernel as detections
from tests.gpu.driver.build import host_image
from tests.gpu.kernels import GpuKernels


@pytest.fixture
def kernels(gpu: Gpu) -> Iterator[GpuKernels]:
    kernels = GpuKernels(gpu, host_image)
    yield kernels
    kernels.close()


@pytest.mark.parametrize("kind", FrameKind)
def test_canvases_are_drawn_as_the_processor_draws_them(kernels: GpuKernels, kind: FrameKind) -> None:
    rng = np.random.default_rng(3)
    frame, size = Size(151, 101), Size(96, 40)
    copies = canvases.some_copies(rng, frame, size, 5)
    batch = [canvases.Drawing(canvases.picture_of(kind, frame, seed), copies, (114, 7, 30)) for seed in (1, 2)]
    found = canvases.by_kernel(kernels, batch, size, canvases.PLAIN)
    np.testing.assert_array_equal(found, canvases.by_processor(batch, size, canvases.PLAIN))


@detections.each_family
def test_detections_are_found_as_decoders_find_them(kernels: GpuKernels, family: Family) -> None:
    question = detections.question_of(family, Thresholds(0.3), n_canvases=2)
    detections.assert_same(family, detections.by_kernel(kernels, question), detections.by_processor(question))
