"""Milliseconds per stage, measured on the synthetic street."""

import os
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from app.core.clock import Clock, SystemClock
from app.core.errors import SettingsError
from app.core.types import Detector, Frame, Size
from app.detect.cores import available_cores
from app.flexpatch.canvas import canvas_ladder
from app.flexpatch.config import PipelineConfig
from app.flexpatch.failure import FailureModel
from app.flexpatch.pipeline import Pipeline
from app.ingest.image import decode
from app.ingest.street import Street, StreetTruth
from app.ingest.street_config import StreetConfig
from app.offline.bench_http import HttpReport, Service, time_http
from app.offline.oracle import MIN_VISIBLE, Oracle, OraclePipeline
from app.offline.timing import Times

FPS = 30.0
STAGES = ("decode", "prepare", "flow", "plan", "canvas", "detect", "merge")
OWN_STAGES = ("prepare", "flow", "plan", "canvas", "merge")
"""All but decoding and the detector."""
WARM_UP_FRAMES = 10
"""At the start of every repetition, not counted: the first look at a scene is unlike all others."""
N_REPETITIONS = 3
_JPEG_BYTES = 300_000
_QUALITIES = (60, 70, 75, 80, 85, 90, 95)
_CANVAS_RUNS = 25
_CANVAS_WARM_UP = 3

MakeService = Callable[[Callable[[PipelineConfig], Pipeline], Detector], Service]
"""From the maker of the sessions' pipelines, and the detector they are told of, to the service."""


@dataclass(frozen=True, slots=True)
class BenchOptions:
    """What to measure on.

    Raises:
        SettingsError: a number is outside its range.
    """

    resolution: Size
    n_tracks: int
    """Objects that are to be followed at a time."""
    n_frames: int
    """Measured in each repetition, besides those that warm up."""
    config: PipelineConfig
    failure_model: FailureModel

    def __post_init__(self) -> None:
        if not 1 <= self.n_tracks <= 500:
            raise SettingsError(f"{self.n_tracks} tracks cannot be measured: give 1 to 500.")
        if not 2 <= self.n_frames <= 10_000:
            raise SettingsError(f"{self.n_frames} frames cannot be measured: give 2 to 10000.")


@dataclass(frozen=True, slots=True)
class CanvasTimes:
    """One detector on one size of canvas."""

    canvas: Size
    wall: Times
    cpu_mean_ms: float
    """Of all cores together."""


@dataclass(frozen=True, slots=True)
class DetectorTimes:
    """One detector on all the sizes that the schedule may choose at the measured resolution."""

    name: str
    backend: str
    canvases: tuple[CanvasTimes, ...]
    cpu_ms_per_frame: float
    """On an average frame, by how often the schedule chose each canvas."""


@dataclass(frozen=True, slots=True)
class StreamEstimate:
    """How many streams the processor's cores can follow."""

    fps: float
    streams: float
    cpu_ms_per_frame: float
    how: str


@dataclass(frozen=True, slots=True)
class BenchReport:
    """All that was measured."""

    resolution: Size
    n_cores: int
    load_average: float
    """Processes that wanted a core in the minute before; times are only as good as this is small."""
    n_frames: int
    n_repetitions: int
    n_warm_up_frames: int
    jpeg_mean_bytes: int
    tracks_wanted: int
    tracks_mean: float
    detector_calls_per_frame: float
    detector_megapixels_per_frame: float
    stages: Mapping[str, Times]
    """By stage; `own` is all but decoding and the detector, `total` everything, both on every frame."""
    cpu_ms_per_frame: float
    """Of all cores together, decoding included, the detector not."""
    detector: DetectorTimes
    http: HttpReport
    sustained: StreamEstimate


@dataclass(frozen=True, slots=True)
class Clip:
    """Encoded frames of the street and what they show."""

    size: Size
    jpegs: tuple[bytes, ...]
    truths: tuple[StreetTruth, ...]
    canvas_picture: NDArray[np.uint8]
    """One frame, decoded."""


def bench(
    options: BenchOptions,
    detector: Detector,
    make_service: MakeService,
    *,
    say: Callable[[str], object] = lambda _text: None,
) -> BenchReport:
    """Measure everything once; takes some ten seconds.

    Args:
        detector: measured by itself; the number of tracks never hangs on it.
        say: is told what comes next.
    """
    load_average = os.getloadavg()[0]
    say(f"Rendering {options.n_frames + WARM_UP_FRAMES} frames of {options.resolution}")
    clip = _make_clip(options)
    input_sizes = detector.input_sizes
    say(f"Pipeline, {N_REPETITIONS} times {options.n_frames} frames")
    clock = SystemClock()

    def make_pipeline(config: PipelineConfig) -> OraclePipeline:
        return OraclePipeline(clip.truths, config, clock, input_sizes, failure_model=options.failure_model)

    samples = _Samples()
    for _ in range(N_REPETITIONS):
        _run_once(clip, make_pipeline(options.config), clock, samples)
    say(f"Detector {detector.name}")
    measured = _time_detector(detector, clip, samples)
    say("HTTP")
    service = make_service(make_pipeline, Oracle(input_sizes))
    http = time_http(service, clip.jpegs, fps=FPS, n_warm_up=WARM_UP_FRAMES, n_repetitions=N_REPETITIONS)
    n_frames = max(samples.n_frames, 1)
    cpu_ms = samples.cpu_ms / n_frames
    return BenchReport(
        resolution=options.resolution,
        n_cores=available_cores(),
        load_average=load_average,
        n_frames=options.n_frames,
        n_repetitions=N_REPETITIONS,
        n_warm_up_frames=WARM_UP_FRAMES,
        jpeg_mean_bytes=round(sum(map(len, clip.jpegs)) / len(clip.jpegs)),
        tracks_wanted=options.n_tracks,
        tracks_mean=samples.n_tracks / n_frames,
        detector_calls_per_frame=samples.canvases.total() / n_frames,
        detector_megapixels_per_frame=sum(size.pixels * n for size, n in samples.canvases.items()) / n_frames / 1e6,
        stages={name: Times.of(samples.stage_ms[name]) for name in (*STAGES, "own", "total")},
        cpu_ms_per_frame=cpu_ms,
        detector=measured,
        http=http,
        sustained=_sustained(cpu_ms, measured, http.bodies["raw"].added),
    )


@dataclass(slots=True)
class _Samples:
    """What the repetitions gave, warm-up left out."""

    stage_ms: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    canvases: Counter[Size] = field(default_factory=Counter)
    n_frames: int = 0
    n_tracks: int = 0
    cpu_ms: float = 0.0


def _make_clip(options: BenchOptions) -> Clip:
    street = Street(StreetConfig(size=options.resolution, fps=FPS, n_objects=_n_objects(options)))
    quality = _quality(street.render(0))
    n_frames = options.n_frames + WARM_UP_FRAMES
    pictures = (street.render(index) for index in range(n_frames))
    jpegs = tuple(simplejpeg.encode_jpeg(picture, quality=quality, colorspace="BGR") for picture in pictures)
    truths = tuple(street.truth(index) for index in range(n_frames))
    return Clip(options.resolution, jpegs, truths, street.render(0))


def _n_objects(options: BenchOptions) -> int:
    """How many must be in the street for the wanted number to be seen at a time; some are hidden or outside."""
    street = Street(StreetConfig(size=options.resolution, fps=FPS, n_objects=options.n_tracks))
    indices = np.linspace(0, options.n_frames + WARM_UP_FRAMES, 4).astype(int)
    seen = float(np.mean([(street.truth(int(index)).visible >= MIN_VISIBLE).sum() for index in indices]))
    return min(round(options.n_tracks**2 / max(seen, 1.0)), 1000)


def _quality(picture: NDArray[np.uint8]) -> int:
    """The JPEG quality that comes nearest to the size of a camera's usual picture."""

    def distance(quality: int) -> int:
        return abs(len(simplejpeg.encode_jpeg(picture, quality=quality, colorspace="BGR")) - _JPEG_BYTES)

    return min(_QUALITIES, key=distance)


def _run_once(clip: Clip, pipeline: OraclePipeline, clock: Clock, samples: _Samples) -> None:
    cpu_started_s = 0.0
    for index, jpeg in enumerate(clip.jpegs):
        if index == WARM_UP_FRAMES:
            cpu_started_s = time.process_time()
        started_s = clock.now_s()
        picture = decode(jpeg, max_pixels=clip.size.pixels, expected_size=clip.size)
        decode_ms = (clock.now_s() - started_s) * 1e3
        result = pipeline.step(Frame(index + 1, index / FPS, picture, decode_ms=decode_ms))
        total_ms = (clock.now_s() - started_s) * 1e3
        if index < WARM_UP_FRAMES:
            continue
        for stage, ms in result.stage_ms.items():
            samples.stage_ms[stage].append(ms)
        samples.stage_ms["own"].append(sum(result.stage_ms.get(stage, 0.0) for stage in OWN_STAGES))
        samples.stage_ms["total"].append(total_ms)
        samples.n_frames += 1
        samples.n_tracks += len(result.objects)
        if result.work.canvas:
            samples.canvases[result.work.canvas] += 1
    samples.cpu_ms += (time.process_time() - cpu_started_s) * 1e3


def _time_detector(detector: Detector, clip: Clip, samples: _Samples) -> DetectorTimes:
    ladder = canvas_ladder(clip.size, detector.input_sizes, None)
    sizes = {*ladder, *samples.canvases}
    times = tuple(_time_canvas(detector, clip, size) for size in sorted(sizes, key=lambda size: size.pixels))
    cpu_ms = sum(item.cpu_mean_ms * samples.canvases[item.canvas] for item in times) / max(samples.n_frames, 1)
    return DetectorTimes(detector.name, detector.backend, times, cpu_ms)


def _time_canvas(detector: Detector, clip: Clip, size: Size) -> CanvasTimes:
    rows = np.linspace(0, clip.size.height - 1, size.height).astype(int)
    columns = np.linspace(0, clip.size.width - 1, size.width).astype(int)
    canvas = np.ascontiguousarray(clip.canvas_picture[rows][:, columns][np.newaxis])
    for _ in range(_CANVAS_WARM_UP):
        detector.detect(canvas)
    samples_ms = []
    cpu_started_s = time.process_time()
    for _ in range(_CANVAS_RUNS):
        started_s = time.perf_counter()
        detector.detect(canvas)
        samples_ms.append((time.perf_counter() - started_s) * 1e3)
    cpu_ms = (time.process_time() - cpu_started_s) * 1e3 / _CANVAS_RUNS
    return CanvasTimes(size, Times.of(samples_ms), cpu_ms)


def _sustained(cpu_ms: float, detector: DetectorTimes, http_added: Times) -> StreamEstimate:
    cost_ms = cpu_ms + http_added.median_ms + detector.cpu_ms_per_frame
    parts = "decoding, pipeline, HTTP with a raw body, detector"
    how = f"cores × 1000 ms / ({FPS:g} frames × processor milliseconds of one frame: {parts})"
    streams = available_cores() * 1e3 / (FPS * cost_ms)
    return StreamEstimate(FPS, streams, cost_ms, how)
