"""GPU memory that goes round: blocks of one size, used again once nobody holds them any more."""

from collections import deque

from app.gpu.device import DeviceMemory, Gpu


class Lease:
    """A block of GPU memory, held for as long as somebody holds this."""

    __slots__ = ("_memory", "_pool", "address")

    def __init__(self, pool: "MemoryPool", memory: DeviceMemory) -> None:
        self._pool = pool
        self._memory = memory
        self.address = memory.address

    def __del__(self) -> None:
        self._pool.give_back(self._memory)


class MemoryPool:
    """Blocks of one size: as many as were ever held at a time. Any thread may let go of one."""

    def __init__(self, gpu: Gpu, n_bytes: int) -> None:
        """
        Args:
            n_bytes: of each block.
        """
        self._gpu = gpu
        self._free: deque[DeviceMemory] = deque()
        self._is_closed = False
        self.n_bytes = n_bytes
        self.n_blocks = 0
        """Held or free."""

    @property
    def device_bytes(self) -> int:
        """GPU memory of all blocks."""
        return self.n_blocks * self.n_bytes

    def take(self) -> Lease:
        """A block with anything in it.

        Raises:
            GpuMemoryShort: there is none free, and no room for another one.
            GpuFailed: the GPU failed.
        """
        try:
            memory = self._free.pop()
        except IndexError:
            memory = self._gpu.allocate(self.n_bytes)
            self.n_blocks += 1
        return Lease(self, memory)

    def give_back(self, memory: DeviceMemory) -> None:
        """What a lease does at its end."""
        self._free.append(memory)
        if self._is_closed:
            self._free_all()

    def close(self) -> None:
        """Give back what is free, and whatever is held as soon as it is not any more."""
        self._is_closed = True
        self._free_all()

    def _free_all(self) -> None:
        # Another thread may do the same: each block is popped, and so freed, once.
        while self._free:
            try:
                memory = self._free.pop()
            except IndexError:
                return
            memory.close()
