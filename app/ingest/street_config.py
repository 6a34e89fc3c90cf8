"""What the synthetic street shows, and the short text that users write for it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from app.core.errors import SourceError
from app.core.types import Size

LABELS = ("person", "car")
"""Names of the class ids in the ground truth."""

FULL_HD = Size(1920, 1080)

_EXAMPLE = "synthetic:1280x720@25?objects=40&seed=3"

SMALLEST_SIDE_PX = 64
LARGEST_SIDE_PX = 8192


@dataclass(frozen=True, slots=True)
class StreetConfig:
    """Everything the street's pixels and ground truth depend on. Strengths are 0 for off, 1 for usual."""

    size: Size = FULL_HD
    """Width and height of the frames in pixels."""
    fps: float = 25.0
    """Frames a second of stream time."""
    n_objects: int = 25
    """How many people and vehicles are in the scene at any time."""
    seed: int = 1
    """Chooses the houses, the people and their ways."""
    n_frames: int | None = None
    """Length of the stream; None for a stream that never ends."""
    vehicle_share: float = 0.2
    """Share of the objects that are vehicles, 0 to 1."""
    pan: float = 0.0
    """Strength of a slow sweep of the camera to both sides, 0 to 2."""
    shake: float = 0.0
    """Strength of the tremor of a camera on a mast in the wind, 0 to 4."""
    light: float = 1.0
    """Strength of the slow drift of brightness, 0 to 4."""
    clouds: float = 0.0
    """Strength of the shadows of passing clouds, 0 to 2."""
    night: bool = False
    """Dark, with street lamps and lit windows."""
    noise: float = 1.0
    """Strength of the sensor noise, 0 to 8."""
    shadows: float = 1.0
    """Strength of the shadows that objects cast on the ground, 0 to 2."""
    occluders: bool = True
    """Trees and lamp posts that people pass behind."""

    def __post_init__(self) -> None:
        if not all(SMALLEST_SIDE_PX <= side <= LARGEST_SIDE_PX for side in self.size):
            raise SourceError(
                f"A synthetic street of {self.size} pixels is not possible: "
                f"give a width and height from {SMALLEST_SIDE_PX} to {LARGEST_SIDE_PX}."
            )
        for name, low, high in _RANGES:
            value = float(getattr(self, name))
            if not low <= value <= high:
                raise SourceError(
                    f"{name}={value:g} has no meaning for the synthetic street: give {low:g} to {high:g}."
                )
        if self.n_frames is not None and self.n_frames < 1:
            raise SourceError(f"A street of {self.n_frames} frames has nothing to show: give at least 1.")


_RANGES = (
    ("fps", 0.1, 1000),
    ("n_objects", 0, 1000),
    ("seed", 0, 2**31 - 1),
    ("vehicle_share", 0, 1),
    ("pan", 0, 2),
    ("shake", 0, 4),
    ("light", 0, 4),
    ("clouds", 0, 2),
    ("noise", 0, 8),
    ("shadows", 0, 2),
)

_OPTIONS: Mapping[str, Callable[[StreetConfig, str], StreetConfig]] = {
    "objects": lambda config, text: replace(config, n_objects=_whole("objects", text)),
    "seed": lambda config, text: replace(config, seed=_whole("seed", text)),
    "frames": lambda config, text: replace(config, n_frames=_whole("frames", text)),
    "vehicles": lambda config, text: replace(config, vehicle_share=_decimal("vehicles", text)),
    "pan": lambda config, text: replace(config, pan=_decimal("pan", text)),
    "shake": lambda config, text: replace(config, shake=_decimal("shake", text)),
    "light": lambda config, text: replace(config, light=_decimal("light", text)),
    "clouds": lambda config, text: replace(config, clouds=_decimal("clouds", text)),
    "night": lambda config, text: replace(config, night=_switch("night", text)),
    "noise": lambda config, text: replace(config, noise=_decimal("noise", text)),
    "shadows": lambda config, text: replace(config, shadows=_decimal("shadows", text)),
    "occluders": lambda config, text: replace(config, occluders=_switch("occluders", text)),
}


def parse_street(text: str, *, fps: float | None = None) -> StreetConfig:
    """Read `synthetic`, or `synthetic:WIDTHxHEIGHT@FPS?option=value&…` with every part optional.

    Args:
        text: for example `synthetic:1280x720@30?objects=40&seed=7&pan=1`.
        fps: frames a second where the text names none.
    Raises:
        SourceError: a part cannot be read, or a value is out of range.
    """
    config = StreetConfig() if fps is None else StreetConfig(fps=fps)
    rest = text.removeprefix("synthetic").removeprefix(":")
    shape, _, options = rest.partition("?")
    size_text, at, fps_text = shape.partition("@")
    if size_text:
        config = replace(config, size=_parse_size(size_text))
    if at:
        config = replace(config, fps=_decimal("fps", fps_text))
    for option in filter(None, options.split("&")):
        name, _, value = option.partition("=")
        if name not in _OPTIONS:
            raise SourceError(f"The synthetic street has no option {name!r}: use {', '.join(sorted(_OPTIONS))}.")
        config = _OPTIONS[name](config, value)
    return config


def _parse_size(text: str) -> Size:
    width, cross, height = text.partition("x")
    if not cross:
        raise SourceError(f"{text!r} is not a size: write WIDTHxHEIGHT, for example 1280x720.")
    return Size(_whole("width", width), _whole("height", height))


def _switch(name: str, text: str) -> bool:
    if text not in {"0", "1"}:
        raise SourceError(f"{name}={text!r} is neither on nor off: write {name}=1 or {name}=0.")
    return text == "1"


def _whole(name: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise SourceError(f"{name}={text!r} is not a whole number: write for example {_EXAMPLE}.") from None


def _decimal(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise SourceError(f"{name}={text!r} is not a number: write for example {_EXAMPLE}.") from None
