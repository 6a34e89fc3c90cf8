"""A detector's graph as one inference runtime has loaded it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from numpy.typing import NDArray

Feeds = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One declared input or output of a graph."""

    name: str
    dtype: str
    """NumPy's name for it; ONNX's for what is no tensor, as `seq(tensor(float))`."""
    shape: tuple[int | None, ...]
    """None where the graph leaves it open."""

    def __str__(self) -> str:
        return f"{self.name} {self.dtype}[{','.join('?' if side is None else str(side) for side in self.shape)}]"


@dataclass(frozen=True, slots=True)
class Signature:
    """What a graph declares."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    metadata: Mapping[str, str]

    def __str__(self) -> str:
        inputs = ", ".join(str(spec) for spec in self.inputs) or "none"
        outputs = ", ".join(str(spec) for spec in self.outputs) or "none"
        return f"inputs: {inputs}; outputs: {outputs}"


class Network(Protocol):
    """A loaded graph. Any number of threads may run it."""

    @property
    def backend(self) -> str:
        """The runtime and what it runs on, as `onnxruntime-cpu`."""
        ...

    @property
    def signature(self) -> Signature: ...

    def run(self, output_names: Sequence[str] | None, feeds: Feeds) -> list[NDArray[Any]]:
        """One inference.

        Args:
            output_names: None: all, in the declared order.
            feeds: inputs by name.
        Returns:
            The outputs, none of them in half precision.
        Raises:
            BackendFailed: the runtime reported an error.
        """
        ...


def one_line(error: object) -> str:
    """The error's message without line breaks, shortened."""
    text = " ".join(str(error).split())
    return text if len(text) <= 300 else f"{text[:299]}…"
