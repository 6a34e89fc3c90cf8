"""One run of a network on the GPU with arrays of the processor: to find out what kind of detector it is."""

from contextlib import ExitStack, closing
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.core.errors import BackendFailed, GpuError, GpuMemoryShort
from app.detect.gpu.network import DeviceNetwork
from app.detect.network import Feeds
from app.gpu.device import Gpu


def run_on_arrays(gpu: Gpu, network: DeviceNetwork, feeds: Feeds) -> list[NDArray[Any]]:
    """Run a network once.

    Args:
        feeds: all inputs by name.
    Returns:
        All outputs in the declared order, none in half precision.
    Raises:
        BackendFailed: it does not take the inputs, or the GPU failed.
        GpuMemoryShort: there is not enough memory.
    """
    try:
        with ExitStack() as stack:
            return _run(gpu, network, feeds, stack)
    except GpuMemoryShort:
        raise
    except GpuError as error:
        raise BackendFailed(str(error)) from error


def _run(gpu: Gpu, network: DeviceNetwork, feeds: Feeds, stack: ExitStack) -> list[NDArray[Any]]:
    stream = stack.enter_context(gpu.open_stream())
    bound = stack.enter_context(closing(network.prepare({name: feed.shape for name, feed in feeds.items()}, stream)))
    addresses: dict[str, int] = {}
    for name, feed in feeds.items():
        memory = stack.enter_context(gpu.allocate(feed.nbytes))
        staged = stack.enter_context(gpu.allocate_pinned(feed.nbytes))
        staged.bytes[:] = np.ascontiguousarray(feed).reshape(-1).view(np.uint8)
        stream.upload(staged, memory.address, feed.nbytes)
        addresses[name] = memory.address
    for tensor in bound.outputs:
        addresses[tensor.name] = stack.enter_context(gpu.allocate(max(1, tensor.n_bytes))).address
    scratch = stack.enter_context(gpu.allocate(max(1, bound.scratch_bytes)))
    bound.bind(addresses, scratch.address)
    bound.enqueue()
    staged_outputs = []
    for tensor in bound.outputs:
        staged = stack.enter_context(gpu.allocate_pinned(max(1, tensor.n_bytes)))
        stream.download(addresses[tensor.name], staged, tensor.n_bytes)
        staged_outputs.append(staged)
    stream.wait()
    outputs = []
    for tensor, staged in zip(bound.outputs, staged_outputs, strict=True):
        values = staged.bytes[: tensor.n_bytes].view(tensor.dtype).reshape(tensor.shape)
        outputs.append(values.astype(np.float32) if tensor.dtype == "float16" else values.copy())
    return outputs
