"""What is made when first asked for, and then kept; or why it could not be."""

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from app.core.errors import GpuError, GpuMemoryShort

T = TypeVar("T")


class Remembered(Generic[T]):
    """Something made at most once. Any thread may ask; others wait meanwhile."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._made: T | None = None
        self._failure: GpuError | None = None

    def get(self) -> T:
        """The thing.

        Raises:
            GpuError: it cannot be made; the same each time, but for GpuMemoryShort, after which it is tried again.
        """
        with self._lock:
            if self._failure is not None:
                # A new one each time: an error that is raised keeps alive whatever it passed through.
                raise type(self._failure)(*self._failure.args)
            if self._made is None:
                try:
                    self._made = self._make()
                except GpuMemoryShort:
                    raise
                except GpuError as error:
                    self._failure = type(error)(*error.args)
                    raise
            return self._made

    def take(self) -> T | None:
        """The thing, if it was made, to be given back; it is not remembered any more."""
        with self._lock:
            made, self._made = self._made, None
            return made
