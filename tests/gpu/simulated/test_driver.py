"""The simulated driver tells mistakes that a GPU's driver may leave unnoticed."""

import ctypes

import numpy as np
import pytest

from app.core.errors import GpuFailed
from app.gpu.device import Gpu, call
from tests.gpu.driver.control import SimulatedDriver
from tests.gpu.simulated.work import Work, number

NEW_BYTE = 0xCD


def test_new_memory_holds_no_zeros(gpu: Gpu) -> None:
    with gpu.allocate(5) as memory, gpu.allocate_pinned(7) as pinned:
        assert ctypes.string_at(memory.address, 5) == bytes([NEW_BYTE] * 5)
        assert pinned.bytes.tolist() == [NEW_BYTE] * 7


@pytest.mark.parametrize("offset", [-1, Work.n_bytes], ids=["before", "behind"])
def test_writing_beside_memory_is_noticed(gpu: Gpu, driver: SimulatedDriver, offset: int) -> None:
    with gpu.allocate(Work.n_bytes) as memory:
        ctypes.memset(memory.address + offset, 0, 1)
    assert driver.n_damaged == 1
    driver.restore()


def test_a_kernel_that_writes_beside_memory_loses_the_device(work: Work, driver: SimulatedDriver) -> None:
    work.n_bytes += 1
    work.launch(number(1, np.uint8))
    with pytest.raises(GpuFailed, match="CUDA_ERROR_ILLEGAL_ADDRESS"):
        work.stream.wait()
    assert driver.is_lost
    driver.restore()


def test_freeing_memory_before_its_work_is_done_loses_the_device(work: Work, driver: SimulatedDriver) -> None:
    work.give()
    work.source.close()
    with pytest.raises(GpuFailed, match="CUDA_ERROR_ILLEGAL_ADDRESS"):
        work.stream.wait()
    assert driver.is_lost


def test_unloading_a_kernel_before_it_has_run_loses_the_device(work: Work, driver: SimulatedDriver) -> None:
    work.give()
    work.module.close()
    with pytest.raises(GpuFailed, match="CUDA_ERROR_ILLEGAL_INSTRUCTION"):
        work.stream.wait()
    assert driver.is_lost


def test_what_was_freed_is_not_freed_again(gpu: Gpu) -> None:
    with gpu.allocate(1) as memory:
        pass
    with pytest.raises(GpuFailed, match="CUDA_ERROR_INVALID_VALUE"):
        call("cuMemFree", memory.address)


def test_a_stream_closed_before_its_work_is_done_does_it(work: Work) -> None:
    work.give()
    work.stream.close()
    assert work.is_done()


def test_functions_of_other_libraries_wait_their_turn(work: Work, driver: SimulatedDriver) -> None:
    seen: list[bool] = []
    driver.enqueue(work.stream, lambda: seen.append(work.is_done()))
    work.give()
    driver.enqueue(work.stream, lambda: seen.append(work.is_done()))
    assert not seen
    work.stream.wait()
    assert seen == [False, True]


def test_functions_of_other_libraries_are_recorded(work: Work, driver: SimulatedDriver) -> None:
    calls: list[None] = []
    with work.stream.record() as graphs:
        driver.enqueue(work.stream, lambda: calls.append(None))
    with graphs[0] as graph:
        work.stream.replay(graph)
        work.stream.replay(graph)
        work.stream.wait()
    assert len(calls) == 2


def test_only_functions_that_exist_can_fail(driver: SimulatedDriver) -> None:
    with pytest.raises(AssertionError, match="cuMemAllocate"):
        driver.fail("cuMemAllocate", "CUDA_ERROR_LAUNCH_FAILED")
