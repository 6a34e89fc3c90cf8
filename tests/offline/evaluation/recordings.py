"""Small annotated recordings of a scripted world."""

from pathlib import Path

import cv2

from app.core.types import Size
from app.flexpatch.failure import hand_set_model
from app.offline.evaluation.looks import Looks
from app.offline.evaluation.methods import Context
from app.offline.evaluation.sequences import AnnotatedSequence, open_sequence
from tests.flexpatch.world import Actor, ScriptedDetector, World

SIZE = Size(640, 384)
WALKER = Actor((60, 120, 120, 280), (60.0, 0.0))
STANDER = Actor((400, 100, 450, 230), seed=3)
WORLD = World(SIZE, (WALKER, STANDER), frame_rate=10.0)


def write_recording(folder: Path, world: World = WORLD, n_frames: int = 12) -> Path:
    """A MOTChallenge folder of a world; actors keep their places in the list as identities."""
    (folder / "img1").mkdir(parents=True)
    (folder / "gt").mkdir()
    lines = []
    for seq in range(1, n_frames + 1):
        assert cv2.imwrite(str(folder / "img1" / f"{seq:06d}.png"), world.frame(seq).picture.pixels)  # type: ignore[union-attr]
        pts_s = world.pts_s(seq)
        for identity, actor in enumerate(world.actors, 1):
            if actor.from_s <= pts_s < actor.until_s:
                x1, y1, x2, y2 = actor.box_at(pts_s)
                lines.append(f"{seq},{identity},{x1},{y1},{x2 - x1},{y2 - y1},1,1,1\n")
    (folder / "gt" / "gt.txt").write_text("".join(lines))
    (folder / "seqinfo.ini").write_text(f"[Sequence]\nname={folder.name}\nframeRate={world.frame_rate:g}\n")
    return folder


def opened(folder: Path, world: World = WORLD, n_frames: int = 12) -> AnnotatedSequence:
    return open_sequence(str(write_recording(folder, world, n_frames)), "person")


def context_for(sequence: AnnotatedSequence, detector: ScriptedDetector, cache: Path | None = None) -> Context:
    return Context(sequence, detector, Looks(detector, cache), 0, hand_set_model())
