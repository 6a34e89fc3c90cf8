"""The kernels, compiled for the host once."""

import pytest

from tests.gpu.host import HostKernels


@pytest.fixture(scope="session")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> HostKernels:
    return HostKernels(tmp_path_factory.mktemp("kernels"))
