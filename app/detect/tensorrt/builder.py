"""From an ONNX file to a TensorRT engine."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.core.errors import EngineNotBuilt
from app.detect.network import one_line
from app.detect.tensorrt.engine_file import EngineKey, write_whole
from app.detect.tensorrt.library import Capability, Library
from app.detect.tensorrt.options import USUAL_CANVAS, EngineOptions, Precision
from app.detect.tensorrt.precision import converted

logger = logging.getLogger(__name__)

_SMALLEST_SIDE_PX = 32
_DYNAMIC = -1


@dataclass(frozen=True)
class EngineRequest:
    """An engine that is wanted."""

    model: Path
    """The ONNX file."""
    key: EngineKey
    is_for_this_gpu: bool
    """Rather than ahead of time, for another machine's."""
    timing_file: Path | None = None
    """Where the library keeps how long each way of computing a layer took, so that the next build is quicker."""


def messages_of(module: Any) -> Any:
    """A logger for TensorRT that keeps errors, and hands the rest to ours at level debug.

    Returns:
        An `ILogger` with the list `errors`.
    """

    class Messages(module.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity <= module.ILogger.ERROR:
                self.errors.append(message)
            logger.debug("TensorRT says", extra={"severity": severity.name, "text": message})

    return Messages()


def build(request: EngineRequest, graph: bytes, library: Library) -> bytes:
    """Build an engine; takes seconds to minutes.

    Args:
        graph: as `graph_for` gives it.
    Raises:
        EngineNotBuilt: TensorRT cannot make an engine of it.
    """
    options = request.key.options
    messages = messages_of(library.module)
    trt = library.module
    try:
        builder = trt.Builder(messages)
    except (TypeError, RuntimeError) as error:  # where CUDA does not start, its binding has nothing to return
        raise EngineNotBuilt(f"{library} does not start: {_reasons(messages.errors or [str(error)])}.") from error
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, messages)
    if not parser.parse(graph):
        raise EngineNotBuilt(f"{library} cannot read {request.model}: {_unreadable(parser, messages.errors)}.")
    config = builder.create_builder_config()
    _set_profile(builder, network, config, options)
    _set_target(config, library, request)
    if library.takes_precision_flags and options.precision != "float":
        config.set_flag(trt.BuilderFlag.FP16)
        if options.precision == "int8":
            config.set_flag(trt.BuilderFlag.INT8)
    timings = _timings(config, library, request.timing_file)
    plan = _built(builder, network, config, trt)
    if plan is None:
        raise EngineNotBuilt(f"{library} cannot build an engine of {request.model}: {_reasons(messages.errors)}.")
    if timings is not None and request.timing_file is not None:
        _keep(timings, request.timing_file)
    return bytes(plan)


def _built(builder: Any, network: Any, config: Any, trt: Any) -> Any:
    """The plan; None if it cannot be built."""
    flag = getattr(trt.BuilderFlag, "REQUIRE_USER_ALLOCATION", None)
    if flag is None:
        return builder.build_serialized_network(network, config)
    # Only so does TensorRT-RTX promise that runs can be recorded, which not every network allows.
    config.set_flag(flag)
    plan = builder.build_serialized_network(network, config)
    if plan is not None:
        return plan
    config.clear_flag(flag)
    return builder.build_serialized_network(network, config)


def graph_for(
    library: Library,
    model: Path,
    precision: Precision,
    canvases: Sequence[NDArray[np.uint8]] = (),
    family: str | None = None,
) -> bytes:
    """A model's graph as that library wants it: converted, unless flags do.

    Args:
        canvases: (H, W, 3) uint8 BGR for int8 to learn from.
        family: of the detector, if it is not recognised.
    Raises:
        EngineNotBuilt: it cannot be converted.
        GpuMissing: a package that the conversion needs is not installed.
    """
    is_by_flag = precision == "half" and library.takes_precision_flags
    return converted(model, "float" if is_by_flag else precision, canvases, family)


def _set_profile(builder: Any, network: Any, config: Any, options: EngineOptions) -> None:
    """Say which shapes will come, where the graph leaves them open."""
    profile = builder.create_optimization_profile()
    inputs = [network.get_input(index) for index in range(network.num_inputs)]
    is_open = False
    for tensor in inputs:
        shape = tuple(tensor.shape)
        if _DYNAMIC not in shape:
            continue
        is_open = True
        side, usual = options.max_side_px, USUAL_CANVAS
        least = _filled(shape, 1, _SMALLEST_SIDE_PX, _SMALLEST_SIDE_PX)
        most = _filled(shape, options.max_batch, side, side)
        profile.set_shape(tensor.name, least, _filled(shape, options.max_batch, usual.height, usual.width), most)
    if is_open:
        config.add_optimization_profile(profile)


def _filled(shape: tuple[int, ...], batch: int, height: int, width: int) -> tuple[int, ...]:
    """A tensor's declared shape with its open places filled."""
    if len(shape) != 4:
        return tuple(batch if side == _DYNAMIC else side for side in shape)
    is_channels_last = shape[3] == 3
    sides = (batch, height, width, 3) if is_channels_last else (batch, 3, height, width)
    return tuple(wanted if side == _DYNAMIC else side for side, wanted in zip(shape, sides, strict=True))


def _set_target(config: Any, library: Library, request: EngineRequest) -> None:
    if request.is_for_this_gpu:
        return
    config.num_compute_capabilities = 1
    config.set_compute_capability(library.target(request.key.capability), 0)


def _timings(config: Any, library: Library, path: Path | None) -> Any:
    """The library's cache of timings, with what earlier builds left; None where it keeps none, as TensorRT-RTX."""
    if path is None or library.flavour == "tensorrt_rtx":
        return None
    try:
        known = path.read_bytes() if path.is_file() else b""
    except OSError as error:
        logger.warning("timings cannot be read", extra={"path": str(path), "reason": str(error)})
        known = b""
    timings = config.create_timing_cache(known)
    if timings is None or not config.set_timing_cache(timings, ignore_mismatch=False):
        # Damaged, or of another version: begun anew.
        timings = config.create_timing_cache(b"")
        if timings is None or not config.set_timing_cache(timings, ignore_mismatch=False):
            return None
    return timings


def _keep(timings: Any, path: Path) -> None:
    """Write the timings for later builds, which can do without."""
    try:
        write_whole(path, bytes(timings.serialize()))
    except OSError as error:
        logger.warning("timings cannot be written", extra={"path": str(path), "reason": str(error)})


def _unreadable(parser: Any, errors: Sequence[str]) -> str:
    """What a parser stumbled over: operators, if it names them."""
    found = [parser.get_error(index) for index in range(parser.num_errors)]
    operators = sorted({error.node_operator() for error in found} - {""})
    return f"it does not know {', '.join(operators)} as used there" if operators else _reasons(errors)


def _reasons(errors: Sequence[str]) -> str:
    said = dict.fromkeys(error.strip().rstrip(".") for error in errors)
    return one_line("; ".join(said) or "it does not say why")


def check_target(library: Library, capability: Capability, present: Capability | None) -> bool:
    """Whether an engine for that GPU is built for the one in this machine.

    Args:
        present: compute capability of the GPU in the machine; None: there is none.
    Raises:
        EngineNotBuilt: it can be built neither for this machine's GPU nor ahead of time.
    """
    if capability == present:
        return True
    library.target(capability)
    return False
