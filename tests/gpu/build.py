"""Compiles what GPU tests need on the processor: the kernels, and a driver that simulates a GPU. Each once in a run."""

import fcntl
import shutil
import subprocess
from pathlib import Path

import pytest

import app.gpu
from app.gpu.compiler import ENTRY_POINTS, KernelFile

HERE = Path(__file__).parent
KERNELS = Path(app.gpu.__file__).parent / "kernels"
_OPTIONS = ("-std=c++20", "-O2", "-ffp-contract=off", "-shared", "-fPIC", "-pthread", "-fvisibility=hidden")
_WARNINGS = ("-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas", "-Wno-unused-function")


def kernel_library(folder: Path, name: KernelFile) -> Path:
    """A file of kernels as a library, each exported as exports.h says."""
    exported = "".join(f"EXPORT({kernel})\n" for kernel in ENTRY_POINTS[name])
    source = f'#include "exports.h"\n#include "{name}.cu"\n{exported}'
    return compiled(folder / f"{name}.so", source, f"-I{HERE}", f"-I{KERNELS}")


def compiled(library: Path, source: str | Path, *options: str) -> Path:
    """A library of C++, compiled here or, if it is there already, by another process.

    Skips the test where there is no compiler.

    Args:
        source: the text, or a file.
    """
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("no g++ to compile GPU code for the processor")
    with Path(f"{library}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if library.exists():
            return library
        unfinished = Path(f"{library}.unfinished")
        command = [compiler, *_OPTIONS, *_WARNINGS, *options, "-o", str(unfinished)]
        command += [str(source)] if isinstance(source, Path) else ["-x", "c++", "-"]
        text = None if isinstance(source, Path) else source
        done = subprocess.run(  # noqa: S603 - a fixed command
            [*command, "-ldl"], input=text, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        unfinished.replace(library)
    return library
