"""Kernels on one GPU, ready to run."""

from collections.abc import Callable
from functools import partial

from app.gpu.compiler import ENTRY_POINTS, KernelFile, compile_kernels
from app.gpu.device import Capability, Gpu, Kernel, Module
from app.gpu.remembered import Remembered

Compile = Callable[[KernelFile, Capability], bytes]


class LoadedKernels:
    """Files of kernels, each compiled and loaded when first needed. Any thread may ask."""

    def __init__(self, gpu: Gpu, compile_file: Compile = compile_kernels) -> None:
        """
        Args:
            compile_file: from a file of kernels to machine code.
        """
        self.gpu = gpu
        self._modules = {file: Remembered(partial(self._load, compile_file, file)) for file in ENTRY_POINTS}

    def kernel(self, file: KernelFile, name: str) -> Kernel:
        """One kernel of a file.

        Raises:
            KernelsNotCompiled: NVRTC is missing or fails; the same each time.
            GpuFailed: the GPU does not take what was compiled, or has no such kernel; the same each time.
            GpuMemoryShort: there is no room for them now.
        """
        module = self._modules[file].get()
        self.gpu.make_current()
        return module.kernel(name)

    def _load(self, compile_file: Compile, file: KernelFile) -> Module:
        return self.gpu.load(compile_file(file, self.gpu.capability))

    def close(self) -> None:
        """Give the GPU's memory back."""
        for remembered in self._modules.values():
            module = remembered.take()
            if module:
                module.close()
