"""Memory, load and temperature of NVIDIA GPUs, read when Prometheus asks."""

import logging
from collections.abc import Iterator
from typing import Any

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

logger = logging.getLogger(__name__)

_LABELS = ("gpu", "name")


def watch_gpus(registry: CollectorRegistry) -> bool:
    """Publish what NVML tells of each GPU; says whether there is one to be told of."""
    try:
        import pynvml  # noqa: PLC0415 - only who has a GPU has it

        pynvml.nvmlInit()
        if pynvml.nvmlDeviceGetCount() == 0:
            return False
    except Exception as error:  # noqa: BLE001 - without driver or library there is nothing to watch
        logger.debug("no GPU to watch", extra={"reason": str(error)})
        return False
    registry.register(GpuCollector(pynvml))
    return True


class GpuCollector(Collector):
    """Asks NVML at every scrape. What a GPU does not tell is left out."""

    def __init__(self, nvml: Any) -> None:
        """
        Args:
            nvml: the module `pynvml`, initialised.
        """
        self._nvml = nvml

    def collect(self) -> Iterator[Metric]:
        """One sample of each for every GPU."""
        families = gpu_families()
        try:
            handles = [self._nvml.nvmlDeviceGetHandleByIndex(i) for i in range(self._nvml.nvmlDeviceGetCount())]
        except self._nvml.NVMLError as error:
            logger.warning("GPUs cannot be asked", extra={"reason": str(error)})
            handles = []
        for index, handle in enumerate(handles):
            labels = (str(index), self._told(self._nvml.nvmlDeviceGetName, handle) or "unknown")
            for family, number in zip(families, self._numbers(handle), strict=True):
                if number is not None:
                    family.add_metric(labels, number)
        yield from families

    def _numbers(self, handle: Any) -> tuple[float | None, ...]:
        nvml = self._nvml
        memory = self._told(nvml.nvmlDeviceGetMemoryInfo, handle)
        load = self._told(nvml.nvmlDeviceGetUtilizationRates, handle)
        milliwatts = self._told(nvml.nvmlDeviceGetPowerUsage, handle)
        return (
            memory.used if memory else None,
            memory.total if memory else None,
            load.gpu / 100 if load else None,
            self._told(nvml.nvmlDeviceGetTemperature, handle, nvml.NVML_TEMPERATURE_GPU),
            milliwatts / 1000 if milliwatts is not None else None,
        )

    def _told(self, ask: Any, *arguments: Any) -> Any:
        """What NVML answers; None if this GPU does not tell."""
        try:
            return ask(*arguments)
        except self._nvml.NVMLError:
            return None

    def describe(self) -> Iterator[Metric]:
        """Without asking NVML."""
        yield from gpu_families()


def gpu_families() -> tuple[GaugeMetricFamily, ...]:
    """The metrics, without samples."""
    return (
        GaugeMetricFamily("flexpatch_gpu_memory_used_bytes", "GPU memory in use, by anyone.", labels=_LABELS),
        GaugeMetricFamily("flexpatch_gpu_memory_total_bytes", "GPU memory that there is.", labels=_LABELS),
        GaugeMetricFamily(
            "flexpatch_gpu_utilization_ratio", "Share of time in which the GPU was computing, 0 to 1.", labels=_LABELS
        ),
        GaugeMetricFamily("flexpatch_gpu_temperature_celsius", "Temperature of the GPU.", labels=_LABELS),
        GaugeMetricFamily("flexpatch_gpu_power_watts", "Power that the GPU takes.", labels=_LABELS),
    )
