"""The simulated driver, and kernels for it."""

import os
from pathlib import Path

from app.gpu.compiler import KernelFile
from app.gpu.device import Capability
from tests.gpu.build import compiled, kernel_library

VARIABLE = "FLEXPATCH_SIMULATED_GPU"
"""Names the simulated driver's file in processes that use it; kernels lie beside."""

CAPABILITY: Capability = (8, 9)
"""Of the simulated GPU."""

_HERE = Path(__file__).parent


def simulated_driver(folder: Path) -> Path:
    """The driver's file, in a folder from which `LD_LIBRARY_PATH` makes it the driver of a new process."""
    return compiled(folder / "libcuda.so.1", _HERE / "driver.cpp", "-Wl,-soname,libcuda.so.1")


def host_image(name: KernelFile, compute_capability: Capability = CAPABILITY) -> bytes:
    """What the simulated driver loads for a file of kernels; stands in for `app.gpu.compiler.compile_kernels`."""
    assert compute_capability == CAPABILITY
    return _image(kernel_library(_folder(), name))


def example_image() -> bytes:
    """The kernels of example.cpp, `describe` and `add`."""
    return _image(compiled(_folder() / "example.so", _HERE / "example.cpp"))


def _folder() -> Path:
    return Path(os.environ[VARIABLE]).parent


def _image(library: Path) -> bytes:
    return os.fsencode(library) + b"\0"
