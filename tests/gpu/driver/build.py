"""Compiles the simulated driver, and kernels for it, each once in a test run."""

import fcntl
import os
import shutil
import subprocess
from pathlib import Path

import pytest

import app.gpu
from app.gpu.compiler import ENTRY_POINTS, KernelFile
from app.gpu.device import Capability

VARIABLE = "FLEXPATCH_SIMULATED_GPU"
"""Names the simulated driver's file in processes that use it; kernels lie beside."""

CAPABILITY: Capability = (8, 9)
"""Of the simulated GPU."""

_HERE = Path(__file__).parent
_KERNELS = Path(app.gpu.__file__).parent / "kernels"
_OPTIONS = ("-std=c++20", "-O1", "-ffp-contract=off", "-shared", "-fPIC", "-pthread", "-Wall", "-Wextra", "-Werror")


def simulated_driver(folder: Path) -> Path:
    """The driver's file, in a folder from which `LD_LIBRARY_PATH` makes it the driver of a new process.

    Skips the test where there is no compiler.
    """
    return _compiled(folder / "libcuda.so.1", "driver.cpp", "-fvisibility=hidden", "-Wl,-soname,libcuda.so.1")


def host_image(name: KernelFile, compute_capability: Capability = CAPABILITY) -> bytes:
    """What the simulated driver loads for a file of kernels; stands in for `app.gpu.compiler.compile_kernels`."""
    assert compute_capability == CAPABILITY
    kernel = ENTRY_POINTS[name]
    options = [f'-DSOURCE="{name}.cu"', f"-DKERNEL={kernel}", f"-I{_HERE.parent}", f"-I{_KERNELS}"]
    return _image(_compiled(_folder() / f"{name}.so", "kernel.cpp", *options, "-Wno-unknown-pragmas"))


def example_image() -> bytes:
    """The kernels of example.cpp, `describe` and `add`."""
    return _image(_compiled(_folder() / "example.so", "example.cpp"))


def _folder() -> Path:
    return Path(os.environ[VARIABLE]).parent


def _image(library: Path) -> bytes:
    return os.fsencode(library) + b"\0"


def _compiled(library: Path, source: str, *options: str) -> Path:
    """Compile, or wait until another process has."""
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("no g++ to compile a simulated GPU driver")
    with Path(f"{library}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not library.exists():
            unfinished = Path(f"{library}.unfinished")
            command = [compiler, *_OPTIONS, *options, "-o", str(unfinished), str(_HERE / source), "-ldl"]
            done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - a fixed command
            assert done.returncode == 0, done.stderr
            unfinished.replace(library)
    return library
