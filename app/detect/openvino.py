"""Networks in ONNX format, run by OpenVINO on the processor."""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.core.errors import BackendFailed, ModelUnreadable
from app.detect.network import Feeds, Signature, one_line

_NAME_OF_PROCESSOR = "FULL_DEVICE_NAME"


class OpenVinoNetwork:
    """A network that OpenVINO runs on the processor. Any number of threads may run it."""

    def __init__(self, path: Path, signature: Signature, threads: int) -> None:
        """
        Args:
            signature: of the same file; OpenVINO forgets what a model says of itself.
            threads: for one inference.
        Raises:
            BackendFailed: OpenVINO is not installed, or does not work here.
            ModelUnreadable: OpenVINO cannot read the file.
        """
        core = _core()
        hints = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads}
        try:
            self._model = core.compile_model(core.read_model(str(path)), "CPU", hints)
        except Exception as error:  # OpenVINO's errors are RuntimeErrors of many kinds
            raise ModelUnreadable(f"OpenVINO cannot read {path}: {one_line(error)}") from error
        self._signature = signature
        self._names = [output.name for output in signature.outputs]
        self._requests = threading.local()

    @property
    def backend(self) -> str:
        return "openvino"

    @property
    def signature(self) -> Signature:
        return self._signature

    def run(self, output_names: Sequence[str] | None, feeds: Feeds) -> list[NDArray[Any]]:
        """One inference.

        Raises:
            BackendFailed: OpenVINO reported an error.
        """
        names = self._names if output_names is None else output_names
        try:
            results = self._request().infer(dict(feeds), share_inputs=True)
            outputs = [np.array(results[name]) for name in names]
        except Exception as error:
            raise BackendFailed(one_line(error)) from error
        return [value.astype(np.float32) if value.dtype == np.float16 else value for value in outputs]

    def _request(self) -> Any:
        """The calling thread's own."""
        request = getattr(self._requests, "own", None)
        if request is None:
            request = self._requests.own = self._model.create_infer_request()
        return request


def check_is_made_for_this() -> None:
    """Whether to try OpenVINO unasked.

    Raises:
        BackendFailed: it is not installed, or the processor is one that it is not made for.
    """
    processor = str(_core().get_property("CPU", _NAME_OF_PROCESSOR))
    if "intel" not in processor.lower():
        raise BackendFailed(f"it is tried unasked on Intel's processors only, and this one is {processor}")


def _core() -> Any:
    try:
        import openvino  # noqa: PLC0415 - optional

        return openvino.Core()
    except ImportError as error:
        raise BackendFailed("OpenVINO is not installed: pip install 'flexpatch-service[openvino]'") from error
    except Exception as error:
        raise BackendFailed(f"OpenVINO does not work here: {one_line(error)}") from error
