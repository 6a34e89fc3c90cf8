"""Options that several commands share, and how they are read."""

import math
from pathlib import Path
from typing import Annotated

import typer

from app.chosen_models import model_folders, model_opener, open_model, vision_opener
from app.config import Settings
from app.core.clock import SystemClock
from app.core.errors import SettingsError
from app.core.types import Detector, Size, Vision
from app.detect.families import FAMILIES
from app.detect.loader import find_model
from app.detect.opening import ModelOpener

DetectorOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE.onnx|FILE.engine|NAME",
        help="Detector: a file, or the name of an installed model. Default: FLEXPATCH_DETECTOR, or the shipped one.",
        show_default=False,
    ),
]
FamilyOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help=f"How the detector's outputs are laid out, if it is not recognised: {', '.join(FAMILIES)}.",
        show_default=False,
    ),
]


def open_detector(settings: Settings) -> Detector:
    """The detector that the settings name, on the backend that they ask for."""
    return _opened(settings)[0]


def open_with_vision(settings: Settings) -> tuple[Detector, Vision]:
    """The same, and the vision that goes with it."""
    detector, opener = _opened(settings)
    return detector, vision_opener(settings, opener).open(detector)


def _opened(settings: Settings) -> tuple[Detector, ModelOpener]:
    opener = model_opener(settings, SystemClock(), waits_for_engines=True)
    path = find_model(settings.detector, model_folders(settings))
    return open_model(opener, settings, path, settings.detector_family).open(), opener


def parse_size(option: str, text: str, example: str) -> Size:
    width, cross, height = text.lower().partition("x")
    if not (cross and width.isascii() and width.isdigit() and height.isascii() and height.isdigit()):
        raise SettingsError(f"{option} {text!r} is not a size: write WIDTHxHEIGHT, for example {example}.")
    return Size(int(width), int(height))


def parse_names(text: str) -> tuple[str, ...]:
    """What stands between the commas."""
    return tuple(filter(None, (part.strip() for part in text.split(","))))


def parse_numbers(option: str, text: str) -> list[float]:
    try:
        numbers = [float(part) for part in parse_names(text)]
    except ValueError:
        numbers = [math.nan]
    if not all(0 < number < math.inf for number in numbers):
        raise SettingsError(f"{option} {text!r} must be numbers above 0 with commas between.")
    return numbers
