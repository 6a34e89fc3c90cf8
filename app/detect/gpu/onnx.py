"""Networks in ONNX format, run by ONNX Runtime's CUDA provider on memory that is the GPU's already."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnxruntime

from app.core.errors import BackendFailed
from app.core.types import Size
from app.detect.gpu.network import DeviceTensor, Shape
from app.detect.network import Signature, one_line
from app.detect.onnx import RUNTIME_ERRORS, session_options, signature_of
from app.gpu.device import Stream

_PROVIDERS = {"cuda": "CUDAExecutionProvider", "cpu": "CPUExecutionProvider"}
_OPTIONS = {"cuda": {"arena_extend_strategy": "kSameAsRequested", "cudnn_conv_algo_search": "HEURISTIC"}, "cpu": {}}


class OnnxDeviceNetwork:
    """A model that workers share. Any thread may ask."""

    def __init__(self, path: Path, ordinal: int = 0, *, device: str = "cuda") -> None:
        """
        Args:
            ordinal: CUDA's number of the GPU.
            device: where the memory is that it is bound to, in ONNX Runtime's words.
        Raises:
            BackendFailed: this ONNX Runtime has no CUDA, or does not take the model there.
        """
        provider = _PROVIDERS[device]
        if provider not in onnxruntime.get_available_providers():
            raise BackendFailed("this ONNX Runtime has no CUDA; install onnxruntime-gpu in its place")
        options = _OPTIONS[device] | ({"device_id": str(ordinal)} if device == "cuda" else {})
        try:
            self._session = onnxruntime.InferenceSession(str(path), session_options(), providers=[(provider, options)])
        except RUNTIME_ERRORS as error:
            raise BackendFailed(f"ONNX Runtime does not take {path} on the GPU: {one_line(error)}") from error
        # Where its libraries are missing, ONNX Runtime goes on without CUDA.
        if provider not in self._session.get_providers():
            raise BackendFailed("ONNX Runtime's CUDA libraries are missing or too old")
        self._device, self._ordinal = device, ordinal
        self._signature = signature_of(self._session)

    @property
    def backend(self) -> str:
        return f"onnxruntime-{self._device}"

    @property
    def signature(self) -> Signature:
        return self._signature

    @property
    def max_batch(self) -> int | None:
        return None

    @property
    def max_size(self) -> Size | None:
        return None

    def prepare(self, shapes: Mapping[str, Shape], stream: Stream) -> "OnnxDeviceContext":
        """Make it ready for inputs of these shapes; runs it once, to see what shapes come out.

        Raises:
            BackendFailed: it does not take them.
        """
        place = (self._device, self._ordinal)
        inputs = tuple(DeviceTensor(spec.name, spec.dtype, shapes[spec.name]) for spec in self._signature.inputs)
        binding = self._session.io_binding()
        try:
            for tensor in inputs:
                dtype = np.dtype(tensor.dtype).type
                value = onnxruntime.OrtValue.ortvalue_from_shape_and_type(list(tensor.shape), dtype, *place)
                binding.bind_ortvalue_input(tensor.name, value)
            for spec in self._signature.outputs:
                binding.bind_output(spec.name, *place)
            self._session.run_with_iobinding(binding)
            values = binding.get_outputs()
        except RUNTIME_ERRORS as error:
            raise BackendFailed(one_line(error)) from error
        outputs = tuple(
            DeviceTensor(spec.name, spec.dtype, tuple(value.shape()))
            for spec, value in zip(self._signature.outputs, values, strict=True)
        )
        return OnnxDeviceContext(self._session, inputs, outputs, place, stream)

    def close(self) -> None:
        """Its memory goes with the last context."""


class OnnxDeviceContext:
    """A model made ready for inputs of certain shapes."""

    is_recordable = False
    """ONNX Runtime works on a stream of its own."""
    scratch_bytes = 0
    """ONNX Runtime has an arena of its own, for all contexts."""

    def __init__(
        self,
        session: onnxruntime.InferenceSession,
        inputs: tuple[DeviceTensor, ...],
        outputs: tuple[DeviceTensor, ...],
        place: tuple[str, int],
        stream: Stream,
    ) -> None:
        self._session = session
        self._inputs = inputs
        self._outputs = outputs
        self._place = place
        self._stream = stream
        self._binding = session.io_binding()

    @property
    def outputs(self) -> tuple[DeviceTensor, ...]:
        return self._outputs

    def bind(self, addresses: Mapping[str, int], scratch: int) -> None:  # noqa: ARG002 - it has an arena of its own
        """Say where inputs and outputs lie.

        Raises:
            BackendFailed: ONNX Runtime does not take them.
        """
        binding = self._session.io_binding()
        try:
            for tensor in self._inputs:
                dtype = np.dtype(tensor.dtype).type
                binding.bind_input(tensor.name, *self._place, dtype, list(tensor.shape), addresses[tensor.name])
            for tensor in self._outputs:
                dtype = np.dtype(tensor.dtype).type
                binding.bind_output(tensor.name, *self._place, dtype, list(tensor.shape), addresses[tensor.name])
        except RUNTIME_ERRORS as error:
            raise BackendFailed(one_line(error)) from error
        self._binding = binding

    def enqueue(self) -> None:
        """Run it once, as soon as the stream has done what it was given; returns when that is done too.

        Raises:
            BackendFailed: ONNX Runtime reported an error.
        """
        self._stream.wait()
        try:
            self._session.run_with_iobinding(self._binding)
        except RUNTIME_ERRORS as error:
            raise BackendFailed(one_line(error)) from error

    def close(self) -> None:
        """Let go of the memory that it was bound to."""
        self._binding = self._session.io_binding()
