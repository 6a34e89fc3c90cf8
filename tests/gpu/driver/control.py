"""What tests say to the simulated driver, and ask it."""

import ctypes
from collections.abc import Callable
from pathlib import Path

from app.gpu.device import Stream

KINDS = ("memory", "pinned", "stream", "module", "graph", "context")

_HostFunction = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class SimulatedDriver:
    """The simulated driver of this process. Any thread may use it."""

    def __init__(self, library: Path) -> None:
        """
        Args:
            library: the file that cuda.bindings has loaded, or will.
        """
        self._library = ctypes.CDLL(str(library))
        for name in ("live", "replays", "damaged"):
            getattr(self._library, f"simulated_{name}").restype = ctypes.c_longlong
        self._library.simulated_used_bytes.restype = ctypes.c_ulonglong
        self._library.simulated_enqueue.argtypes = [ctypes.c_void_p, _HostFunction, ctypes.c_void_p]
        self._host_functions: list[object] = []

    def fail(self, function: str, error: str, after_n_calls: int = 0) -> None:
        """Have one call fail.

        Args:
            function: as `app.gpu.device` calls it, such as "cuMemAlloc".
            error: name of a CUresult.
            after_n_calls: how many succeed before.
        """
        from cuda.bindings.driver import CUresult  # noqa: PLC0415 - not where this module is only imported

        is_known = self._library.simulated_fail(function.encode(), int(getattr(CUresult, error)), after_n_calls)
        assert is_known, f"the simulated driver has no function {function}"

    def lose_device(self) -> None:
        """Have every later call fail, those that free too, until `restore`."""
        self._library.simulated_lose_device()

    @property
    def is_lost(self) -> bool:
        return bool(self._library.simulated_is_lost())

    def restore(self) -> None:
        """Forget everything: as in a process that has just begun."""
        self._library.simulated_restore()
        self._host_functions.clear()

    def set_devices(self, n_devices: int) -> None:
        """How many GPUs there are, none or one, from the next `cuInit` on."""
        self._library.simulated_set_devices(n_devices)

    def live(self) -> dict[str, int]:
        """Of each kind of thing that must be given back, how many are not; kinds without any are left out."""
        counts = {kind: int(self._library.simulated_live(kind.encode())) for kind in KINDS}
        return {kind: count for kind, count in counts.items() if count}

    @property
    def used_bytes(self) -> int:
        """Of GPU memory."""
        return int(self._library.simulated_used_bytes())

    @property
    def n_replays(self) -> int:
        """How often a graph was started."""
        return int(self._library.simulated_replays())

    @property
    def n_damaged(self) -> int:
        """Blocks of memory beside which somebody wrote."""
        return int(self._library.simulated_damaged())

    def enqueue(self, stream: Stream, function: Callable[[], None]) -> None:
        """Give a stream something to do, or to record, as a library does with work of its own.

        Args:
            function: must not call the driver.
        """
        host_function = _HostFunction(lambda _data: function())
        self._host_functions.append(host_function)
        code = self._library.simulated_enqueue(stream.handle, host_function, None)
        assert code == 0, f"CUDA's error {code}"
