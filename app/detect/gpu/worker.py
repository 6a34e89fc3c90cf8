"""One session's part of a GPU: its stream, its memory, and the work on it from a frame to its detections."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.core.clock import Clock
from app.core.errors import BackendFailed, GpuError
from app.core.types import BgrPicture, CanvasDetections, CanvasOrder, PatchCopy, Size
from app.detect.gpu.kernels import DetectionKernels, detections, input_layout, prediction_set, with_addresses
from app.detect.gpu.network import BoundNetwork, DeviceNetwork, Shape
from app.detect.recognise import Recipe
from app.detect.selection import Thresholds
from app.gpu.buffers import Growing, Layout
from app.gpu.device import DeviceMemory, Gpu, Graph, PinnedMemory, Stream
from app.gpu.frames import copies_of, planes_of, resident_job, stage, staged_bytes
from app.gpu.structures import CANVAS_JOB, FOUND_DETECTIONS, PATCH_COPY, PREDICTION_SET

logger = logging.getLogger(__name__)

_COPIES_PER_CANVAS = 256
"""A canvas with more patches than that is drawn on the processor."""
_KEY_BYTES = 8
_TABLE_BYTES = CANVAS_JOB.itemsize + _COPIES_PER_CANVAS * PATCH_COPY.itemsize
_SIZE_BYTES = 16
"""Width and height of a canvas, in the largest type that networks take them in."""
_NEWEST_SHARE = 0.2
"""Weight of the newest time in what a look usually takes."""
_TRIES = 5
"""Looks of a size that are timed each way before one way is chosen,"""
_TRY_AGAIN = 200
"""and looks after which the other way is timed again: runtimes get quicker as they run."""
_RECORDINGS = 3
"""Attempts to record looks of a size."""


@dataclass(frozen=True, slots=True)
class Task:
    """What is to be done with a network, for every worker."""

    gpu: Gpu
    network: DeviceNetwork
    kernels: DetectionKernels
    recipe: Recipe
    thresholds: Thresholds
    clock: Clock
    uses_graphs: bool = True


class _Setup:
    """A network made ready for canvases of one size and number: what lies where, and the recorded work."""

    def __init__(self, bound: BoundNetwork, size: Size, batch: int, task: Task) -> None:
        self.bound, self.size, self.batch = bound, size, batch
        by_name = {tensor.name: tensor for tensor in bound.outputs}
        self.read = tuple(by_name[name] for name in task.recipe.output_names)
        """The outputs that matter, in the decoder's order."""
        predictions = prediction_set(task.recipe.decoder, self.read, size, task.thresholds)
        self.is_read_by_kernel = predictions is not None
        device, host = Layout(), Layout()
        self.tables = device.place(batch * _TABLE_BYTES)
        self.host_tables = host.place(batch * _TABLE_BYTES)
        self.host_sizes = host.place(batch * _SIZE_BYTES)
        self.inputs = {name: device.place(_n_bytes(*spec)) for name, spec in _inputs(task.recipe, size, batch).items()}
        self.outputs = {tensor.name: device.place(tensor.n_bytes) for tensor in bound.outputs}
        self.scratch = device.place(bound.scratch_bytes)
        n_keys = 0 if predictions is None else int(predictions["n_predictions"])
        self.keys = device.place(batch * n_keys * _KEY_BYTES)
        self.found = device.place(batch * FOUND_DETECTIONS.itemsize)
        # What comes back: what was found, or the outputs themselves.
        if predictions is None:
            self.answers = {tensor.name: host.place(tensor.n_bytes) for tensor in self.read}
        else:
            self.answers = {"": host.place(batch * FOUND_DETECTIONS.itemsize)}
        self.device_bytes, self.host_bytes = device.n_bytes, host.n_bytes
        self.predictions = np.zeros((), PREDICTION_SET) if predictions is None else predictions
        self.graph: Graph | None = None
        self.recordings_left = _RECORDINGS if task.uses_graphs else 0
        self.n_runs = 0
        self._direct_s: float | None = None
        self._replayed_s: float | None = None

    def bind(self, base: int) -> None:
        """Have everything lie where it was placed, from an address on."""
        names = {**self.inputs, **self.outputs}
        self.bound.bind({name: base + offset for name, offset in names.items()}, base + self.scratch)
        addresses = [base + self.outputs[tensor.name] for tensor in self.read]
        self.predictions = with_addresses(self.predictions, addresses)

    @property
    def is_replayed(self) -> bool:
        """Whether the next look replays the graph: both ways are timed, then the quicker one is kept."""
        if self.graph is None:
            return False
        if self.n_runs < 2 * _TRIES:
            return self.n_runs % 2 == 0
        is_quicker = (self._replayed_s or 0.0) <= (self._direct_s or 0.0)
        return is_quicker != (self.n_runs % _TRY_AGAIN == 0)

    def note(self, took_s: float, *, replayed: bool) -> None:
        """Remember how long a look took. The first one, which warms everything up, says nothing."""
        if replayed:
            self._replayed_s = _newer(self._replayed_s, took_s)
        elif self.n_runs:
            self._direct_s = _newer(self._direct_s, took_s)
        self.n_runs += 1

    def close(self) -> None:
        """Give back what was recorded, and what the runtime keeps for this size."""
        if self.graph is not None:
            self.graph.close()
        self.bound.close()


def _newer(usual: float | None, newest: float) -> float:
    return newest if usual is None else usual + _NEWEST_SHARE * (newest - usual)


def _inputs(recipe: Recipe, size: Size, batch: int) -> dict[str, tuple[Shape, str]]:
    """Shape and type of every input for a batch of canvases."""
    image, sizes = recipe.image, recipe.size_input
    last = (size.height, size.width, 3) if image.is_channels_last else (3, size.height, size.width)
    inputs: dict[str, tuple[Shape, str]] = {image.name: ((batch, *last), image.dtype)}
    if sizes is not None:
        inputs[sizes.name] = ((batch, 2), sizes.dtype)
    return inputs


def _n_bytes(shape: Shape, dtype: str) -> int:
    return prod(shape) * np.dtype(dtype).itemsize


class GpuWorker:
    """Draws canvases, runs the network, and reads what it found, all on one stream. Used by one thread at a time.

    Of frames that do not lie there already, the rows that patches are cut from go to the GPU; only what was found comes
    back. Memory grows to what the largest canvas needs, and what is recorded or bound for other sizes begins anew then.
    """

    def __init__(self, task: Task) -> None:
        """
        Raises:
            GpuError: there is no room, or the GPU failed.
        """
        gpu = task.gpu
        self._task = task
        self._stream: Stream = gpu.open_stream()
        self._frames = Growing[DeviceMemory](gpu.allocate)
        self._staged = Growing[PinnedMemory](gpu.allocate_pinned)
        self._work = Growing[DeviceMemory](gpu.allocate)
        self._host = Growing[PinnedMemory](gpu.allocate_pinned)
        self._setups: dict[tuple[Size, int], _Setup] = {}
        self._layout = input_layout(task.recipe.image, task.recipe.preprocessing)

    @property
    def device_bytes(self) -> int:
        """GPU memory that it holds, without what the runtime keeps for each size."""
        return self._frames.n_bytes + self._work.n_bytes

    @property
    def n_recorded(self) -> int:
        """Sizes of canvases whose looks are recorded."""
        return sum(setup.graph is not None for setup in self._setups.values())

    def look(self, orders: Sequence[CanvasOrder]) -> list[CanvasDetections]:
        """Draw canvases of one size, and run the network on them.

        Raises:
            BackendFailed: the inference runtime failed.
            GpuMemoryShort: there is not enough memory.
            GpuFailed: the GPU failed.
        """
        self._task.gpu.make_current()
        batch = self._task.recipe.image.batch or len(orders)
        setup = self._setup(orders[0].size, batch)
        self._upload([_drawable(order) for order in orders], setup)
        started_s = self._task.clock.now_s()
        replayed = self._run(setup)
        self._stream.wait()
        setup.note(self._task.clock.now_s() - started_s, replayed=replayed)
        return self._read(setup, len(orders))

    def reserve(self, size: Size) -> None:
        """Hold from now on what canvases of that size need, but for their frames.

        Raises:
            BackendFailed, GpuMemoryShort, GpuFailed: as `look`.
        """
        self._task.gpu.make_current()
        self._setup(size, self._task.recipe.image.batch or 1)

    def close(self) -> None:
        """Give all memory back, once the work in hand is done."""
        try:
            self._task.gpu.make_current()
            self._stream.wait()
        except GpuError as error:
            logger.debug("the GPU's work did not end well", extra={"reason": str(error)})
        self._forget_setups()
        for memory in (self._frames, self._staged, self._work, self._host):
            memory.close()
        self._stream.close()

    def _setup(self, size: Size, batch: int) -> _Setup:
        """What is ready for such canvases, made ready at the first."""
        setup = self._setups.get((size, batch))
        if setup is not None:
            return setup
        shapes = {name: shape for name, (shape, _) in _inputs(self._task.recipe, size, batch).items()}
        with self._task.gpu.exclusive:
            bound = self._task.network.prepare(shapes, self._stream)
        setup = _Setup(bound, size, batch, self._task)
        try:
            if not (self._work.suffices(setup.device_bytes) and self._host.suffices(setup.host_bytes)):
                self._forget_setups()
            setup.bind(self._work.holding(setup.device_bytes).address)
            self._host.holding(setup.host_bytes)
        except BaseException:
            setup.close()
            raise
        self._setups[size, batch] = setup
        return setup

    def _forget_setups(self) -> None:
        setups = list(self._setups.values())
        self._setups.clear()
        with self._task.gpu.exclusive:
            for setup in setups:
                setup.close()

    def _upload(self, orders: Sequence[CanvasOrder], setup: _Setup) -> None:
        """Send frames that are not there yet on their way, and write down what is to be drawn."""
        residents = [order.resident if self._is_here(order) else None for order in orders]
        planes = [
            [] if resident else planes_of(order.picture, order.copies)
            for order, resident in zip(orders, residents, strict=True)
        ]
        sizes = [staged_bytes(each) for each in planes]
        total = sum(sizes)
        frames, staged = self._frames.holding(total).address, self._staged.holding(total)
        jobs, copies = self._tables(setup)
        jobs[:] = np.zeros((), CANVAS_JOB)
        jobs["pad"] = orders[0].pad_value
        self._write_sizes(setup)
        offset = n_copies = 0
        for index, order in enumerate(orders):
            if (resident := residents[index]) is not None:
                job = resident_job(order, resident)
            else:
                part = staged.bytes[offset : offset + sizes[index]]
                job = stage(order, planes[index], part, frames + offset)
            job["first_copy"], job["n_copies"] = n_copies, len(order.copies)
            jobs[index] = job
            copies[n_copies : n_copies + len(order.copies)] = copies_of(order.copies)
            offset += sizes[index]
            n_copies += len(order.copies)
        if total:
            self._stream.upload(staged, frames, total)

    def _is_here(self, order: CanvasOrder) -> bool:
        """Whether the picture lies in this GPU's memory."""
        return order.resident is not None and order.resident.gpu == self._task.gpu.ordinal

    def _write_sizes(self, setup: _Setup) -> None:
        """Tell networks that ask for it how large their canvases are."""
        spec = self._task.recipe.size_input
        if spec is None:
            return
        sizes = np.tile(np.array(setup.size, spec.dtype), (setup.batch, 1))
        first = setup.host_sizes
        host = self._host.holding(setup.host_bytes).bytes[first : first + sizes.nbytes]
        host[:] = sizes.view(np.uint8).reshape(-1)

    def _tables(self, setup: _Setup) -> tuple[NDArray[Any], NDArray[Any]]:
        """Jobs and copies, where they are uploaded from."""
        first = setup.host_tables
        n_jobs = setup.batch * CANVAS_JOB.itemsize
        block = self._host.holding(setup.host_bytes).bytes[first : first + setup.batch * _TABLE_BYTES]
        n_copies = setup.batch * _COPIES_PER_CANVAS * PATCH_COPY.itemsize
        return block[:n_jobs].view(CANVAS_JOB), block[n_jobs : n_jobs + n_copies].view(PATCH_COPY)

    def _run(self, setup: _Setup) -> bool:
        """Give the stream all the rest; whether as a recorded whole."""
        # Runtimes want to have run once before they are recorded.
        if setup.graph is None and setup.recordings_left and setup.n_runs:
            self._record(setup)
        if setup.graph is not None and setup.is_replayed:
            self._stream.replay(setup.graph)
            return True
        self._give(setup)
        return False

    def _record(self, setup: _Setup) -> None:
        setup.recordings_left -= 1
        if not setup.bound.is_recordable:
            return
        try:
            with self._task.gpu.exclusive, self._stream.record() as graphs:
                self._give(setup)
        except (BackendFailed, GpuError) as error:
            logger.info("looks are not recorded", extra={"canvas": str(setup.size), "reason": str(error)})
            return
        (setup.graph,) = graphs

    def _give(self, setup: _Setup) -> None:
        """Give the stream one look: tables, drawing, inference, reading."""
        task, stream, batch = self._task, self._stream, setup.batch
        host, base = self._host.holding(setup.host_bytes), self._work.holding(setup.device_bytes).address
        tables = base + setup.tables
        stream.upload(host, tables, batch * _TABLE_BYTES, setup.host_tables)
        if (sizes := task.recipe.size_input) is not None:
            n_bytes = _n_bytes((batch, 2), sizes.dtype)
            stream.upload(host, base + setup.inputs[sizes.name], n_bytes, setup.host_sizes)
        tensor = base + setup.inputs[task.recipe.image.name]
        copies = tables + batch * CANVAS_JOB.itemsize
        task.kernels.draw(
            stream, jobs=tables, copies=copies, tensor=tensor, size=setup.size, batch=batch, layout=self._layout
        )
        setup.bound.enqueue()
        if setup.is_read_by_kernel:
            found = base + setup.found
            task.kernels.find(stream, setup.predictions, scratch=base + setup.keys, found=found, batch=batch)
            stream.download(found, host, batch * FOUND_DETECTIONS.itemsize, setup.answers[""])
            return
        for tensor_read in setup.read:
            source = base + setup.outputs[tensor_read.name]
            stream.download(source, host, tensor_read.n_bytes, setup.answers[tensor_read.name])

    def _read(self, setup: _Setup, n_canvases: int) -> list[CanvasDetections]:
        host = self._host.holding(setup.host_bytes).bytes
        if setup.is_read_by_kernel:
            first = setup.answers[""]
            found = host[first : first + setup.batch * FOUND_DETECTIONS.itemsize].view(FOUND_DETECTIONS)
            return [detections(one) for one in found[:n_canvases]]
        outputs = []
        for tensor in setup.read:
            first = setup.answers[tensor.name]
            values = host[first : first + tensor.n_bytes].view(tensor.dtype).reshape(tensor.shape)
            outputs.append(values.astype(np.float32) if tensor.dtype == "float16" else values.copy())
        return self._task.recipe.decoder(outputs, setup.size, self._task.thresholds)[:n_canvases]


def _drawable(order: CanvasOrder) -> CanvasOrder:
    """The same order, or one for a canvas that was drawn on the processor because it has too many patches."""
    return order if len(order.copies) <= _COPIES_PER_CANVAS else order_of(order.draw(), order.pad_value)


def order_of(canvas: NDArray[np.uint8], pad_value: tuple[int, int, int]) -> CanvasOrder:
    """An order for a canvas (H, W, 3) that is drawn already."""
    size = Size(canvas.shape[1], canvas.shape[0])
    whole = (0, 0, *size)
    picture = BgrPicture(np.ascontiguousarray(canvas))
    return CanvasOrder(picture, (PatchCopy(whole, whole),), size, pad_value, lambda: canvas)
