"""Which methods there are, and in which configurations they are worth running."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from app.core.errors import SettingsError
from app.core.types import InputSizes, Size
from app.flexpatch.canvas import canvas_ladder
from app.offline.evaluation.every_kth import FlowEveryKth, KalmanEveryKth
from app.offline.evaluation.methods import Context, Method, Runner
from app.offline.evaluation.motion_regions import MotionRegions
from app.offline.evaluation.pipeline_methods import (
    ABLATIONS,
    NO_FAILURE_MODEL,
    FixedScheduleRunner,
    ablated_runner,
    flexpatch_runner,
)
from app.offline.evaluation.whole_frame import Tiled, WholeFrame, native_canvas

RIVALS = ("full", "native", "tiled", "flow", "fixed", "kalman", "motion", "published")
FLEXPATCH = "flexpatch"
ABLATION_NAMES = (*ABLATIONS, NO_FAILURE_MODEL)
ALL_ABLATIONS = "ablations"
CROP = Size(320, 320)
MOTION_CONFIGS = ((1, 16), (1, 8), (1, 4), (1, 2), (1, 1), (2, 1), (3, 1))
"""Regions on a frame, and the interval of frames, of the motion rival."""
TILE_PX = 640
MAX_WHOLE_CANVASES = 4


@dataclass(frozen=True, slots=True)
class Sweep:
    """What to run.

    Raises:
        SettingsError: a method is unknown, or a number is out of range.
    """

    methods: tuple[str, ...] = (*RIVALS, FLEXPATCH)
    canvases: tuple[Size, ...] = ()
    """Of the whole-frame rivals and of `published`; none: those of FlexPatch's own ladder."""
    every: tuple[int, ...] = (1, 2, 4, 8, 16, 32)
    """The k of rivals that look at every k-th frame."""
    budgets: tuple[float, ...] = (0.02, 0.04, 0.08, 0.16, 0.25)
    """Megapixels a frame, of FlexPatch."""
    ablation_budget: float = 0.08
    """Megapixels a frame, of FlexPatch with parts left out."""
    pixels_range: tuple[float, float] = (0.012, 0.35)
    """Megapixels a frame; every-k-th rivals outside are not run."""

    def __post_init__(self) -> None:
        known = {*RIVALS, FLEXPATCH, ALL_ABLATIONS, *ABLATION_NAMES}
        unknown = [name for name in self.methods if name not in known]
        if unknown:
            raise SettingsError(f"There is no method {unknown[0]!r}: use {', '.join(sorted(known))}.")
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
    return [method for name in _expanded(sweep.methods) for method in _configured(name, sweep, frame, sizes)]


def whole_canvases(sweep: Sweep, frame: Size, sizes: InputSizes) -> tuple[Size, ...]:
    """Canvases of the rivals that see the whole frame, smallest first."""
    for canvas in sweep.canvases:
        if not sizes.accepts(canvas):
            raise SettingsError(
                f"The detector does not take a canvas of {canvas}: give "
                + (", ".join(map(str, sizes.fixed)) or f"multiples of {sizes.stride}")
                + "."
            )
    return sweep.canvases or canvas_ladder(frame, sizes, None)[-MAX_WHOLE_CANVASES:]


def _expanded(names: Iterable[str]) -> tuple[str, ...]:
    found = [each for name in names for each in (ABLATION_NAMES if name == ALL_ABLATIONS else (name,))]
    return tuple(dict.fromkeys(found))


def _configured(name: str, sweep: Sweep, frame: Size, sizes: InputSizes) -> Iterator[Method]:
    canvases = whole_canvases(sweep, frame, sizes)
    native = native_canvas(frame, sizes.stride)
    if name == "full":
        for canvas in canvases:
            yield Method(name, str(canvas), partial(_whole, canvas))
    elif name == "native":
        if sizes.accepts(native):
            yield Method(name, str(native), partial(_whole, native))
    elif name == "tiled":
        tile = min(canvases, key=lambda canvas: abs(canvas.width - TILE_PX))
        yield Method(name, str(tile), partial(_tiled, tile))
    elif name in _EVERY_KTH:
        wholes = dict.fromkeys((*canvases, native) if sizes.accepts(native) else canvases)
        yield from _every_kth(name, sweep, list(wholes))
    elif name == "motion":
        yield from _motion(sweep, sizes)
    elif name == "published":
        for canvas in canvases:
            yield Method(name, str(canvas), partial(_published, canvas))
    elif name == FLEXPATCH:
        for budget in sweep.budgets:
            yield Method(name, f"{budget:g} MPx", partial(_flexpatch, budget))
    else:
        yield Method(name, f"{sweep.ablation_budget:g} MPx", partial(_ablated, sweep.ablation_budget, name))


def _every_kth(name: str, sweep: Sweep, canvases: Sequence[Size]) -> Iterator[Method]:
    low, high = sweep.pixels_range
    for canvas in canvases:
        for every in sweep.every:
            if low <= canvas.pixels / every / 1e6 <= high and (every > 1 or name == "fixed"):
                yield Method(name, f"{canvas} every {every}", partial(_EVERY_KTH[name], canvas, every))


def _motion(sweep: Sweep, sizes: InputSizes) -> Iterator[Method]:
    crop = CROP if sizes.accepts(CROP) else min(sizes.fixed, key=lambda size: size.pixels, default=None)
    if crop is None:
        return
    low, high = sweep.pixels_range
    for regions, every in MOTION_CONFIGS:
        if low <= crop.pixels * regions / every / 1e6 <= high:
            yield Method("motion", f"{regions} of {crop} every {every}", partial(_moving, crop, regions, every))


def _whole(canvas: Size, context: Context) -> Runner:
    return WholeFrame(context.looks, canvas, context.class_id)


def _tiled(tile: Size, context: Context) -> Runner:
    return Tiled(context.looks, tile, context.class_id)


def _flow(canvas: Size, every: int, context: Context) -> Runner:
    return FlowEveryKth(context.looks, canvas, every, context.class_id)


def _kalman(canvas: Size, every: int, context: Context) -> Runner:
    return KalmanEveryKth(context.looks, canvas, every, context.class_id, context.sequence.fps)


def _fixed(canvas: Size, every: int, context: Context) -> Runner:
    return FixedScheduleRunner(context, canvas, every)


def _moving(crop: Size, regions: int, every: int, context: Context) -> Runner:
    fps = context.sequence.fps
    return MotionRegions(context.looks, crop, context.class_id, max_regions=regions, every=every, fps=fps)


def _flexpatch(budget: float, context: Context) -> Runner:
    return flexpatch_runner(context, budget)


def _ablated(budget: float, ablation: str, context: Context) -> Runner:
    return ablated_runner(context, budget, ablation)


def _published(canvas: Size, context: Context) -> Runner:
    raise NotImplementedError


_EVERY_KTH: dict[str, Callable[[Size, int, Context], Runner]] = {"flow": _flow, "fixed": _fixed, "kalman": _kalman}
