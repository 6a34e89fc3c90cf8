"""Labelled pictures that training canvases are cut from: frames of recordings and of synthetic streets."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from app.core.boxes import clip, empty_boxes
from app.core.errors import SettingsError
from app.core.types import Detector, Frame
from app.ingest.source import open_source
from app.ingest.street import Street
from app.ingest.street_config import parse_street
from app.offline.annotations import FrameTruth
from app.offline.detector.labels import CLASSES, labelled
from app.offline.output import unfinished_file
from app.offline.recordings import street_annotations
from app.vision.drawing import to_bgr

STREETS = (
    "synthetic:1280x720@1?objects=25&seed=301",
    "synthetic:1280x720@1?objects=40&seed=302&vehicles=0.4",
    "synthetic:960x540@1?objects=20&seed=303&shake=1",
    "synthetic:1280x720@1?objects=30&seed=304&night=1",
    "synthetic:1920x1080@1?objects=40&seed=305",
    "synthetic:960x540@1?objects=25&seed=306&night=1&noise=2",
    "synthetic:1280x720@1?objects=35&seed=307&clouds=1",
    "synthetic:1280x720@1?objects=15&seed=308&pan=1",
    "synthetic:960x540@1?objects=30&seed=309&shadows=0&light=2",
    "synthetic:1280x720@1?objects=60&seed=310",
    "synthetic:1280x720@1?objects=25&seed=311&vehicles=0",
    "synthetic:1920x1080@1?objects=50&seed=312&clouds=2&pan=1",
)
"""A frame a second, so that each shows other people. Seeds of their own: nothing else renders these streets."""

_LABELLED_FPS = 6
"""Frames a second that teachers see: objects must overlap from one to the next."""
_USUAL_FPS = 25.0
_PICTURES = frozenset({".jpg", ".jpeg", ".png", ".webp"})
_VIEW_DEGREES = 90.0
_VIEW_STEP_DEGREES = 60
_VIEW_TILTS = (5.0, 30.0)


@dataclass(frozen=True, slots=True)
class Scene:
    """One picture, or canvas, and what is on it."""

    pixels: NDArray[np.uint8]
    """(H, W, 3) BGR."""
    boxes: NDArray[np.float32]
    """(N, 4) xyxy,"""
    classes: NDArray[np.int64]
    """(N,) of `CLASSES`."""
    ignored: NDArray[np.float32]
    """(K, 4) regions where nobody can say what is there."""


def street_scenes(text: str, n_frames: int) -> Iterator[Scene]:
    """Frames of a street, with the renderer's own truth."""
    street = Street(parse_street(text))
    truths = [street_annotations(street, n_frames, [class_id]) for class_id in range(len(CLASSES))]
    for index in range(n_frames):
        yield _scene(street.render(index), [truth[index + 1] for truth in truths])


def clip_scenes(path: Path, teachers: Sequence[Detector], advance: Callable[[int, int], None]) -> Iterator[Scene]:
    """Some frames of a recording, labelled by teachers, which see twice as many.

    Args:
        advance: is told how many frames have been seen, of how many.
    """
    with open_source(str(path)) as source:
        seen = max(1, round((source.fps or _USUAL_FPS) / _LABELLED_FPS))
        n_frames = -(-(source.n_frames or 0) // seen)
        watched = _watched(islice(source, 0, None, seen), n_frames, advance)
        truths = dict(labelled(watched, teachers))
    with open_source(str(path)) as source:
        for frame in islice(source, 0, None, 2 * seen):
            yield _scene(to_bgr(frame.picture), truths[frame.seq])


def _watched(frames: Iterable[Frame], n_frames: int, advance: Callable[[int, int], None]) -> Iterator[Frame]:
    for number, frame in enumerate(frames, 1):
        yield frame
        advance(number, max(number, n_frames))


def background_pictures(folder: Path) -> list[Path]:
    """The pictures in a folder, by name.

    Raises:
        SettingsError: there is none.
    """
    if not folder.is_dir() or not (paths := [path for path in folder.iterdir() if path.suffix.lower() in _PICTURES]):
        raise SettingsError(f"{folder} holds no pictures ({', '.join(sorted(_PICTURES))}).")
    return sorted(paths)


def background_scenes(folder: Path) -> Iterator[Scene]:
    """Pictures without people or vehicles; panoramas (twice as wide as high) as ordinary views of them.

    Raises:
        SettingsError: there is no picture, or one cannot be read.
    """
    for path in background_pictures(folder):
        pixels = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if pixels is None:
            raise SettingsError(f"{path} is no picture.")
        height, width = pixels.shape[:2]
        views = _panorama_views(pixels) if width == 2 * height else [pixels]
        for shown in views:
            yield _scene(np.asarray(shown, np.uint8), [])


def _panorama_views(panorama: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
    """What cameras with a wide lens would see of an equirectangular panorama, all round, level and from above."""
    width = panorama.shape[1]
    side = np.array([width * 0.75, width * 0.5]).round().astype(int)
    x, y = np.meshgrid(np.linspace(-1, 1, side[0]), np.linspace(-1, 1, side[1]) * side[1] / side[0])
    reach = np.tan(np.radians(_VIEW_DEGREES / 2))
    for down in _VIEW_TILTS:
        tilt = np.radians(down)
        ray_y, ray_z = y * reach * np.cos(tilt) + np.sin(tilt), np.cos(tilt) - y * reach * np.sin(tilt)
        longitude, latitude = np.arctan2(x * reach, ray_z), np.arctan2(ray_y, np.hypot(x * reach, ray_z))
        for turn in range(0, 360, _VIEW_STEP_DEGREES):
            columns = np.mod((longitude + np.radians(turn)) / (2 * np.pi), 1) * width
            rows = (latitude / np.pi + 0.5) * panorama.shape[0]
            yield cv2.remap(
                panorama,
                columns.astype(np.float32),
                rows.astype(np.float32),
                cv2.INTER_CUBIC,
                borderMode=cv2.BORDER_WRAP,
            )


def _scene(pixels: NDArray[np.uint8], truths: Sequence[FrameTruth]) -> Scene:
    height, width = pixels.shape[:2]
    return Scene(
        pixels,
        clip(np.concatenate([empty_boxes(), *(truth.boxes for truth in truths)]), width, height),
        np.repeat(np.arange(len(truths)), [len(truth.boxes) for truth in truths]),
        clip(np.concatenate([empty_boxes(), *(truth.ignored for truth in truths)]), width, height),
    )


def save(path: Path, scenes: Sequence[Scene]) -> None:
    """Write scenes as one file, for `load`."""
    arrays = [array for scene in scenes for array in (scene.pixels, scene.boxes, scene.classes, scene.ignored)]
    with unfinished_file(path) as draft, draft.open("wb") as file:
        np.savez(file, *arrays)


def load(path: Path) -> list[Scene]:
    """Scenes that `save` wrote."""
    with np.load(path) as file:
        arrays = [file[f"arr_{index}"] for index in range(len(file.files))]
    return [Scene(*arrays[first : first + 4]) for first in range(0, len(arrays), 4)]
