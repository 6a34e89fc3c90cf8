"""What NVML tells of GPUs."""

import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from app.telemetry.gpu import watch_gpus


class FakeNvml:
    """Two GPUs, the second of which tells less."""

    NVML_TEMPERATURE_GPU = 0

    class NVMLError(Exception):
        pass

    def __init__(self, n_gpus: int = 2) -> None:
        self.n_gpus = n_gpus
        self.is_lost = False

    def nvmlInit(self) -> None:  # noqa: N802 - the library's own names
        pass

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        if self.is_lost:
            raise self.NVMLError("GPU is lost")
        return self.n_gpus

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802
        return index

    def nvmlDeviceGetName(self, handle: int) -> str:  # noqa: N802
        return ("L4", "T4")[handle]

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> Any:  # noqa: N802
        return SimpleNamespace(used=3 * 2**30, total=24 * 2**30)

    def nvmlDeviceGetUtilizationRates(self, handle: int) -> Any:  # noqa: N802
        return SimpleNamespace(gpu=37, memory=5)

    def nvmlDeviceGetTemperature(self, handle: int, kind: int) -> int:  # noqa: N802
        return 55

    def nvmlDeviceGetPowerUsage(self, handle: int) -> int:  # noqa: N802
        if handle == 1:
            raise self.NVMLError("Not Supported")
        return 42_500


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], None]:
    return lambda module: monkeypatch.setitem(sys.modules, "pynvml", module)


def test_each_gpu_tells_what_it_can(install: Callable[[Any], None]) -> None:
    install(FakeNvml())
    registry = CollectorRegistry()
    assert watch_gpus(registry)

    def value(name: str, gpu: str, model: str) -> float | None:
        return registry.get_sample_value(f"flexpatch_gpu_{name}", {"gpu": gpu, "name": model})

    assert value("memory_used_bytes", "0", "L4") == 3 * 2**30
    assert value("memory_total_bytes", "1", "T4") == 24 * 2**30
    assert value("utilization_ratio", "0", "L4") == 0.37
    assert value("temperature_celsius", "0", "L4") == 55
    assert value("power_watts", "0", "L4") == 42.5
    assert value("power_watts", "1", "T4") is None


def test_a_gpu_that_is_lost_leaves_the_other_metrics_alone(install: Callable[[Any], None]) -> None:
    nvml = FakeNvml()
    install(nvml)
    registry = CollectorRegistry()
    watch_gpus(registry)
    nvml.is_lost = True
    assert all(not family.samples for family in registry.collect())


@pytest.mark.parametrize("module", [None, FakeNvml(0)])
def test_without_a_gpu_nothing_is_watched(install: Callable[[Any], None], module: Any) -> None:
    install(module)
    registry = CollectorRegistry()
    assert not watch_gpus(registry)
    assert list(registry.collect()) == []
