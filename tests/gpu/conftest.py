"""The kernels, compiled once for the processor and, where there is one, for a GPU."""

import os
from collections.abc import Iterator

import pytest

from app.core.errors import GpuError
from app.gpu.device import Gpu
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
