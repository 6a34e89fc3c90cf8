"""The kernels without a GPU: the same source, compiled for the host, one process thread for each of a block's."""

import ctypes
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.gpu.compiler import ENTRY_POINTS
from tests.gpu.build import HERE, KERNELS, compiled, kernel_library
from tests.gpu.kernels import Dimensions, Place


class HostKernels:
    """All kernels as libraries of the host, compiled when first needed."""

    def __init__(self, folder: Path) -> None:
        """
        Args:
            folder: where libraries lie.
        """
        self._folder = folder
        self._library = ctypes.CDLL(str(compiled(folder / "host.so", HERE / "host.cpp", f"-I{KERNELS}")))
        self._library.layout_of.restype = ctypes.c_char_p
        self._library.enumerators.restype = ctypes.POINTER(ctypes.c_int)
        self._library.half_bits.argtypes = [ctypes.c_float]
        self._library.half_bits.restype = ctypes.c_uint16
        self._library.half_value.argtypes = [ctypes.c_uint16]
        self._library.half_value.restype = ctypes.c_float

    def run(
        self,
        name: str,
        grid: Dimensions,
        block: Dimensions,
        arguments: Callable[[Place], Sequence[NDArray[Any]]],
        results: Sequence[NDArray[Any]],
    ) -> None:
        """Run a kernel: block after block, the threads of a block at once. The results are where they were."""
        args = arguments(address)
        pointers = (ctypes.c_void_p * len(args))(*(argument.ctypes.data for argument in args))
        three = ctypes.c_uint * 3
        file = next(file for file, kernels in ENTRY_POINTS.items() if name in kernels)
        library = ctypes.CDLL(str(kernel_library(self._folder, file)))
        getattr(library, f"host_{name}")(three(*grid), three(*block), pointers)

    def fields(self, structure: str) -> dict[str, int]:
        """Offset in bytes of each field of a C structure; under `sizeof`, its size."""
        lines = self._library.layout_of(structure.encode()).decode().splitlines()
        return {name: int(number) for name, number in (line.split() for line in lines)}

    def enumerators(self) -> list[int]:
        """All enumerators of the C header, in its order."""
        n = ctypes.c_int()
        values = self._library.enumerators(ctypes.byref(n))
        return [int(value) for value in values[: n.value]]

    def half_bits(self, value: float) -> int:
        """The float16 that a float32 becomes."""
        return int(self._library.half_bits(value))

    def half_value(self, bits: int) -> float:
        """The float32 that a float16 becomes."""
        return float(self._library.half_value(bits))


def address(array: NDArray[Any]) -> NDArray[np.uint64]:
    """A pointer as a kernel's argument."""
    return np.array(array.ctypes.data, np.uint64)
