"""A process whose GPU fails for good: `python -m tests.gpu.failing BACKEND FOLDER`.

Prints the backend of a detector before and after.
"""

import sys
from pathlib import Path

import numpy as np

from app.core.clock import SystemClock
from app.core.types import Size
from app.detect.backends import Candidate, DetectorModel, ModelFacts, OnProcessor
from app.detect.gpu.detector import GpuModel
from app.detect.gpu.kernels import DetectionKernels
from app.detect.gpu.on_gpu import OnGpu
from app.detect.gpu.onnx import OnnxDeviceNetwork
from app.gpu.device import Gpu
from app.gpu.loading import LoadedKernels
from app.gpu.structures import INPUT_LAYOUT
from tests.detect.conftest import on_processor
from tests.gpu.engines import SHIPPED, engine_network

_NOWHERE = 16
"""An address at which nothing is."""


def main(backend: str, folder: Path) -> None:
    """Look, have the GPU fail, and look again."""
    gpu = Gpu()
    kernels = DetectionKernels(LoadedKernels(gpu))
    is_onnx = backend == "onnxruntime-cuda"
    network = OnnxDeviceNetwork(SHIPPED, gpu.ordinal) if is_onnx else engine_network(gpu, folder, SHIPPED)
    model = GpuModel("nano", network, gpu, kernels, SystemClock())
    usual = on_processor(SHIPPED)
    facts = ModelFacts("nano", usual.class_names, usual.input_sizes, usual.pad_value)
    candidates = [
        Candidate("tensorrt", lambda: OnGpu(model, 0)),
        Candidate("onnxruntime-cpu", lambda: OnProcessor(usual)),
    ]
    detector = DetectorModel(facts, candidates).open()
    canvas = np.full((1, 192, 320, 3), 114, np.uint8)
    detector.detect(canvas)
    before = detector.backend
    # A kernel that reads where nothing is leaves the context unusable, as a GPU that is lost does.
    layout = np.zeros((), INPUT_LAYOUT)
    stream = gpu.open_stream()
    kernels.draw(stream, jobs=_NOWHERE, copies=_NOWHERE, tensor=_NOWHERE, size=Size(320, 192), batch=1, layout=layout)
    for _ in range(3):
        assert len(detector.detect(canvas)) == 1
    sys.stdout.write(f"{before} {detector.backend}\n")
    detector.close()
    gpu.close()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
