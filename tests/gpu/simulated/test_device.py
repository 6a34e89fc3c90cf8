"""app.gpu.device, from opening a GPU to losing it."""

import logging
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from typing import Any

import numpy as np
import pytest

from app.core.errors import GpuError, GpuFailed, GpuMemoryShort, GpuMissing
from app.gpu.device import Gpu, GpuMemory, call
from tests.gpu.driver.build import CAPABILITY, example_image
from tests.gpu.driver.control import SimulatedDriver
from tests.gpu.simulated.work import ALONE, Work, in_thread, number

TOTAL_BYTES = 1 << 20

Action = Callable[[Gpu, Work], object]


@pytest.fixture(autouse=True)
def _little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEXPATCH_SIMULATED_MEMORY", str(TOTAL_BYTES))


def record_nothing(_gpu: Gpu, work: Work) -> None:
    with work.stream.record() as graphs:
        pass
    graphs[0].close()


def record_and_replay(gpu: Gpu, work: Work) -> None:
    with work.stream.record() as graphs:
        work.give()
    with graphs[0] as graph:
        work.stream.replay(graph)
        work.stream.wait()


ACTIONS: dict[str, Action] = {
    "cuMemGetInfo": lambda gpu, _: gpu.memory(),
    "cuMemAlloc": lambda gpu, _: gpu.allocate(8),
    "cuMemHostAlloc": lambda gpu, _: gpu.allocate_pinned(8),
    "cuModuleLoadData": lambda gpu, _: gpu.load(example_image()),
    "cuModuleGetFunction": lambda _, work: work.module.kernel("add"),
    "cuStreamCreate": lambda gpu, _: gpu.open_stream(),
    "cuMemcpyHtoDAsync": lambda _, work: work.give(),
    "cuMemcpyDtoHAsync": lambda _, work: work.give(),
    "cuLaunchKernel": lambda _, work: work.give(),
    "cuStreamBeginCapture": record_nothing,
    "cuStreamEndCapture": record_nothing,
    "cuGraphInstantiate": record_nothing,
    "cuGraphLaunch": record_and_replay,
    "cuStreamSynchronize": lambda _, work: work.stream.wait(),
}
"""The driver's functions, and who calls them."""

CLOSED_BY = {
    "cuMemFree": "device",
    "cuMemFreeHost": "source",
    "cuModuleUnload": "module",
    "cuStreamDestroy": "stream",
}


def test_a_gpu_tells_its_name_and_capability(gpu: Gpu) -> None:
    assert (gpu.ordinal, gpu.name, gpu.capability) == (0, "Simulated GPU", CAPABILITY)


def test_all_share_one_context_and_give_it_back_once(driver: SimulatedDriver) -> None:
    first, second = Gpu(), Gpu()
    assert driver.live() == {"context": 2}
    first.close()
    first.close()
    assert driver.live() == {"context": 1}
    assert second.memory().total == TOTAL_BYTES
    second.close()
    assert driver.live() == {}


@pytest.mark.parametrize("ordinal", [-1, 1])
def test_a_gpu_that_the_driver_does_not_know_is_missing(driver: SimulatedDriver, ordinal: int) -> None:
    with pytest.raises(GpuMissing, match=f"no GPU number {ordinal}; the driver knows 1"):
        Gpu(ordinal)


def test_without_any_gpu_it_is_missing(driver: SimulatedDriver) -> None:
    driver.set_devices(0)
    with pytest.raises(GpuMissing, match="CUDA_ERROR_NO_DEVICE"):
        Gpu()


def test_without_cuda_python_the_gpu_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cuda.bindings", None)
    with pytest.raises(GpuMissing, match="pip install"):
        Gpu()


def test_a_driver_too_old_for_a_function_is_as_good_as_none() -> None:
    with pytest.raises(GpuMissing, match="cuMemAllocManaged"):
        call("cuMemAllocManaged", 8, 1)


@pytest.mark.parametrize(
    "function",
    [
        "cuInit",
        "cuDeviceGetCount",
        "cuDeviceGet",
        "cuDeviceGetAttribute",
        "cuDeviceGetName",
        "cuDevicePrimaryCtxRetain",
    ],
)
def test_a_gpu_that_cannot_be_opened_leaves_nothing(driver: SimulatedDriver, function: str) -> None:
    driver.fail(function, "CUDA_ERROR_UNKNOWN")
    with pytest.raises(GpuFailed, match=f"{function} says CUDA_ERROR_UNKNOWN"):
        Gpu()
    assert driver.live() == {}


def test_memory_is_counted(gpu: Gpu, driver: SimulatedDriver) -> None:
    assert gpu.memory() == GpuMemory(TOTAL_BYTES, TOTAL_BYTES)
    with gpu.allocate(1000), gpu.allocate(24), gpu.allocate_pinned(500):
        assert gpu.memory() == GpuMemory(TOTAL_BYTES - 1024, TOTAL_BYTES)
        assert driver.live() == {"memory": 2, "pinned": 1, "context": 1}
    assert gpu.memory().free == TOTAL_BYTES


def test_memory_that_does_not_suffice_is_told_and_can_be_freed(gpu: Gpu) -> None:
    with gpu.allocate(TOTAL_BYTES - 10):
        with pytest.raises(GpuMemoryShort, match="cuMemAlloc"):
            gpu.allocate(11)
        gpu.allocate(10).close()
    gpu.allocate(11).close()


def test_closing_twice_gives_back_once(gpu: Gpu, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "app.gpu.device")
    with gpu.allocate(8) as memory:
        memory.close()
    memory.close()
    assert not caplog.records


def test_what_a_block_opened_is_closed_when_it_raises(gpu: Gpu, driver: SimulatedDriver) -> None:
    with pytest.raises(ZeroDivisionError), gpu.allocate(8), gpu.allocate_pinned(8), gpu.open_stream():
        raise ZeroDivisionError
    assert driver.live() == {"context": 1}


def test_copies_and_kernels_are_done_in_order_once_waited_for(work: Work) -> None:
    work.give()
    assert not work.is_done()
    work.stream.wait()
    assert work.is_done()


def test_waiting_for_one_stream_waits_for_no_other(gpu: Gpu, work: Work) -> None:
    work.give()
    with gpu.open_stream() as other:
        other.wait()
    assert not work.is_done()


def test_parts_of_pinned_memory_are_copied(gpu: Gpu, work: Work) -> None:
    work.target.bytes[:] = 0
    with gpu.allocate(8) as memory:
        work.stream.upload(work.source, memory.address, 8, offset=3)
        work.stream.download(memory.address + 2, work.target, 6, offset=50)
        work.stream.wait()
    assert work.target.bytes.tolist() == [0] * 50 + [5, 6, 7, 8, 9, 10] + [0] * 8


@pytest.mark.parametrize("n_bytes", [Work.n_bytes + 1, 1 << 40])
def test_copies_beyond_memory_are_refused(work: Work, n_bytes: int) -> None:
    with pytest.raises(GpuFailed, match="cuMemcpyHtoDAsync says CUDA_ERROR_INVALID_VALUE"):
        work.stream.upload(work.source, work.device.address, n_bytes)
    with pytest.raises(GpuFailed, match="cuMemcpyDtoHAsync says CUDA_ERROR_INVALID_VALUE"):
        work.stream.download(work.device.address, work.target, n_bytes)


def test_kernels_get_their_grid_block_and_arguments(gpu: Gpu, work: Work) -> None:
    pair = np.array((1.75, -4), np.dtype([("first", np.float32), ("second", np.int32)]))
    with gpu.allocate(80) as memory, gpu.allocate_pinned(80) as target:
        arguments = [number(memory.address, np.uint64), number(200, np.uint8), pair, number(-(1 << 40), np.int64)]
        work.stream.launch(work.module.kernel("describe"), (2, 3, 4), (8, 16, 5), arguments)
        pair["second"] = 99  # too late: arguments are taken when a kernel is given
        work.stream.download(memory.address, target, 80)
        work.stream.wait()
        assert target.bytes.view(np.int64).tolist() == [2, 3, 4, 8, 16, 5, 200, 7, -4, -(1 << 40)]


def test_a_block_has_at_most_1024_threads(work: Work) -> None:
    with pytest.raises(GpuFailed, match="cuLaunchKernel says CUDA_ERROR_INVALID_VALUE"):
        work.stream.launch(work.module.kernel("add"), ALONE, (33, 32, 1), [number(0, np.uint64)] * 3)


def test_a_kernel_that_is_not_in_the_module_is_told(work: Work) -> None:
    with pytest.raises(GpuFailed, match="CUDA_ERROR_NOT_FOUND"):
        work.module.kernel("subtract")


def test_an_image_that_is_none_is_told(gpu: Gpu) -> None:
    with pytest.raises(GpuFailed, match="cuModuleLoadData says CUDA_ERROR_INVALID_IMAGE"):
        gpu.load(b"\x7fELF\0")


def test_what_is_recorded_is_done_only_when_replayed(work: Work, driver: SimulatedDriver) -> None:
    with work.stream.record() as graphs:
        work.give()
    (graph,) = graphs
    work.stream.wait()
    assert not work.is_done()
    with graph:
        for first in (0, 100):
            work.source.bytes[:] = np.arange(first, first + Work.n_bytes)
            work.stream.replay(graph)
            assert not work.is_done()
            work.stream.wait()
            assert work.is_done()
    assert driver.n_replays == 2


def test_a_graph_keeps_the_arguments_with_which_it_was_recorded(work: Work) -> None:
    added = number(3, np.uint8)
    work.stream.upload(work.source, work.device.address, Work.n_bytes)
    with work.stream.record() as graphs:
        work.launch(added)
        added[...] = 50
    with graphs[0] as graph:
        work.stream.replay(graph)
        work.stream.replay(graph)
        work.stream.download(work.device.address, work.target, Work.n_bytes)
        work.stream.wait()
    assert work.is_done(added=6)


def test_a_graph_may_be_closed_before_its_work_is_done(work: Work) -> None:
    with work.stream.record() as graphs:
        work.give()
    with graphs[0] as graph:
        work.stream.replay(graph)
    work.stream.wait()
    assert work.is_done()


def test_what_is_given_back_while_recording_is_given_back_afterwards(
    gpu: Gpu, work: Work, driver: SimulatedDriver
) -> None:
    """As when Python collects, of all times now, what somebody has let go of."""
    memory = gpu.allocate(100)
    before = driver.live()["memory"]
    with work.stream.record() as graphs:
        work.give(3)
        memory.close()
        assert driver.live()["memory"] == before
    assert driver.live()["memory"] == before - 1
    with graphs[0] as graph:
        work.stream.replay(graph)
        work.stream.wait()
    assert work.is_done(3)


def test_other_threads_give_back_meanwhile(gpu: Gpu, work: Work, driver: SimulatedDriver) -> None:
    memory = gpu.allocate(100)
    before = driver.live()["memory"]
    with work.stream.record() as graphs:
        in_thread(memory.close)
        assert driver.live()["memory"] == before - 1
    graphs[0].close()


def test_an_abandoned_recording_leaves_nothing(work: Work, driver: SimulatedDriver) -> None:
    def give_and_raise() -> None:
        work.give()
        raise ZeroDivisionError

    before = driver.live()
    with pytest.raises(ZeroDivisionError), work.stream.record() as graphs:
        give_and_raise()
    assert not graphs
    assert driver.live() == before
    work.stream.wait()
    assert not work.is_done()
    work.give()
    work.stream.wait()
    assert work.is_done()


@pytest.mark.parametrize(
    "spoil",
    [lambda gpu, _: gpu.allocate(8), lambda gpu, _: gpu.allocate_pinned(8), lambda _, work: work.stream.wait()],
    ids=["allocate", "allocate pinned", "wait"],
)
def test_a_spoilt_recording_leaves_nothing(gpu: Gpu, work: Work, driver: SimulatedDriver, spoil: Action) -> None:
    before = driver.live()
    with pytest.raises(GpuFailed, match="CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED"), work.stream.record():
        spoil(gpu, work)
    invalidated = pytest.raises(GpuFailed, match="CUDA_ERROR_STREAM_CAPTURE_INVALIDATED")
    with invalidated, work.stream.record() as graphs, suppress(GpuFailed):
        spoil(gpu, work)
    assert not graphs
    assert driver.live() == before
    record_and_replay(gpu, work)
    assert work.is_done()


def test_only_the_thread_that_records_is_kept_from_allocating(gpu: Gpu, work: Work) -> None:
    with work.stream.record() as graphs:
        in_thread(lambda: gpu.allocate(8).close())
        work.give()
    graphs[0].close()


@pytest.mark.parametrize("function", ACTIONS)
def test_each_failure_is_told_and_leaves_nothing(gpu: Gpu, work: Work, driver: SimulatedDriver, function: str) -> None:
    before = driver.live()
    driver.fail(function, "CUDA_ERROR_ILLEGAL_INSTRUCTION")
    with pytest.raises(GpuFailed, match=f"^The GPU failed: {function} says CUDA_ERROR_ILLEGAL_INSTRUCTION.$"):
        ACTIONS[function](gpu, work)
    assert driver.live() == before
    record_and_replay(gpu, work)
    assert work.is_done()


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ("CUDA_ERROR_OUT_OF_MEMORY", GpuMemoryShort),
        ("CUDA_ERROR_NO_DEVICE", GpuMissing),
        ("CUDA_ERROR_STUB_LIBRARY", GpuMissing),
        ("CUDA_ERROR_SYSTEM_DRIVER_MISMATCH", GpuMissing),
        ("CUDA_ERROR_ECC_UNCORRECTABLE", GpuFailed),
        ("CUDA_ERROR_UNKNOWN", GpuFailed),
    ],
)
def test_the_drivers_errors_become_ours(driver: SimulatedDriver, error: str, kind: type[GpuError]) -> None:
    driver.fail("cuInit", error)
    with pytest.raises(kind) as caught:
        Gpu()
    assert type(caught.value) is kind


@pytest.mark.parametrize("error", ["CUDA_ERROR_UNKNOWN", "CUDA_ERROR_NO_DEVICE", "CUDA_ERROR_OUT_OF_MEMORY"])
@pytest.mark.parametrize("function", CLOSED_BY)
def test_what_cannot_be_given_back_is_not_an_error(
    driver: SimulatedDriver, work: Work, caplog: pytest.LogCaptureFixture, function: str, error: str
) -> None:
    caplog.set_level(logging.DEBUG, "app.gpu.device")
    driver.fail(function, error)
    getattr(work, CLOSED_BY[function]).close()
    assert [function in str(vars(record)["reason"]) for record in caplog.records] == [True]
    driver.restore()


@pytest.mark.parametrize("error", ["CUDA_ERROR_UNKNOWN", "CUDA_ERROR_NO_DEVICE"])
def test_a_context_that_cannot_be_given_back_is_not_an_error(driver: SimulatedDriver, error: str) -> None:
    gpu = Gpu()
    driver.fail("cuDevicePrimaryCtxRelease", error)
    gpu.close()
    driver.restore()


@pytest.mark.parametrize("function", ACTIONS)
def test_a_lost_device_is_told_by_everything(gpu: Gpu, work: Work, driver: SimulatedDriver, function: str) -> None:
    driver.lose_device()
    with pytest.raises(GpuFailed, match="CUDA_ERROR_LAUNCH_FAILED"):
        ACTIONS[function](gpu, work)


def test_all_of_a_lost_device_can_be_closed(driver: SimulatedDriver) -> None:
    gpu = Gpu()
    owned: list[Any] = [gpu.allocate(8), gpu.allocate_pinned(8), gpu.load(example_image()), gpu.open_stream()]
    with owned[-1].record() as graphs:
        pass
    driver.lose_device()
    for thing in (*graphs, *owned, gpu):
        thing.close()


def test_a_device_lost_before_a_recording_ends_is_told(work: Work, driver: SimulatedDriver) -> None:
    def give_and_lose() -> None:
        work.give()
        driver.lose_device()

    with pytest.raises(GpuFailed, match="cuStreamEndCapture"), work.stream.record() as graphs:
        give_and_lose()
    assert not graphs


def test_a_device_lost_while_recording_is_told_by_whoever_finds_out(work: Work, driver: SimulatedDriver) -> None:
    def lose_and_give() -> None:
        driver.lose_device()
        work.give()

    with pytest.raises(GpuFailed, match="cuMemcpyHtoDAsync"), work.stream.record() as graphs:
        lose_and_give()
    assert not graphs


@pytest.mark.parametrize("function", ["cuMemcpyHtoDAsync", "cuStreamBeginCapture", "cuStreamSynchronize"])
def test_a_thread_must_make_the_gpu_its_own(gpu: Gpu, work: Work, function: str) -> None:
    def act() -> None:
        ACTIONS[function](gpu, work)

    def act_once_made_current() -> None:
        gpu.make_current()
        act()

    with pytest.raises(GpuFailed, match=f"{function} says CUDA_ERROR_INVALID_CONTEXT"):
        in_thread(act)
    in_thread(act_once_made_current)


def test_any_thread_may_open_and_close(gpu: Gpu, driver: SimulatedDriver) -> None:
    before = driver.live()
    owned: list[Any] = []
    in_thread(lambda: owned.extend([gpu.allocate(8), gpu.allocate_pinned(8), gpu.open_stream(), gpu.memory()]))
    for thing in owned[:-1]:
        in_thread(thing.close)
    assert driver.live() == before


def test_a_thread_does_what_another_prepared(gpu: Gpu, work: Work) -> None:
    with work.stream.record() as graphs:
        work.give()

    def replay() -> None:
        gpu.make_current()
        work.stream.replay(graphs[0])
        work.stream.wait()

    in_thread(replay)
    graphs[0].close()
    assert work.is_done()


def test_threads_work_at_once_on_streams_of_their_own(gpu: Gpu) -> None:
    def work_alone(first: int) -> bool:
        gpu.make_current()
        is_done = []
        with ExitStack() as owner:
            work = Work(gpu, owner)
            with work.stream.record() as graphs:
                work.give(first)
            graph = owner.enter_context(graphs[0])
            for shift in range(20):
                work.source.bytes[:] += np.uint8(shift)
                work.stream.replay(graph)
                work.stream.wait()
                is_done.append(work.is_done(first))
        return all(is_done)

    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(work_alone, range(1, 9)))


def test_bytes_are_copied_within_the_gpus_memory(work: Work, gpu: Gpu) -> None:
    with gpu.allocate(work.n_bytes) as other:
        work.stream.upload(work.source, work.device.address, work.n_bytes)
        work.stream.copy(work.device.address, other.address, work.n_bytes)
        work.stream.download(other.address, work.target, work.n_bytes)
        work.stream.wait()
        assert work.is_done(added=0)
