"""The service's kernels, loaded and launched as on a GPU."""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from app.core.types import BgrPicture, PatchCopy, Size
from app.gpu.compiler import ENTRY_POINTS, KernelFile
from app.gpu.device import DeviceMemory, Dim3, Gpu
from app.gpu.structures import (
    CANVAS_JOB,
    DRAW_BLOCK,
    FIND_BLOCK,
    FOUND_DETECTIONS,
    INPUT_LAYOUT,
    PATCH_COPY,
    PREDICTION_SET,
    TILE_HEIGHT_PX,
    TILE_WIDTH_PX,
    Family,
    FrameKind,
    TensorType,
)
from app.vision.cpu import CpuVision
from tests.gpu.driver.build import host_image
from tests.gpu.simulated.work import number


class Desk:
    """Arrays on a GPU, and a stream on which kernels work on them."""

    def __init__(self, gpu: Gpu, owner: ExitStack) -> None:
        self._gpu = gpu
        self._owner = owner
        self._stream = owner.enter_context(gpu.open_stream())

    def put(self, values: NDArray[Any]) -> DeviceMemory:
        """A copy on the GPU."""
        source = self._owner.enter_context(self._gpu.allocate_pinned(values.nbytes))
        target = self._owner.enter_context(self._gpu.allocate(values.nbytes))
        source.bytes[:] = np.ascontiguousarray(values).reshape(-1).view(np.uint8)
        self._stream.upload(source, target.address, values.nbytes)
        return target

    def launch(self, name: KernelFile, grid: Dim3, block: Dim3, arguments: list[NDArray[Any]]) -> None:
        module = self._owner.enter_context(self._gpu.load(host_image(name)))
        self._stream.launch(module.kernel(ENTRY_POINTS[name]), grid, block, arguments)

    def get(self, memory: DeviceMemory, dtype: np.dtype[Any]) -> NDArray[Any]:
        """What is in the GPU's memory once all work is done."""
        target = self._owner.enter_context(self._gpu.allocate_pinned(memory.n_bytes))
        self._stream.download(memory.address, target, memory.n_bytes)
        self._stream.wait()
        return target.bytes.copy().view(dtype)


@pytest.fixture
def desk(gpu: Gpu) -> Iterator[Desk]:
    with ExitStack() as owner:
        yield Desk(gpu, owner)


def test_a_canvas_is_drawn_as_the_processor_draws_it(desk: Desk) -> None:
    frame, size, pad = Size(150, 100), Size(96, 40), (114, 7, 30)
    pixels = np.random.default_rng(1).integers(0, 256, (frame.height, frame.width, 3), np.uint8)
    copies = [PatchCopy((10, 20, 90, 60), (0, 0, 60, 30)), PatchCopy((0, 0, 128, 64), (64, 8, 96, 24))]

    job, layout = np.zeros(1, CANVAS_JOB), np.zeros((), INPUT_LAYOUT)
    job["planes"][0, 0] = desk.put(pixels).address
    job["luma_pitch"], job["width"], job["height"] = pixels.strides[0], *frame
    job["kind"], job["n_copies"], job["pad"] = FrameKind.BGR, len(copies), pad
    layout["dtype"], layout["is_channels_last"] = TensorType.UINT8, 1
    table = np.array([(copy.source, copy.target) for copy in copies], PATCH_COPY)
    tensor = desk.put(np.zeros((size.height, size.width, 3), np.uint8))
    addresses = [number(memory.address, np.uint64) for memory in (desk.put(job), desk.put(table), tensor)]
    grid = (-(-size.width // TILE_WIDTH_PX), -(-size.height // TILE_HEIGHT_PX), 1)
    sides = [number(side, np.int32) for side in size]
    desk.launch("canvas", grid, DRAW_BLOCK, [*addresses, *sides, layout])

    drawn = desk.get(tensor, np.dtype(np.uint8)).reshape(size.height, size.width, 3)
    vision = CpuVision()
    expected = vision.canvas(vision.prepare(BgrPicture(pixels)), copies, size, pad)
    np.testing.assert_array_equal(drawn, expected)


def test_detections_are_found_among_raw_outputs(desk: Desk) -> None:
    rows = [(10, 12, 8, 4, 0.1, 0.2), (20, 30, 8, 10, 0.3, 0.75), (50, 40, 2, 2, 0.5, 0.1)]
    outputs = np.array(rows, np.float32).T
    predictions, found = np.zeros((), PREDICTION_SET), desk.put(np.zeros(1, FOUND_DETECTIONS))
    predictions["outputs"][0] = desk.put(outputs).address
    predictions["family"], predictions["n_classes"], predictions["n_predictions"] = Family.YOLOV8, 2, len(rows)
    predictions["width"], predictions["height"], predictions["max_candidates"] = 64, 64, 100
    predictions["score_floor"] = predictions["objectness_floor"] = 0.4
    predictions["nms_iou"] = 0.5
    scratch = desk.put(np.zeros(len(rows), np.uint64))
    addresses = [number(memory.address, np.uint64) for memory in (scratch, found)]
    desk.launch("detections", (1, 1, 1), FIND_BLOCK, [predictions, *addresses])

    (detections,) = desk.get(found, FOUND_DETECTIONS)
    assert detections["n"] == 2
    assert detections["scores"][:2].tolist() == [0.75, 0.5]
    assert detections["class_ids"][:2].tolist() == [1, 0]
    assert detections["boxes"][:2].tolist() == [[16, 25, 24, 35], [49, 39, 51, 41]]
