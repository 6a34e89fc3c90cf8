"""Memory that grows to what was needed most, and stays; and what lies where in it."""

from collections.abc import Callable
from typing import Generic, Protocol, TypeVar


class Block(Protocol):
    """Some bytes somewhere."""

    @property
    def n_bytes(self) -> int: ...

    def close(self) -> None: ...


BlockType = TypeVar("BlockType", bound=Block)

_GRAIN = 4096
_ALIGNED_BYTES = 512
"""Where anything begins in GPU memory; TensorRT wants 256."""


class Layout:
    """Places in one block of memory, one after the other."""

    def __init__(self) -> None:
        self.n_bytes = 0

    def place(self, n_bytes: int) -> int:
        """Where so many bytes begin."""
        offset = self.n_bytes
        self.n_bytes += aligned(n_bytes)
        return offset


def aligned(n_bytes: int) -> int:
    """Bytes that so many take, so that what comes after them begins where anything may."""
    return -(-n_bytes // _ALIGNED_BYTES) * _ALIGNED_BYTES


class Growing(Generic[BlockType]):
    """One block, replaced by a larger one when it does not suffice; what was in it is lost then."""

    def __init__(self, allocate: Callable[[int], BlockType]) -> None:
        """
        Args:
            allocate: takes the number of bytes; raises GpuMemoryShort.
        """
        self._allocate = allocate
        self._block: BlockType | None = None

    @property
    def n_bytes(self) -> int:
        """Held now."""
        return self._block.n_bytes if self._block else 0

    def suffices(self, n_bytes: int) -> bool:
        """Whether so many bytes are held."""
        return n_bytes <= self.n_bytes

    def holding(self, n_bytes: int) -> BlockType:
        """The block, of at least so many bytes.

        Raises:
            GpuMemoryShort: there are not so many.
        """
        if self._block is None or self._block.n_bytes < n_bytes:
            self.close()
            self._block = self._allocate(max(_GRAIN, -(-n_bytes // _GRAIN) * _GRAIN))
        return self._block

    def close(self) -> None:
        """Give it back; the next `holding` begins anew."""
        block, self._block = self._block, None
        if block is not None:
            block.close()
