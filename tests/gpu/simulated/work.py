"""Something for a GPU to do."""

import threading
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.gpu.device import Gpu
from tests.gpu.driver.build import example_image

ALONE = (1, 1, 1)


def number(value: int, dtype: type[np.generic]) -> NDArray[Any]:
    """A kernel's argument."""
    return np.array(value, dtype)


class Work:
    """A round trip: bytes go to the GPU, a number is added to each, and they come back."""

    n_bytes = 64

    def __init__(self, gpu: Gpu, owner: ExitStack) -> None:
        """
        Args:
            owner: closes what is opened here.
        """
        self.source = owner.enter_context(gpu.allocate_pinned(self.n_bytes))
        self.device = owner.enter_context(gpu.allocate(self.n_bytes))
        self.target = owner.enter_context(gpu.allocate_pinned(self.n_bytes))
        self.module = owner.enter_context(gpu.load(example_image()))
        self.stream = owner.enter_context(gpu.open_stream())
        self.source.bytes[:] = np.arange(self.n_bytes)

    def give(self, added: int = 1) -> None:
        """Put the round trip on the stream."""
        self.stream.upload(self.source, self.device.address, self.n_bytes)
        self.launch(number(added, np.uint8))
        self.stream.download(self.device.address, self.target, self.n_bytes)

    def launch(self, added: NDArray[Any]) -> None:
        """Put only the kernel on the stream."""
        arguments = [number(self.device.address, np.uint64), number(self.n_bytes, np.int32), added]
        self.stream.launch(self.module.kernel("add"), ALONE, ALONE, arguments)

    def is_done(self, added: int = 1) -> bool:
        """Whether the bytes have come back as they should."""
        return np.array_equal(self.target.bytes, self.source.bytes + np.uint8(added))


def in_thread(function: Callable[[], object]) -> None:
    """Run a function in a thread of its own, and raise what it raises."""
    errors: list[BaseException] = []

    def run() -> None:
        try:
            function()
        except BaseException as error:  # noqa: BLE001 - raised again below
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    for error in errors:
        raise error
