"""Building TensorRT engines: pictures to learn from and to compare with, and what came of it."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache as cached
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.core.clock import Clock
from app.core.errors import SettingsError
from app.core.types import InputSizes, PatchCopy, Picture, Size
from app.detect.detector import DetectorChoices, NetworkDetector
from app.detect.onnx import load_on_processor
from app.detect.tensorrt.builder import check_target, graph_for
from app.detect.tensorrt.cache import EngineCache
from app.detect.tensorrt.engine_file import EngineFile
from app.detect.tensorrt.library import Capability, Library
from app.detect.tensorrt.options import USUAL_CANVAS, EngineOptions
from app.detect.tensorrt.precision import Agreement, compare, converted
from app.ingest.source import open_source
from app.vision.cpu import CpuVision

_STREET = "synthetic:1280x720@2?objects=20&seed=31&frames=12"
"""What a converted model is compared on if no pictures are given."""
_MOST_PICTURES = 64
_COMPARED = 12
"""Pictures on which the converted model is compared with the model itself."""


@dataclass(frozen=True)
class BuildReport:
    """What building an engine came to."""

    file: EngineFile
    seconds: float
    agreement: Agreement | None
    """With the model itself; None where nothing was converted."""


def build_engine(
    model: Path,
    cache: EngineCache,
    library: Library,
    options: EngineOptions,
    capability: Capability,
    *,
    present: Capability | None,
    clock: Clock,
    family: str | None = None,
    pictures: str | None = None,
    anew: bool = False,
) -> BuildReport:
    """Have an engine of a detector in the cache, and compare the converted model with the model itself.

    Args:
        present: compute capability of the GPU in this machine; None: there is none.
        family: of the detector, if it is not recognised.
        pictures: a recording or folder of pictures like those that it will see; int8 cannot do without.
        anew: build it though it is there.
    Raises:
        ModelError: the file is no detector, or no engine can be made of it.
        SourceError: the pictures cannot be read.
        SettingsError: int8 is wanted, and there are no pictures.
    """
    if options.precision == "int8" and pictures is None:
        raise SettingsError(
            "int8 needs pictures like those that the detector will see: name a folder of them or a recording with "
            "--calibration."
        )
    is_for_this_gpu = check_target(library, capability, present)
    detector = load_on_processor(model, DetectorChoices(family))
    canvases = [] if options.precision == "float" else list(canvases_of(pictures or _STREET, detector))
    key = cache.key(model, capability, options)
    started_s = clock.now_s()
    make_graph = cached(partial(graph_for, library, model, options.precision, canvases, family))
    file = cache.get(model, key, detector.signature, make_graph=make_graph, is_for_this_gpu=is_for_this_gpu, anew=anew)
    seconds = clock.now_s() - started_s
    if options.precision == "float":
        return BuildReport(file, seconds, None)
    # What a flag asks of the library shows on a GPU alone; the converted graph shows how far half precision goes.
    is_by_flag = options.precision == "half" and library.takes_precision_flags
    graph = converted(model, "half") if is_by_flag else make_graph()
    return BuildReport(file, seconds, compare(model, graph, canvases[:_COMPARED], family))


def canvases_of(source: str, detector: NetworkDetector) -> Iterator[NDArray[np.uint8]]:
    """Whole pictures on canvases (H, W, 3) of a frequent size: the first ones of a source, 64 at most.

    Raises:
        SourceError: it cannot be read.
    """
    size = _canvas_size(detector.input_sizes)
    vision = CpuVision()
    with open_source(source) as opened:
        for frame in islice(opened, _MOST_PICTURES):
            yield whole_on_canvas(frame.picture, size, detector.pad_value, vision)


def whole_on_canvas(
    picture: Picture, size: Size, pad_value: tuple[int, int, int], vision: CpuVision
) -> NDArray[np.uint8]:
    """A picture reduced until it fits into the upper left of a canvas (H, W, 3)."""
    scale = min(size.width / picture.size.width, size.height / picture.size.height)
    target = (0, 0, round(picture.size.width * scale), round(picture.size.height * scale))
    return vision.canvas(vision.prepare(picture), [PatchCopy((0, 0, *picture.size), target)], size, pad_value)


def _canvas_size(sizes: InputSizes) -> Size:
    if sizes.fixed:
        return max(sizes.fixed, key=lambda size: size.pixels)
    return Size(*(-(-side // sizes.stride) * sizes.stride for side in USUAL_CANVAS))
