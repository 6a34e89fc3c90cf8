"""From a model file to a detector on the best backend of this machine."""

import logging
import statistics
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from app.core.clock import Clock
from app.core.errors import BackendFailed, EngineNotBuilt, EngineUnfit, GpuError
from app.core.types import InputSizes, Size
from app.detect.backends import (
    ORDER,
    Backend,
    BackendEvents,
    BackendName,
    Candidate,
    DetectorModel,
    Loaded,
    ModelFacts,
    NotYet,
    OnProcessor,
)
from app.detect.cores import available_cores
from app.detect.detector import DetectorChoices, NetworkDetector
from app.detect.gpu.detector import GpuModel
from app.detect.gpu.kernels import DetectionKernels
from app.detect.gpu.network import DeviceNetwork
from app.detect.gpu.on_gpu import OnGpu
from app.detect.gpu.onnx import OnnxDeviceNetwork
from app.detect.loader import ENGINE_SUFFIXES
from app.detect.onnx import load_on_processor
from app.detect.openvino import OpenVinoNetwork, check_is_made_for_this
from app.detect.tensorrt.cache import EngineCache
from app.detect.tensorrt.engine_file import EngineFile, read_engine
from app.detect.tensorrt.library import Library, find_library
from app.detect.tensorrt.on_demand import EngineBuilds, OnDone
from app.detect.tensorrt.options import USUAL_CANVAS, EngineOptions
from app.detect.tensorrt.runtime import TensorRtNetwork
from app.gpu.machine import GpuMachine

logger = logging.getLogger(__name__)

_TIMED_RUNS = 5


@dataclass(frozen=True)
class BackendChoices:
    """What an operator chose about backends."""

    engine_folder: Path
    engine: EngineOptions
    backend: Backend = "auto"
    threads: int | None = None
    """Of the processor, for one inference; None: all available cores."""
    shares_batches: bool = False
    """On a GPU, canvases of several users go together."""
    reserve_bytes: int = 0
    """GPU memory that users leave free."""
    waits_for_engines: bool = False
    """Rather than have another backend serve while one is built."""


class ModelOpener:
    """Makes models of files. Any thread may ask."""

    def __init__(
        self,
        choices: BackendChoices,
        machine: GpuMachine,
        builds: EngineBuilds,
        clock: Clock,
        events: BackendEvents | None = None,
    ) -> None:
        self.machine = machine
        self._choices = choices
        self._builds = builds
        self._clock = clock
        self._events = events
        self._lock = threading.Lock()
        self._built: dict[Path, str] = {}
        """Models whose engines were built, or are being built; and why there is none, where that failed."""

    def open(self, path: Path, choices: DetectorChoices | None = None) -> DetectorModel:
        """A model, recognised, with at least one backend that can run it.

        Raises:
            ModelError: the file is no detector, or an engine that does not fit.
            GpuError: an engine was given, or a backend demanded, that needs a GPU, and there is none that can be used.
            BackendFailed: the backend that was demanded does not work.
        """
        choices = choices or DetectorChoices()
        if path.suffix.lower() in ENGINE_SUFFIXES:
            return self._open_engine(path, choices)
        return self._open_onnx(path, choices)

    @property
    def may_use_gpu(self) -> bool:
        """Whether models may come to run on a GPU, now or once an engine is built."""
        names = _names(self._choices.backend)
        return bool({"tensorrt", "onnxruntime-cuda"} & set(names)) and self._has_gpu()

    def close(self) -> None:
        """End all that is done in the background; models and detectors must have been closed."""
        self._builds.close()
        self.machine.close()

    def _open_onnx(self, path: Path, choices: DetectorChoices) -> DetectorModel:
        reference = load_on_processor(path, choices, self._choices.threads)
        loads: Mapping[BackendName, Callable[[], Loaded]] = {
            "tensorrt": partial(self._on_tensorrt, path, choices),
            "onnxruntime-cuda": partial(self._on_cuda, path, choices),
            "openvino": partial(self._on_openvino, path, choices, reference),
            "onnxruntime-cpu": partial(OnProcessor, reference),
        }
        wanted = self._choices.backend
        names = _names(wanted)
        candidates = [Candidate(name, loads[name]) for name in names]
        model = DetectorModel(
            self._facts(reference, names), candidates, self._events, is_shared=self._choices.shares_batches
        )
        found = model.first_usable()
        refusals = model.refusals()
        if wanted != "auto" and wanted in refusals:
            raise BackendFailed(f"The backend {wanted} cannot be used: {refusals[wanted].removesuffix('.')}.")
        serving = names[found[0]] if found else "none"
        not_taken = "; ".join(f"{name}: {reason}" for name, reason in refusals.items())
        logger.info("detector opened", extra={"model": model.name, "backend": serving, "not_taken": not_taken})
        return model

    def _facts(self, reference: NetworkDetector, names: Sequence[BackendName]) -> ModelFacts:
        """What holds on every backend: no canvas may be larger than an engine takes that may yet come."""
        sizes = reference.input_sizes
        if "tensorrt" in names and not sizes.fixed and self._has_gpu():
            side = self._choices.engine.max_side_px // sizes.stride * sizes.stride
            sizes = InputSizes((), sizes.stride, Size(side, side))
        return ModelFacts(reference.name, reference.class_names, sizes, reference.pad_value)

    def _has_gpu(self) -> bool:
        try:
            self.machine.opened()
        except GpuError:
            return False
        return True

    def _on_tensorrt(self, path: Path, choices: DetectorChoices) -> Loaded:
        opened = self.machine.opened()
        library = find_library(opened.gpu.capability).required()
        cache = EngineCache(self._choices.engine_folder, library)
        key = cache.key(path, opened.gpu.capability, self._choices.engine)
        kept = cache.look_up(path, key)
        if kept.file is None:
            self._have_built(path, choices.family, kept.reason)
            kept = cache.look_up(path, key)
        if kept.file is None:
            raise EngineNotBuilt(f"it was built, but {kept.reason}")
        try:
            return self._loaded(path.stem, kept.file, library, choices)
        except EngineUnfit as error:
            cache.discard(path, key)
            self._have_built(path, choices.family, str(error))
            kept = cache.look_up(path, key)
            if kept.file is None:
                raise
            return self._loaded(path.stem, kept.file, library, choices)

    def _loaded(self, name: str, file: EngineFile, library: Library, choices: DetectorChoices) -> Loaded:
        network = TensorRtNetwork(file, library, self.machine.opened().gpu)
        return OnGpu(self._gpu_model(name, network, choices), self._choices.reserve_bytes)

    def _have_built(self, path: Path, family: str | None, reason: str) -> None:
        """Have a model's engine built, once in this process's life: what is of no use then never will be.

        Raises:
            NotYet: that is going on in the background.
            EngineNotBuilt: it failed, now or earlier.
        """
        with self._lock:
            failure = self._built.get(path)
            is_first = failure is None
            self._built.setdefault(path, "")
        if failure:
            raise EngineNotBuilt(failure)
        if not self._choices.waits_for_engines and (is_first or self._builds.is_under_way(path)):
            raise NotYet(f"{reason}; it is being built", partial(self._build, path, family))
        if is_first:
            logger.info("an engine is built", extra={"model": path.stem, "reason": reason})
            self._note(path, self._builds.build(path, family))
            self._have_built(path, family, reason)

    def _build(self, path: Path, family: str | None, on_done: OnDone) -> None:
        def done(failure: str) -> None:
            self._note(path, failure)
            on_done(failure)

        self._builds.start(path, family, done)

    def _note(self, path: Path, failure: str) -> None:
        with self._lock:
            self._built[path] = failure

    def _on_cuda(self, path: Path, choices: DetectorChoices) -> Loaded:
        ordinal = self.machine.opened().gpu.ordinal
        network = OnnxDeviceNetwork(path, ordinal)
        return OnGpu(self._gpu_model(path.stem, network, choices), self._choices.reserve_bytes)

    def _on_openvino(self, path: Path, choices: DetectorChoices, reference: NetworkDetector) -> Loaded:
        is_demanded = self._choices.backend == "openvino"
        if not is_demanded:
            check_is_made_for_this()
        cores = available_cores()
        threads = self._choices.threads or cores
        network = OpenVinoNetwork(path, reference.signature, threads)
        detector = NetworkDetector(path.stem, network, choices, n_parallel=max(1, cores // threads))
        if not is_demanded:
            own_s, usual_s = self._times(detector, reference)
            if own_s >= usual_s:
                raise BackendFailed(
                    f"it takes {own_s * 1e3:.1f} ms for what ONNX Runtime does in {usual_s * 1e3:.1f} ms"
                )
        return OnProcessor(detector)

    def _times(self, *detectors: NetworkDetector) -> list[float]:
        """Seconds that detectors take for a frequent canvas, measured by turns."""
        sizes = detectors[0].input_sizes
        size = (
            sizes.fixed[0] if sizes.fixed else Size(*(-(-side // sizes.stride) * sizes.stride for side in USUAL_CANVAS))
        )
        canvas = np.full((1, size.height, size.width, 3), detectors[0].pad_value, np.uint8)
        took_s: list[list[float]] = [[] for _ in detectors]
        for _ in range(_TIMED_RUNS):
            for detector, times in zip(detectors, took_s, strict=True):
                began_s = self._clock.now_s()
                detector.detect(canvas)
                times.append(self._clock.now_s() - began_s)
        return [statistics.median(times) for times in took_s]

    def _open_engine(self, path: Path, choices: DetectorChoices) -> DetectorModel:
        opened = self.machine.opened()
        library = find_library(opened.gpu.capability).required()
        file = read_engine(path)
        file.check_runs(library, opened.gpu.capability)
        name = file.description.model if file.description else path.stem
        model = self._gpu_model(name, TensorRtNetwork(file, library, opened.gpu), choices)
        recipe = model.task.recipe
        facts = ModelFacts(name, recipe.class_names, model.input_sizes, recipe.pad_value)
        loaded = OnGpu(model, self._choices.reserve_bytes)
        candidate = Candidate("tensorrt", lambda: loaded)
        return DetectorModel(facts, [candidate], self._events, is_shared=self._choices.shares_batches)

    def _gpu_model(self, name: str, network: DeviceNetwork, choices: DetectorChoices) -> GpuModel:
        opened = self.machine.opened()
        kernels = DetectionKernels(opened.kernels)
        return GpuModel(name, network, opened.gpu, kernels, self._clock, choices=choices)


def _names(wanted: Backend) -> tuple[BackendName, ...]:
    """The backends that are tried, from the one that is wanted on."""
    return ORDER if wanted == "auto" else ORDER[ORDER.index(wanted) :]
