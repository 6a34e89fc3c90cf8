"""A network on a GPU, as the inference runtimes have it: loaded once, run by any number of workers at a time."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Protocol

import numpy as np

from app.core.types import Size
from app.detect.network import Signature
from app.gpu.device import Stream

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class DeviceTensor:
    """One input or output for given input shapes, without its memory."""

    name: str
    dtype: str
    """NumPy's name."""
    shape: Shape

    @property
    def n_bytes(self) -> int:
        return prod(self.shape) * np.dtype(self.dtype).itemsize


class BoundNetwork(Protocol):
    """A network made ready for inputs of certain shapes, on one stream. Used by one thread at a time."""

    @property
    def outputs(self) -> tuple[DeviceTensor, ...]:
        """In the declared order."""
        ...

    @property
    def scratch_bytes(self) -> int:
        """GPU memory that it needs while it runs."""
        ...

    def bind(self, addresses: Mapping[str, int], scratch: int) -> None:
        """Say where inputs and outputs lie, by name, and the memory that it may use.

        Raises:
            BackendFailed: the runtime does not take them.
        """
        ...

    def enqueue(self) -> None:
        """Have the stream run it once; the outputs are there when the stream has got so far.

        Raises:
            BackendFailed: the runtime reported an error.
        """
        ...

    @property
    def is_recordable(self) -> bool:
        """Whether `enqueue` may be recorded into a graph."""
        ...

    def close(self) -> None: ...


class DeviceNetwork(Protocol):
    """A network whose weights are in GPU memory. Any thread may ask."""

    @property
    def backend(self) -> str: ...

    @property
    def signature(self) -> Signature: ...

    @property
    def max_batch(self) -> int | None:
        """Canvases that it takes at once, at most; None: as many as memory allows."""
        ...

    @property
    def max_size(self) -> Size | None:
        """Largest width and largest height that it takes; None: any."""
        ...

    def prepare(self, shapes: Mapping[str, Shape], stream: Stream) -> BoundNetwork:
        """Make it ready for inputs of these shapes, by name.

        Raises:
            BackendFailed: it does not take them.
            GpuMemoryShort: the GPU has not enough memory for it.
        """
        ...

    def close(self) -> None: ...
