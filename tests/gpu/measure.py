"""What a GPU makes of the service's detector, in one report: `make gpu-check` ends with it.

Times of vision beside the processor's; of looks by backend, canvas and batch with their share of what the GPU could do;
memory of a session; how many sessions get 30 looks a second, each with a stream of its own or with batches; how many
streams keep 30 frames a second, with vision here or there, and with a look at every whole frame.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from functools import partial
from itertools import pairwise
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from app.core.clock import SystemClock
from app.core.errors import FlexPatchError
from app.core.types import CanvasOrder, Detector, Picture, Size, look_at
from app.detect.background import MOST_AT_ONCE, DetectionQueue
from app.detect.gpu.detector import GpuModel
from app.detect.gpu.kernels import DetectionKernels
from app.detect.gpu.network import DeviceNetwork
from app.detect.gpu.onnx import OnnxDeviceNetwork
from app.detect.tensorrt.library import find_library
from app.detect.tensorrt.options import EngineOptions, Precision
from app.gpu.device import Gpu
from app.gpu.machine import GpuMachine
from app.ingest.source import open_source
from tests.detect.conftest import on_processor
from tests.gpu.engines import SHIPPED, engine_network
from tests.gpu.looks import order_of, whole_frame
from tests.gpu.pace import FPS, quartiles, rates
from tests.gpu.streams import WHOLE_FRAME, stream_rows, uploaded_bytes_per_s, vision_rows

FRAME = "synthetic:1920x1080@30?objects=30&seed=51&frames=8"
SIZES = (Size(320, 192), Size(640, 384), Size(960, 544), Size(1280, 736))
BATCHES = (1, 4)
LOOK_SIZE = Size(640, 384)
"""Of the sessions that are counted."""
_MEGABYTE = 1024 * 1024
_TENSOR_OPERATIONS = {(7, 5): 1024, (8, 0): 2048, (8, 6): 1024, (8, 7): 2048, (8, 9): 1024, (9, 0): 4096, (12, 0): 1024}
"""Half-precision additions and multiplications of one multiprocessor in a cycle, dense, from NVIDIA's white papers."""

Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, nargs="+", default=[1, 2, 4, 8, 16, 32, 64], help="numbers to try")
    parser.add_argument("--seconds", type=float, default=3.0, help="of measurement for each number of sessions")
    parser.add_argument("--runs", type=int, default=200, help="looks that are timed for each row")
    options = parser.parse_args()
    with ExitStack() as stack:
        json.dump(report(options, stack), sys.stdout, indent=1)
    sys.stdout.write("\n")


def report(options: argparse.Namespace, stack: ExitStack) -> Row:
    """Everything, as one document."""
    machine = stack.enter_context(closing(GpuMachine()))
    gpu = machine.opened().gpu
    kernels = DetectionKernels(machine.opened().kernels)
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    search = find_library(gpu.capability)
    pictures = frames()
    models, refusals = {}, list(search.refusals)
    for name, make in networks(gpu, folder).items():
        try:
            models[name] = stack.enter_context(closing(GpuModel(name, make(), gpu, kernels, SystemClock())))
        except FlexPatchError as error:
            refusals.append(f"{name}: {error}")
    usual = on_processor(SHIPPED)
    limits = {
        "operations_per_s": operations_per_s(gpu),
        "bytes_per_s": copied_bytes_per_s(gpu),
        "uploaded_bytes_per_s": uploaded_bytes_per_s(gpu),
    }
    rows = [
        row | shares(row, limits)
        for name, model in models.items()
        for row in looks(name, model, pictures, options.runs)
    ]
    rows += [{"backend": "onnxruntime-cpu"} | timed(usual, pictures, size, 1, 20) for size in SIZES[:2]]
    return {
        "gpu": gpu.name,
        "compute_capability": list(gpu.capability),
        "memory_mb": gpu.memory().total // _MEGABYTE,
        "library": str(search.library) if search.library else None,
        "not_measured": refusals,
        "limits": limits,
        "vision": list(vision_rows(machine, options.runs)),
        "looks": rows,
        "memory": [memory_of(name, model, pictures) for name, model in models.items()],
        "sessions": [row for name, model in models.items() for row in sessions(name, model, pictures, options)],
        "streams": [row for name, model in models.items() for row in stream_rows(name, model, machine, options)],
    }


def networks(gpu: Gpu, folder: Path) -> dict[str, Callable[[], DeviceNetwork]]:
    """What is measured: each loads the shipped detector."""
    precisions: tuple[Precision, ...] = ("half", "float")
    engines: dict[str, Callable[[], DeviceNetwork]] = {
        f"tensorrt {precision}": partial(
            engine_network, gpu, folder, SHIPPED, EngineOptions(precision, MOST_AT_ONCE, WHOLE_FRAME.width)
        )
        for precision in precisions
    }
    return engines | {"onnxruntime-cuda": partial(OnnxDeviceNetwork, SHIPPED, gpu.ordinal)}


def frames() -> list[Picture]:
    """Some 1080p frames."""
    with open_source(FRAME) as source:
        return [frame.picture for frame in source]


def order(picture: Picture, size: Size) -> CanvasOrder:
    """The whole frame on a canvas, reduced."""
    return order_of(picture, [whole_frame(picture.size, size)], size, (114, 114, 114))


def looks(name: str, model: GpuModel, pictures: Sequence[Picture], n_runs: int) -> Iterator[Row]:
    """A row for each canvas and batch; whole frames at their own size last."""
    with closing(model.open()) as detector:
        for size in (*SIZES, WHOLE_FRAME):
            for batch in BATCHES:
                try:
                    yield {"backend": name} | timed(detector, pictures, size, batch, n_runs)
                except FlexPatchError as error:
                    yield {"backend": name, "canvas": str(size), "batch": batch, "failed": str(error)}


def timed(detector: Detector, pictures: Sequence[Picture], size: Size, batch: int, n_runs: int) -> Row:
    """How long looks take, from frames in the processor's memory to boxes there."""
    orders = [[order(pictures[(n + k) % len(pictures)], size) for k in range(batch)] for n in range(len(pictures))]
    for n in range(20):
        look_at(detector, orders[n % len(orders)])
    took_ms = []
    for n in range(n_runs):
        began_s = time.perf_counter()
        look_at(detector, orders[n % len(orders)])
        took_ms.append((time.perf_counter() - began_s) * 1e3)
    return {
        "canvas": str(size),
        "batch": batch,
        "ms_p50": round(statistics.median(took_ms), 3),
        "ms_p99": round(float(np.percentile(took_ms, 99)), 3),
        "ms_a_canvas": round(statistics.median(took_ms) / batch, 3),
        "operations": batch * operations(size),
        "bytes": batch * size.pixels * 3 + SHIPPED.stat().st_size,
    }


def shares(row: Row, limits: Row) -> Row:
    """How much of the GPU's arithmetic, and of its memory's speed for input and weights alone, a row uses."""
    if "ms_p50" not in row:
        return {}
    seconds = row["ms_p50"] / 1e3
    return {
        f"share_of_{what}": round(row[what] / seconds / limits[f"{what}_per_s"], 5)
        for what in ("operations", "bytes")
        if limits[f"{what}_per_s"]
    }


def operations(size: Size) -> int:
    """Multiplications and additions of the convolutions for one canvas."""
    import onnx  # noqa: PLC0415 - not needed where only looks are tried

    model = onnx.load(SHIPPED)
    for value, side in zip(model.graph.input[0].type.tensor_type.shape.dim, (1, 3, *reversed(size)), strict=True):
        value.dim_value = side
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in inferred.graph.value_info}
    weights = {weight.name: list(weight.dims) for weight in inferred.graph.initializer}
    total = 0
    for node in inferred.graph.node:
        if node.op_type == "Conv" and node.output[0] in shapes:
            total += 2 * prod(shapes[node.output[0]]) * prod(weights[node.input[1]][1:])
    return total


def operations_per_s(gpu: Gpu) -> int:
    """Of the GPU's tensor cores in half precision; 0 if its kind is not known here."""
    per_cycle = _TENSOR_OPERATIONS.get(gpu.capability, 0)
    return per_cycle * gpu.attribute("MULTIPROCESSOR_COUNT") * gpu.attribute("CLOCK_RATE") * 1000


def copied_bytes_per_s(gpu: Gpu) -> int:
    """Bytes that the GPU's memory reads and writes in a second, measured by copying."""
    n_bytes, n_copies = min(256 * _MEGABYTE, gpu.memory().free // 4), 20
    with gpu.allocate(n_bytes) as source, gpu.allocate(n_bytes) as target, gpu.open_stream() as stream:
        stream.copy(source.address, target.address, n_bytes)
        stream.wait()
        began_s = time.perf_counter()
        for _ in range(n_copies):
            stream.copy(source.address, target.address, n_bytes)
        stream.wait()
        return round(2 * n_bytes * n_copies / (time.perf_counter() - began_s))


def memory_of(name: str, model: GpuModel, pictures: Sequence[Picture]) -> Row:
    """GPU memory that a session takes which has looked at canvases of every size."""
    gpu = model.task.gpu
    held = []
    free = [gpu.memory().free]
    with ExitStack() as stack:
        for _ in range(4):
            detector = stack.enter_context(closing(model.open()))
            for size in SIZES:
                for _ in range(3):
                    detector.look([order(pictures[0], size)])
            held.append(detector.device_bytes)
            free.append(gpu.memory().free)
    used = [(before - after) / _MEGABYTE for before, after in pairwise(free)]
    return {"backend": name, "buffers_mb": round(held[-1] / _MEGABYTE, 1), "session_mb": [round(mb, 1) for mb in used]}


def sessions(name: str, model: GpuModel, pictures: Sequence[Picture], options: argparse.Namespace) -> Iterator[Row]:
    """Looks a second that so many sessions get, of 30 each: with a stream of their own, and in batches."""
    orders = [order(picture, LOOK_SIZE) for picture in pictures]
    for n_sessions in options.sessions:
        for sharing, measured in (("session", of_own), ("batch", in_batches)):
            try:
                rate = measured(model, orders, n_sessions, options.seconds)
            except FlexPatchError as error:
                yield {"backend": name, "sessions": n_sessions, "sharing": sharing, "failed": str(error)}
                continue
            yield {
                "backend": name,
                "canvas": str(LOOK_SIZE),
                "sessions": n_sessions,
                "sharing": sharing,
                "looks_per_s": [round(each, 1) for each in quartiles(rate)],
                "keeps_up": min(rate) >= 0.98 * FPS,
            }


def of_own(model: GpuModel, orders: Sequence[CanvasOrder], n_sessions: int, seconds: float) -> list[float]:
    """Each session has a detector of its own."""
    with ExitStack() as stack:
        detectors = [stack.enter_context(closing(model.open())) for _ in range(n_sessions)]
        return rates([partial(_look, detector, orders) for detector in detectors], seconds)


def in_batches(model: GpuModel, orders: Sequence[CanvasOrder], n_sessions: int, seconds: float) -> list[float]:
    """All sessions have one detector, whose queue puts canvases together."""
    with closing(model.open()) as detector, closing(DetectionQueue(SystemClock())) as queue:

        def look(number: int) -> None:
            queue.ask(detector, orders[number % len(orders)]).result()

        return rates([look] * n_sessions, seconds)


def _look(detector: Detector, orders: Sequence[CanvasOrder], number: int) -> None:
    look_at(detector, [orders[number % len(orders)]])


if __name__ == "__main__":
    main()
