"""The kernels, compiled once for the processor and, where there is one, for a GPU; and models on it."""

import os
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
import pytest
from numpy.typing import NDArray

from app.core.clock import SystemClock
from app.core.errors import BackendFailed, GpuError
from app.detect.gpu.detector import GpuModel
from app.detect.gpu.kernels import DetectionKernels
from app.detect.gpu.network import DeviceNetwork
from app.detect.gpu.onnx import OnnxDeviceNetwork
from app.detect.tensorrt.library import find_library
from app.detect.tensorrt.options import EngineOptions
from app.gpu.device import Gpu
from app.gpu.loading import LoadedKernels
from app.offline.engines import canvases_of
from tests.detect.conftest import on_processor
from tests.gpu.engines import FLOAT, SHIPPED, engine_network
from tests.gpu.host import HostKernels
from tests.gpu.kernels import GpuKernels, Kernels


@pytest.fixture(scope="session")
def host_kernels(tmp_path_factory: pytest.TempPathFactory) -> HostKernels:
    folder = tmp_path_factory.getbasetemp()
    return HostKernels(folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder)


@pytest.fixture(scope="session")
def real_gpu() -> Iterator[Gpu]:
    """The GPU of this machine; without one the test is skipped, or fails where REQUIRE_GPU is set."""
    try:
        gpu = Gpu()
    except GpuError as error:
        if os.environ.get("REQUIRE_GPU"):
            pytest.fail(f"REQUIRE_GPU is set. {error}")
        pytest.skip("no NVIDIA GPU")
    yield gpu
    gpu.close()


@pytest.fixture(scope="session", params=["processor", pytest.param("gpu", marks=pytest.mark.gpu)])
def kernels(request: pytest.FixtureRequest) -> Iterator[Kernels]:
    """All kernels, here and there."""
    if request.param == "processor":
        yield request.getfixturevalue("host_kernels")
        return
    kernels = GpuKernels(request.getfixturevalue("real_gpu"))
    yield kernels
    kernels.close()


STREET = "synthetic:1280x720@2?objects=20&seed=41&frames=10"


class MakeNetwork(Protocol):
    def __call__(self, path: Path, options: EngineOptions = ..., /) -> DeviceNetwork: ...


@pytest.fixture(scope="session")
def loaded_kernels(real_gpu: Gpu) -> Iterator[LoadedKernels]:
    with closing(LoadedKernels(real_gpu)) as loaded:
        yield loaded


@pytest.fixture(scope="session")
def gpu_kernels(loaded_kernels: LoadedKernels) -> DetectionKernels:
    return DetectionKernels(loaded_kernels)


@pytest.fixture(scope="session")
def engine_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("engines")


@pytest.fixture(scope="session")
def make_engine(real_gpu: Gpu, engine_folder: Path) -> MakeNetwork:
    """Makes a TensorRT engine of an ONNX file."""
    search = find_library(real_gpu.capability)
    if search.library is None:
        pytest.skip(f"no TensorRT for this GPU: {'; '.join(search.refusals)}")
    return partial(engine_network, real_gpu, engine_folder)


@pytest.fixture(scope="session", params=["tensorrt", "onnxruntime-cuda"])
def make_network(request: pytest.FixtureRequest, real_gpu: Gpu) -> MakeNetwork:
    """Loads an ONNX file with each runtime that works on this GPU."""
    if request.param == "tensorrt":
        make: MakeNetwork = request.getfixturevalue("make_engine")
        return make
    try:
        OnnxDeviceNetwork(SHIPPED, real_gpu.ordinal)
    except BackendFailed as error:
        pytest.skip(str(error))
    return partial(_onnx_network, real_gpu)


def _onnx_network(gpu: Gpu, path: Path, _options: EngineOptions = FLOAT) -> DeviceNetwork:
    return OnnxDeviceNetwork(path, gpu.ordinal)


@pytest.fixture(scope="session")
def model(make_network: MakeNetwork, real_gpu: Gpu, gpu_kernels: DetectionKernels) -> Iterator[GpuModel]:
    """The shipped detector, in float32."""
    network = make_network(SHIPPED)
    with closing(GpuModel("nano", network, real_gpu, gpu_kernels, SystemClock())) as model:
        yield model


@pytest.fixture(scope="session")
def canvases() -> NDArray[np.uint8]:
    """(N, 384, 640, 3) pictures of a street."""
    return np.stack(list(canvases_of(STREET, on_processor(SHIPPED))))
