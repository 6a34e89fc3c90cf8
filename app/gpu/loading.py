"""Kernels on one GPU, ready to run."""

import threading
from collections.abc import Callable

from app.core.errors import GpuError, GpuMemoryShort
from app.gpu.compiler import KernelFile, compile_kernels
from app.gpu.device import Capability, Gpu, Kernel, Module

Compile = Callable[[KernelFile, Capability], bytes]


class LoadedKernels:
    """Files of kernels, each compiled and loaded when first needed. Any thread may ask."""

    def __init__(self, gpu: Gpu, compile_file: Compile = compile_kernels) -> None:
        """
        Args:
            compile_file: from a file of kernels to machine code.
        """
        self.gpu = gpu
        self._compile = compile_file
        self._lock = threading.Lock()
        self._modules: dict[KernelFile, Module | GpuError] = {}

    def kernel(self, file: KernelFile, name: str) -> Kernel:
        """One kernel of a file.

        Raises:
            KernelsNotCompiled: NVRTC is missing or fails; the same each time.
            GpuFailed: the GPU does not take what was compiled, or has no such kernel; the same each time.
            GpuMemoryShort: there is no room for them now.
        """
        with self._lock:
            if file not in self._modules:
                self._modules[file] = self._load(file)
            module = self._modules[file]
        if isinstance(module, GpuError):
            # A new one each time: an error that is raised keeps alive whatever it passed through.
            raise type(module)(*module.args)
        self.gpu.make_current()
        return module.kernel(name)

    def _load(self, file: KernelFile) -> Module | GpuError:
        try:
            return self.gpu.load(self._compile(file, self.gpu.capability))
        except GpuMemoryShort:
            raise
        except GpuError as error:
            return error.with_traceback(None)

    def close(self) -> None:
        """Give the GPU's memory back."""
        with self._lock:
            for module in self._modules.values():
                if isinstance(module, Module):
                    module.close()
            self._modules.clear()
