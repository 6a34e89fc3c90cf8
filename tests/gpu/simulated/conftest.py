"""A simulated GPU. These tests run in processes that tests/gpu/test_simulated.py starts, and in no other."""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from app.gpu.device import Gpu
from tests.gpu.driver.build import VARIABLE
from tests.gpu.driver.control import SimulatedDriver
from tests.gpu.simulated.work import Work

collect_ignore_glob = [] if VARIABLE in os.environ else ["test_*.py"]


@pytest.fixture(autouse=True)
def driver() -> Iterator[SimulatedDriver]:
    """The driver as a new process finds it; nothing of it may be left over at the end, unless the device is lost."""
    if VARIABLE not in os.environ:
        pytest.skip("runs in a process of its own, started by tests/gpu/test_simulated.py")
    driver = SimulatedDriver(Path(os.environ[VARIABLE]))
    driver.restore()
    yield driver
    damaged, left_over = driver.n_damaged, {} if driver.is_lost else driver.live()
    driver.restore()
    assert not damaged, "something wrote beyond a block of memory"
    assert not left_over


@pytest.fixture
def gpu(driver: SimulatedDriver) -> Iterator[Gpu]:
    """The simulated GPU, closed at the end."""
    gpu = Gpu()
    yield gpu
    gpu.close()


@pytest.fixture
def work(gpu: Gpu) -> Iterator[Work]:
    """Something for the GPU to do."""
    with ExitStack() as owner:
        yield Work(gpu, owner)
