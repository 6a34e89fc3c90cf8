"""Which TensorRT there is: `tensorrt` (10.x and 11.x) or `tensorrt_rtx`, and why one was not taken.

The two have nearly the same interface. They differ in the GPUs that they support, in whether they build for one that is
not in the machine, and in how they are told to use half precision.
"""

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Literal

from app.core.errors import EngineNotBuilt, GpuMissing
from app.detect.network import one_line

Flavour = Literal["tensorrt", "tensorrt_rtx"]
Capability = tuple[int, int]
"""Compute capability of an NVIDIA GPU, major and minor."""

NAMES: dict[Flavour, str] = {"tensorrt": "TensorRT", "tensorrt_rtx": "TensorRT-RTX"}
_OLDEST: dict[Flavour, tuple[int, int]] = {"tensorrt": (10, 0), "tensorrt_rtx": (1, 0)}
_EXTRA = "pip install 'flexpatch-service[gpu]'"

Import = Callable[[str], ModuleType]


@dataclass(frozen=True)
class Library:
    """One TensorRT that can be used."""

    flavour: Flavour
    version: str
    module: Any
    """The Python module."""

    def __str__(self) -> str:
        return f"{NAMES[self.flavour]} {self.version}"

    @property
    def takes_precision_flags(self) -> bool:
        """It may be told to use half precision where it likes; otherwise types are those of the graph."""
        return hasattr(self.module.BuilderFlag, "FP16")

    @property
    def builds_ahead(self) -> bool:
        """It builds for GPUs that are not in this machine."""
        return hasattr(self.module, "ComputeCapability")

    def target(self, capability: Capability) -> Any:
        """The library's own name of a compute capability.

        Raises:
            EngineNotBuilt: it does not build for such GPUs, or only on a machine with one.
        """
        if not self.builds_ahead:
            raise EngineNotBuilt(
                f"{self} builds only for the GPU in the machine; build there, or install TensorRT-RTX, which builds "
                "ahead of time."
            )
        target = getattr(self.module.ComputeCapability, f"SM{capability[0]}{capability[1]}", None)
        if target is None:
            raise EngineNotBuilt(
                f"{self} does not build for compute capability {capability[0]}.{capability[1]}; it builds for "
                f"{', '.join(f'{major}.{minor}' for major, minor in self.capabilities())}."
            )
        return target

    def capabilities(self) -> tuple[Capability, ...]:
        """Those that it builds for, where it names them."""
        names = dir(getattr(self.module, "ComputeCapability", None))
        digits = sorted(int(name[2:]) for name in names if name.startswith("SM") and name[2:].isdecimal())
        return tuple((number // 10, number % 10) for number in digits)

    def runs_on(self, capability: Capability) -> bool:
        """Whether it supports such a GPU, as far as it says so itself."""
        return not self.builds_ahead or capability in self.capabilities()


@dataclass(frozen=True)
class Search:
    """What looking for TensorRT came to."""

    library: Library | None
    refusals: tuple[str, ...]
    """Why each of those that were not taken was not, in words."""

    def required(self) -> Library:
        """The library.

        Raises:
            GpuMissing: there is none that can be used.
        """
        if self.library is None:
            raise GpuMissing(f"There is no TensorRT: {'; '.join(self.refusals)}. Install one: {_EXTRA}.")
        return self.library


def find_library(
    capability: Capability | None = None,
    *,
    ahead: bool = False,
    flavours: Sequence[Flavour] = ("tensorrt", "tensorrt_rtx"),
    load: Import = importlib.import_module,
) -> Search:
    """Look for a TensorRT, in the order given.

    Args:
        capability: of the GPU that it must support; None: any.
        ahead: it must build for a GPU that is not in this machine.
        load: imports a module.
    """
    refusals = []
    for flavour in flavours:
        try:
            library = _loaded(flavour, load)
        except _Refused as error:
            refusals.append(str(error))
            continue
        if ahead and not library.builds_ahead:
            refusals.append(f"{library} builds only for the GPU in the machine")
        elif capability is not None and not library.runs_on(capability):
            refusals.append(f"{library} does not support compute capability {capability[0]}.{capability[1]}")
        else:
            return Search(library, tuple(refusals))
    return Search(None, tuple(refusals))


class _Refused(Exception):
    pass


def _loaded(flavour: Flavour, load: Import) -> Library:
    name = NAMES[flavour]
    try:
        module = load(flavour)
        version = str(module.__version__)
        number = tuple(int(part) for part in version.split(".")[:2])
    except ModuleNotFoundError as error:
        missing = "is not installed" if error.name == flavour else f"cannot be loaded: {one_line(error)}"
        raise _Refused(f"{name} {missing}") from error
    except Exception as error:  # its libraries may be missing, broken, or for another CUDA, and it says so in many ways
        raise _Refused(f"{name} cannot be loaded: {one_line(error)}") from error
    if number < _OLDEST[flavour]:
        oldest = ".".join(str(part) for part in _OLDEST[flavour])
        raise _Refused(f"{name} {version} is older than {oldest}")
    return Library(flavour, version, module)
