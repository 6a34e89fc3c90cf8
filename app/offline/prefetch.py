"""Work ahead: the next items are made in another thread while the last one is used."""

import threading
from collections import deque
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Generic, Self, TypeVar

Item = TypeVar("Item")


class Prefetch(Generic[Item]):
    """Iterates over something in a thread of its own, a few items ahead of the one who takes them.

    Order is kept, an error comes where the item would have come, and the thread has ended when the block is left,
    however it is left. One thread takes items, and it alone enters and leaves.
    """

    def __init__(self, items: Iterable[Item], depth: int) -> None:
        """
        Args:
            depth: how many items may wait, at least 1.
        """
        self._items = items
        self._depth = depth
        self._changed = threading.Condition()
        self._waiting: deque[Item] = deque()
        self._is_stopped = False
        self._is_exhausted = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._fill, name="prefetch", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        with self._changed:
            self._is_stopped = True
            self._changed.notify_all()
        self._thread.join()
        self._waiting.clear()

    def __iter__(self) -> Iterator[Item]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._is_exhausted)
                if not self._waiting:
                    break
                item = self._waiting.popleft()
                self._changed.notify_all()
            yield item
        if self._error is not None:
            raise self._error

    def _fill(self) -> None:
        try:
            for item in self._items:
                with self._changed:
                    self._changed.wait_for(lambda: len(self._waiting) < self._depth or self._is_stopped)
                    if self._is_stopped:
                        return
                    self._waiting.append(item)
                    self._changed.notify_all()
        except BaseException as error:  # noqa: BLE001 - it is raised again where the items are taken
            self._error = error
        finally:
            with self._changed:
                self._is_exhausted = True
                self._changed.notify_all()
