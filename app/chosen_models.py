"""Detectors, vision and failure models as the settings choose them: for the service, and for every command."""

import sys
from functools import partial
from pathlib import Path

from app.config import Settings
from app.core.clock import Clock
from app.core.errors import GpuError, ModelUnreadable
from app.core.manifest import MANIFEST
from app.detect.backends import BackendEvents, DetectorModel, NoEvents
from app.detect.background import MOST_AT_ONCE
from app.detect.detector import DetectorChoices
from app.detect.loader import check_listed
from app.detect.opening import BackendChoices, ModelOpener
from app.detect.tensorrt.on_demand import EngineBuilds
from app.detect.tensorrt.options import EngineOptions
from app.flexpatch.failure import FailureModel
from app.flexpatch.failure_file import load_failure_model
from app.gpu.machine import GpuMachine
from app.offline.training.pickled import SUFFIXES as PICKLED_SUFFIXES
from app.offline.training.pickled import load_pickled_model
from app.vision.opening import VisionOpener

_HERE = Path(__file__).resolve().parent
SHIPPED_MODELS = _HERE / "models" if (_HERE / "models").is_dir() else _HERE.parent / "models"
"""In an installed wheel, or in a checkout."""
FAILURE_MODEL = "failure_model.json"
"""In the models folder: used unless the settings name another."""
_MEGABYTE = 1024 * 1024


def model_folders(settings: Settings) -> tuple[Path, ...]:
    """Where detectors are looked up by name: the models folder, then what is shipped."""
    return settings.models_dir, SHIPPED_MODELS


def engine_folder(settings: Settings) -> Path:
    """Where TensorRT engines lie."""
    return settings.engine_dir or settings.models_dir / "engines"


def engine_options(settings: Settings) -> EngineOptions:
    """What TensorRT engines are built for."""
    max_batch = MOST_AT_ONCE if settings.gpu_sharing == "batch" else 1
    return EngineOptions(settings.engine_precision, max_batch, settings.engine_max_side_px)


def model_opener(
    settings: Settings, clock: Clock, events: BackendEvents | None = None, *, waits_for_engines: bool = False
) -> ModelOpener:
    """What makes detectors of model files, on the backends that the settings ask for.

    Args:
        events: is told what becomes of backends.
        waits_for_engines: rather than have another backend serve meanwhile.
    """
    choices = BackendChoices(
        engine_folder=engine_folder(settings),
        engine=engine_options(settings),
        backend=settings.backend,
        threads=settings.detector_threads,
        shares_batches=settings.gpu_sharing == "batch",
        reserve_bytes=settings.gpu_reserve_mb * _MEGABYTE,
        waits_for_engines=waits_for_engines,
    )
    builds = EngineBuilds(partial(_build_command, settings))
    return ModelOpener(choices, GpuMachine(settings.gpu), builds, clock, events)


def vision_opener(settings: Settings, opener: ModelOpener, events: BackendEvents | None = None) -> VisionOpener:
    """What makes the vision of each stream, as the settings ask for it.

    Args:
        opener: of detectors, whose GPU is shared.
        events: is told what becomes of backends.
    Raises:
        GpuError: the settings demand a GPU, and there is none that can be used.
    """
    told = events or NoEvents()

    def on_failure(error: GpuError) -> None:
        told.backend_failed("vision", "gpu", "cpu", type(error).__name__)

    reserve_bytes = settings.gpu_reserve_mb * _MEGABYTE
    return VisionOpener(settings.vision, opener.machine, lambda: opener.may_use_gpu, on_failure, reserve_bytes)


def open_model(opener: ModelOpener, settings: Settings, path: Path, family: str | None) -> DetectorModel:
    """A model of the models folder, or of any file that the operator names, on the best backend.

    Raises:
        ModelAltered: a folder's lists say that the file should be another.
        ModelError, GpuError, BackendFailed: it cannot be used.
    """
    check_listed(path, model_folders(settings))
    return opener.open(path, DetectorChoices(family))


def _build_command(settings: Settings, model: Path, family: str | None) -> list[str]:
    """Builds a model's engine as these settings want it, wherever they came from."""
    options = engine_options(settings)
    arguments = [
        *(sys.executable, "-m", "app.cli", "engine", "build", str(model)),
        *("--folder", str(engine_folder(settings)), "--gpu", str(settings.gpu)),
        *("--precision", options.precision, "--max-batch", str(options.max_batch)),
        *("--max-side", str(options.max_side_px)),
    ]
    if settings.engine_calibration:
        arguments += ["--calibration", settings.engine_calibration]
    if family:
        arguments += ["--detector-family", family]
    return arguments


def failure_model(settings: Settings) -> FailureModel:
    """The tracking-failure model of the service and of every command that runs the pipeline.

    The one that the settings name; without one, that of the models folder; without that, the one that is shipped.

    Raises:
        ModelError: it cannot be used, or may not: pickled models only where the operator allows them.
    """
    path = settings.failure_model
    if path is None:
        own = settings.models_dir / FAILURE_MODEL
        return load_failure_model(own if own.is_file() else SHIPPED_MODELS / FAILURE_MODEL)
    if path.suffix.lower() not in PICKLED_SUFFIXES:
        return load_failure_model(path)
    if not settings.allow_pickled_models:
        raise ModelUnreadable(
            f"{path} can run any code when it is read: use the failure_model.json that was written beside it, or set "
            f"allow_pickled_models and pin its SHA-256 in {settings.models_dir / MANIFEST}."
        )
    return load_pickled_model(path, settings.models_dir)
