"""What the detector is trained on: gathered once, kept in the output folder, found there the next time."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.core.errors import SettingsError
from app.core.manifest import sha256_of, sha256_of_file
from app.core.types import Detector
from app.ingest.source import is_street, open_source
from app.ingest.street_config import parse_street
from app.offline.detector import people, scenes
from app.offline.detector.canvases import PERSON
from app.offline.detector.figures import Assets
from app.offline.detector.labels import CLASSES
from app.offline.detector.scenes import Scene

Advance = Callable[[str, int, int], None]
"""Is told the stage, how much of it is done, and how much there is."""

STREETS_SHARE = 0.25
BACKGROUNDS_SHARE = 0.3
CLIPS_SHARE = 0.45
"""Of all views, where there is all of the three; one that shows nobody gets half of what the others get."""
_SHARE_WITHOUT_PEOPLE = 0.5
"""Of a recording that shows nobody, beside one that shows people."""


@dataclass(frozen=True, slots=True)
class Sources:
    """Where material comes from. Streets are always there."""

    clips: Sequence[Path] = ()
    """Recordings."""
    teachers: Sequence[Detector] = ()
    """Who labels them."""
    assets: Path | None = None
    """MakeHuman's, for people to be pasted in."""
    n_people: int = 1500
    backgrounds: Path | None = None
    """Folder of pictures without people or vehicles."""
    streets: Sequence[str] = scenes.STREETS
    n_street_frames: int = 20
    """Of each."""


@dataclass(frozen=True, slots=True)
class Material:
    """All that canvases are made from."""

    groups: Mapping[str, Sequence[Scene]]
    """By name: streets, backgrounds, and each recording."""
    shares: Sequence[float]
    """How often views of each group are taken."""
    people: Sequence[NDArray[np.uint8]]
    """Cut-outs (H, W, 4)."""


def check(sources: Sources) -> None:
    """Say at once, not after minutes of work, what cannot be used.

    Raises:
        SettingsError, SourceError: as `gather`.
    """
    if sources.clips and not sources.teachers:
        raise SettingsError("Recordings need teachers that label them: name at least one with --teacher.")
    if sources.teachers and not {*CLASSES} <= {name for teacher in sources.teachers for name in teacher.class_names}:
        raise SettingsError(
            f"Between them, the teachers must know {' and '.join(CLASSES)}: name others with --teacher."
        )
    if len({clip.name for clip in sources.clips}) < len(sources.clips):
        raise SettingsError("Two recordings have the same name: rename one, for names are what they are kept under.")
    for clip in sources.clips:
        if is_street(str(clip)):
            raise SettingsError(f"{clip} is no recording; synthetic streets are always learned from.")
        open_source(str(clip)).close()
    if sources.backgrounds:
        scenes.background_pictures(sources.backgrounds)
    if sources.assets:
        people.check(Assets(sources.assets))
    for text in sources.streets:
        parse_street(text)


def gather(sources: Sources, folder: Path, seed: int, advance: Advance) -> Material:
    """Render, read and label what the folder does not hold yet.

    Raises:
        SettingsError: a source is not what it should be.
        SourceError: a recording cannot be read.
        DetectorFailed: a teacher failed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    groups, shares = {"streets": _streets(sources, folder, advance)}, [STREETS_SHARE]
    if sources.backgrounds:
        groups["backgrounds"] = list(scenes.background_scenes(sources.backgrounds))
        shares.append(BACKGROUNDS_SHARE)
    clips = {clip.name: _clip(clip, sources.teachers, folder, advance) for clip in sources.clips}
    weights = [1.0 if _shows_people(group) else _SHARE_WITHOUT_PEOPLE for group in clips.values()]
    groups |= clips
    shares += [CLIPS_SHARE * weight / sum(weights) for weight in weights]
    return Material(groups, shares, _people(sources, folder, seed, advance))


def _shows_people(group: Sequence[Scene]) -> bool:
    return any(np.any(scene.classes == PERSON) for scene in group)


def _streets(sources: Sources, folder: Path, advance: Advance) -> list[Scene]:
    path = folder / f"{_named('streets', *sources.streets, sources.n_street_frames)}.npz"
    if not path.exists():
        found: list[Scene] = []
        for number, text in enumerate(sources.streets, 1):
            found += scenes.street_scenes(text, sources.n_street_frames)
            advance("Rendering streets", number, len(sources.streets))
        scenes.save(path, found)
    return scenes.load(path)


def _clip(clip: Path, teachers: Sequence[Detector], folder: Path, advance: Advance) -> list[Scene]:
    path = folder / f"{_named(clip.name, _content(clip), *(teacher.name for teacher in teachers))}.npz"
    if not path.exists():
        scenes.save(path, list(scenes.clip_scenes(clip, teachers, partial(advance, f"Labelling {clip.name}"))))
    return scenes.load(path)


def _people(sources: Sources, folder: Path, seed: int, advance: Advance) -> list[NDArray[np.uint8]]:
    if sources.assets is None:
        return []
    cut_outs = []
    kept = folder / _named("people", _content(sources.assets), seed)
    for cut_out in people.render(Assets(sources.assets), kept, range(sources.n_people), seed):
        cut_outs.append(cut_out)
        advance("Rendering people", len(cut_outs), sources.n_people)
    return cut_outs


def _named(kind: str, *made_from: object) -> str:
    """A name that tells what something was made from, so that nothing is taken for what was made from other things."""
    return f"{kind}-{sha256_of(repr(made_from).encode())[:12]}"


def _content(path: Path) -> str:
    """What tells a recording or a folder from others: a file's SHA-256; a folder's names and sizes."""
    if path.is_file():
        return sha256_of_file(path)
    files = sorted(file for file in path.rglob("*") if file.is_file())
    return sha256_of(repr([(str(file.relative_to(path)), file.stat().st_size) for file in files]).encode())
