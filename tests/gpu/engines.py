"""Engines for tests and measurements on a GPU."""

from pathlib import Path

from app.detect.detector import DetectorChoices
from app.detect.gpu.network import DeviceNetwork
from app.detect.onnx import load_on_processor
from app.detect.tensorrt.builder import graph_for
from app.detect.tensorrt.cache import EngineCache
from app.detect.tensorrt.library import find_library
from app.detect.tensorrt.options import EngineOptions
from app.detect.tensorrt.runtime import TensorRtNetwork
from app.gpu.device import Gpu

SHIPPED = Path(__file__).resolve().parents[2] / "models" / "flexpatch-nano.onnx"
FLOAT = EngineOptions("float", 4, 1280)


def engine_network(gpu: Gpu, folder: Path, path: Path, options: EngineOptions = FLOAT) -> DeviceNetwork:
    """A TensorRT engine of an ONNX file, built for this GPU if the folder has none.

    Raises:
        GpuMissing: there is no TensorRT for this GPU.
    """
    library = find_library(gpu.capability).required()
    cache = EngineCache(folder, library)
    file = cache.get(
        path,
        cache.key(path, gpu.capability, options),
        load_on_processor(path, DetectorChoices()).signature,
        make_graph=lambda: graph_for(library, path, options.precision),
        is_for_this_gpu=True,
    )
    return TensorRtNetwork(file, library, gpu)
