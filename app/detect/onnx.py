"""Networks in ONNX format, run by ONNX Runtime on the processor."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as runtime_state

from app.core.errors import BackendFailed, ModelUnreadable, SettingsError
from app.detect.cores import available_cores
from app.detect.detector import DetectorChoices, NetworkDetector
from app.detect.network import Feeds, Signature, TensorSpec, one_line

RUNTIME_ERRORS: tuple[type[Exception], ...] = (
    runtime_state.Fail,
    runtime_state.InvalidArgument,
    runtime_state.InvalidGraph,
    runtime_state.InvalidProtobuf,
    runtime_state.NoModel,
    runtime_state.NoSuchFile,
    runtime_state.NotImplemented,
    runtime_state.RuntimeException,
    runtime_state.EPFail,
    RuntimeError,
    ValueError,
    TypeError,
)
"""ONNX Runtime's own, which share no ancestor, and those of its binding."""

_NUMPY_TYPES = {"float": "float32", "double": "float64"}
"""Element types that ONNX Runtime and NumPy name differently."""


_SPIN_US = 50
"""On a free machine as quick as spinning without end, on a crowded one nearly as quick as none."""


class OnnxNetwork:
    """A network that ONNX Runtime runs on the processor. Any number of threads may run it."""

    def __init__(self, path: Path, threads: int) -> None:
        """
        Args:
            threads: for one inference.
        Raises:
            ModelUnreadable: ONNX Runtime cannot read the file.
        """
        self._session = _open(path, threads)
        self._signature = signature_of(self._session)

    @property
    def backend(self) -> str:
        return "onnxruntime-cpu"

    @property
    def signature(self) -> Signature:
        return self._signature

    def run(self, output_names: Sequence[str] | None, feeds: Feeds) -> list[NDArray[Any]]:
        """One inference.

        Raises:
            BackendFailed: ONNX Runtime reported an error.
        """
        names = None if output_names is None else list(output_names)
        try:
            outputs = cast("list[NDArray[Any]]", self._session.run(names, dict(feeds)))
        except RUNTIME_ERRORS as error:
            raise BackendFailed(one_line(error)) from error
        return [value.astype(np.float32) if value.dtype == np.float16 else value for value in outputs]


def load_on_processor(path: Path, choices: DetectorChoices, threads: int | None = None) -> NetworkDetector:
    """A detector that ONNX Runtime runs on the processor; runs it once or twice on a small canvas.

    Args:
        threads: for one inference; None: all available cores.
    Raises:
        ModelUnreadable: ONNX Runtime cannot read the file.
        ModelNotRecognised: it is no detector of a known family.
        SettingsError: an argument is outside its range.
    """
    cores = available_cores()
    threads = cores if threads is None else threads
    if threads < 1:
        raise SettingsError(f"threads is {threads}; a detector needs at least 1.")
    return NetworkDetector(path.stem, OnnxNetwork(path, threads), choices, n_parallel=max(1, cores // threads))


def session_options() -> onnxruntime.SessionOptions:
    """What holds wherever ONNX Runtime runs a network."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    # Errors come as exceptions; warnings are for whoever exported the model.
    options.log_severity_level = 4
    return options


def _open(path: Path, threads: int) -> onnxruntime.InferenceSession:
    options = session_options()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Sleeping between layers costs a small model a third of its time, so its threads spin. Only as long as such a
    # gap lasts, though: on a busy machine long spinning doubles the time, and after the run it is of no use.
    options.add_session_config_entry("session.intra_op.allow_spinning", "1")
    options.add_session_config_entry("session.intra_op.spin_duration_us", str(_SPIN_US))
    options.add_session_config_entry("session.force_spinning_stop", "1")
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except RUNTIME_ERRORS as error:
        raise ModelUnreadable(f"{path} cannot be read as an ONNX model: {one_line(error)}") from error


def signature_of(session: onnxruntime.InferenceSession) -> Signature:
    """What the graph declares."""
    return Signature(
        inputs=tuple(_spec(value) for value in session.get_inputs()),
        outputs=tuple(_spec(value) for value in session.get_outputs()),
        metadata=dict(session.get_modelmeta().custom_metadata_map),
    )


def _spec(value: onnxruntime.NodeArg) -> TensorSpec:
    element = value.type.removeprefix("tensor(").removesuffix(")")
    shape = tuple(side if isinstance(side, int) and side > 0 else None for side in value.shape or ())
    return TensorSpec(value.name, _NUMPY_TYPES.get(element, element), shape)
