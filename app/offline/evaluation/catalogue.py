"""Which methods there are, and in which configurations they are worth running."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType

from app.core.clock import SystemClock
from app.core.errors import SettingsError
from app.core.types import InputSizes, Size
from app.flexpatch.canvas import canvas_ladder
from app.offline.evaluation.every_kth import FlowEveryKth, KalmanEveryKth
from app.offline.evaluation.methods import Context, Method, Runner
from app.offline.evaluation.motion_regions import MotionRegions
from app.offline.evaluation.pipeline_methods import (
    ABLATIONS,
    KNOWN_FAILURES,
    LATE,
    NO_FAILURE_MODEL,
    FixedScheduleRunner,
    KnownFailuresRunner,
    LateRunner,
    ablated_runner,
    flexpatch_runner,
)
from app.offline.evaluation.published.runner import PublishedRunner
from app.offline.evaluation.whole_frame import Tiled, WholeFrame, native_canvas
from app.vision.cpu import CpuVision

RIVALS = ("full", "native", "tiled", "flow", "fixed", "kalman", "motion", "published")
FLEXPATCH = "flexpatch"
ABLATION_NAMES = (*ABLATIONS, NO_FAILURE_MODEL)
ALL_ABLATIONS = "ablations"
METHOD_NAMES = (*RIVALS, FLEXPATCH, KNOWN_FAILURES, LATE, ALL_ABLATIONS, *ABLATION_NAMES)
"""All that can be asked for."""
LATE_FRAMES = (1, 2, 4)
CROP = Size(320, 320)
MOTION_CONFIGS = ((1, 16), (1, 8), (1, 4), (1, 2), (1, 1), (2, 1), (3, 1))
"""Regions on a frame, and the interval of frames, of the motion rival."""
TILE_PX = 640
MAX_WHOLE_CANVASES = 5
LARGEST_SIDE_PX = 4096
"""Of a canvas; larger ones are not tried."""
CHEAPEST, DEAREST = 0.6, 1.1
"""Every-k-th rivals are run from this share of FlexPatch's smallest budget to this multiple of its largest."""


@dataclass(frozen=True, slots=True)
class Sweep:
    """What to run.

    Raises:
        SettingsError: a method is unknown, or a number is out of range.
    """

    methods: tuple[str, ...] = (*RIVALS, FLEXPATCH)
    canvases: tuple[Size, ...] = ()
    """Of the whole-frame rivals and of `published`; none: those of FlexPatch's own ladder."""
    every: tuple[int, ...] = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)
    """The k of rivals that look at every k-th frame."""
    budgets: tuple[float, ...] = (0.02, 0.04, 0.08, 0.16, 0.25)
    """Megapixels a frame, of FlexPatch."""
    ablation_budget: float = 0.08
    """Megapixels a frame, of FlexPatch with parts left out."""

    def __post_init__(self) -> None:
        unknown = [name for name in self.methods if name not in METHOD_NAMES]
        if unknown:
            raise SettingsError(f"There is no method {unknown[0]!r}: use {', '.join(sorted(METHOD_NAMES))}.")
        if any(k < 1 for k in self.every):
            raise SettingsError(f"An interval must be at least 1 frame, not {min(self.every)}.")
        if any(not 0.001 <= budget <= 16 for budget in (*self.budgets, self.ablation_budget)):
            raise SettingsError("A budget must be between 0.001 and 16 megapixels a frame.")


def methods_for(sweep: Sweep, frame: Size, sizes: InputSizes) -> list[Method]:
    """Every method of the sweep in every configuration that makes sense for frames of one size.

    Args:
        sizes: canvases that the detector takes; a configuration that needs another is left out.
    Raises:
        SettingsError: a canvas that was asked for is none that the detector takes.
    """
    native = native_canvas(frame, sizes.stride)
    takes_native = sizes.accepts(native) and max(native) <= LARGEST_SIDE_PX
    setting = _Setting(sweep, sizes, whole_canvases(sweep, frame, sizes), native if takes_native else None)
    return [method for name in _expanded(sweep.methods) for method in _CONFIGURATIONS[name](setting)]


def whole_canvases(sweep: Sweep, frame: Size, sizes: InputSizes) -> tuple[Size, ...]:
    """Canvases of the rivals that see the whole frame, smallest first."""
    for canvas in sweep.canvases:
        if not sizes.accepts(canvas):
            raise SettingsError(
                f"The detector does not take a canvas of {canvas}: give "
                + (", ".join(map(str, sizes.fixed)) or f"multiples of {sizes.stride}")
                + "."
            )
    if sweep.canvases or sizes.fixed:
        return sweep.canvases or canvas_ladder(frame, sizes, None)[-MAX_WHOLE_CANVASES:]
    # Rivals may look on larger canvases than FlexPatch, which keeps the time of its slowest frame low.
    native = native_canvas(frame, sizes.stride)
    if max(native) > LARGEST_SIDE_PX:
        return canvas_ladder(frame, sizes, None)[-MAX_WHOLE_CANVASES:]
    smaller = tuple(canvas for canvas in canvas_ladder(frame, sizes, native) if canvas != native)
    return smaller[-MAX_WHOLE_CANVASES:] or (native,)


def _expanded(names: Iterable[str]) -> tuple[str, ...]:
    found = [each for name in names for each in (ABLATION_NAMES if name == ALL_ABLATIONS else (name,))]
    return tuple(dict.fromkeys(found))


@dataclass(frozen=True, slots=True)
class _Setting:
    """What configurations are made for."""

    sweep: Sweep
    sizes: InputSizes
    canvases: tuple[Size, ...]
    native: Size | None
    """None where the detector does not take it."""

    def is_worth_running(self, pixels_per_frame: float) -> bool:
        budgets = (*self.sweep.budgets, self.sweep.ablation_budget)
        return CHEAPEST * min(budgets) <= pixels_per_frame / 1e6 <= DEAREST * max(budgets)


def _full(setting: _Setting) -> Iterator[Method]:
    for canvas in setting.canvases:
        yield Method("full", str(canvas), partial(_whole_runner, canvas))


def _native(setting: _Setting) -> Iterator[Method]:
    if setting.native:
        yield Method("native", str(setting.native), partial(_whole_runner, setting.native))


def _tiled(setting: _Setting) -> Iterator[Method]:
    tile = min(setting.canvases, key=lambda canvas: abs(canvas.width - TILE_PX))
    yield Method("tiled", str(tile), partial(_tiled_runner, tile))


def _every_kth(
    name: str, make: Callable[[Size, int, Context], Runner], least: int, setting: _Setting
) -> Iterator[Method]:
    canvases = dict.fromkeys((*setting.canvases, setting.native) if setting.native else setting.canvases)
    for canvas in canvases:
        for every in setting.sweep.every:
            if every >= least and setting.is_worth_running(canvas.pixels / every):
                yield Method(name, f"{canvas} every {every}", partial(make, canvas, every))


def _motion(setting: _Setting) -> Iterator[Method]:
    sizes = setting.sizes
    crop = min(sizes.fixed, key=lambda size: size.pixels) if sizes.fixed else native_canvas(CROP, sizes.stride)
    for regions, every in MOTION_CONFIGS:
        if setting.is_worth_running(crop.pixels * regions / every):
            yield Method("motion", f"{regions} of {crop} every {every}", partial(_motion_runner, crop, regions, every))


def _published(setting: _Setting) -> Iterator[Method]:
    for canvas in setting.canvases:
        yield Method("published", str(canvas), partial(_published_runner, canvas))


def _flexpatch(setting: _Setting) -> Iterator[Method]:
    for budget in setting.sweep.budgets:
        yield Method(FLEXPATCH, f"{budget:g} MPx", partial(_flexpatch_runner, budget))


def _known_failures(setting: _Setting) -> Iterator[Method]:
    for budget in setting.sweep.budgets:
        yield Method(KNOWN_FAILURES, f"{budget:g} MPx", partial(_known_failures_runner, budget))


def _late(setting: _Setting) -> Iterator[Method]:
    budget = setting.sweep.ablation_budget
    for n_frames in LATE_FRAMES:
        yield Method(LATE, f"{budget:g} MPx, {n_frames} late", partial(_late_runner, budget, n_frames))


def _ablated(name: str, setting: _Setting) -> Iterator[Method]:
    budget = setting.sweep.ablation_budget
    yield Method(name, f"{budget:g} MPx", partial(_ablated_runner, budget, name))


def _whole_runner(canvas: Size, context: Context) -> Runner:
    return WholeFrame(context.looks, canvas, context.class_id)


def _tiled_runner(tile: Size, context: Context) -> Runner:
    return Tiled(context.looks, tile, context.class_id)


def _flow_runner(canvas: Size, every: int, context: Context) -> Runner:
    return FlowEveryKth(context.looks, canvas, every, context.class_id)


def _kalman_runner(canvas: Size, every: int, context: Context) -> Runner:
    return KalmanEveryKth(context.looks, canvas, every, context.class_id, context.sequence.fps)


def _fixed_runner(canvas: Size, every: int, context: Context) -> Runner:
    return FixedScheduleRunner(context, canvas, every)


def _motion_runner(crop: Size, regions: int, every: int, context: Context) -> Runner:
    fps = context.sequence.fps
    return MotionRegions(context.looks, crop, context.class_id, max_regions=regions, every=every, fps=fps)


def _flexpatch_runner(budget: float, context: Context) -> Runner:
    return flexpatch_runner(context, budget)


def _known_failures_runner(budget: float, context: Context) -> Runner:
    return KnownFailuresRunner(context, budget)


def _late_runner(budget: float, n_frames: int, context: Context) -> Runner:
    return LateRunner(context, budget, n_frames)


def _ablated_runner(budget: float, ablation: str, context: Context) -> Runner:
    return ablated_runner(context, budget, ablation)


def _published_runner(canvas: Size, context: Context) -> Runner:
    tree = context.priority_tree
    if tree is None:
        raise SettingsError("The method `published` needs its priority tree.")
    class_ids = frozenset([context.class_id])
    return PublishedRunner(CpuVision(), context.detector, canvas, class_ids, tree, SystemClock())


_CONFIGURATIONS: Mapping[str, Callable[[_Setting], Iterator[Method]]] = MappingProxyType(
    {
        "full": _full,
        "native": _native,
        "tiled": _tiled,
        "flow": partial(_every_kth, "flow", _flow_runner, 2),
        "fixed": partial(_every_kth, "fixed", _fixed_runner, 1),
        "kalman": partial(_every_kth, "kalman", _kalman_runner, 2),
        "motion": _motion,
        "published": _published,
        FLEXPATCH: _flexpatch,
        KNOWN_FAILURES: _known_failures,
        LATE: _late,
        **{name: partial(_ablated, name) for name in ABLATION_NAMES},
    }
)
