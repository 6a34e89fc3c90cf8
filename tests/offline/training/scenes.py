"""What the tests of training learn from: small sequences with ground truth, and samples made up."""

from pathlib import Path

import cv2
import numpy as np

from app.core.types import BgrPicture, Size
from app.flexpatch.failure import FEATURES
from app.offline.training.samples import Samples
from tests.flexpatch.world import Actor, World

SIZE = Size(480, 270)
AGE, NCC, SHIFT = (FEATURES.index(name) for name in ("detection_age_s", "ncc", "shift"))


def hectic_world(seed: int, fps: float = 6.0) -> World:
    """Persons that cross the picture so fast that flow loses many of them, and some that do not."""
    random = np.random.default_rng(seed)
    actors = []
    for index in range(8):
        x, y = random.integers(0, 400), random.integers(0, 200)
        speed = random.choice([10, 60, 150, 300])
        angle = random.uniform(0, 2 * np.pi)
        width, height = random.integers(24, 40), random.integers(40, 70)
        starts = float(random.uniform(0, 3))
        velocity = (float(speed * np.cos(angle)), float(speed * np.sin(angle) / 3))
        box = (int(x - velocity[0] * starts), int(y - velocity[1] * starts))
        corners = (*box, int(box[0] + width), int(box[1] + height))
        actors.append(Actor(corners, velocity, from_s=starts, until_s=starts + 5, seed=index))
    return World(SIZE, tuple(actors), seed=seed, frame_rate=fps)


def write_sequence(world: World, folder: Path, n_frames: int) -> Path:
    """The world as MOTChallenge has it: images, ground truth, frame rate."""
    (folder / "img1").mkdir(parents=True)
    (folder / "gt").mkdir()
    lines = []
    for seq in range(1, n_frames + 1):
        picture = world.frame(seq).picture
        assert isinstance(picture, BgrPicture)
        assert cv2.imwrite(str(folder / "img1" / f"{seq:06d}.png"), picture.pixels)
        pts_s = world.pts_s(seq)
        for number, actor in enumerate(world.actors, 1):
            x1, y1, x2, y2 = np.clip(actor.box_at(pts_s), 0, np.tile(world.size, 2)).tolist()
            if actor.from_s <= pts_s < actor.until_s and min(x2 - x1, y2 - y1) > 4:
                lines.append(f"{seq},{number},{x1},{y1},{x2 - x1},{y2 - y1},1,1,1\n")
    (folder / "gt" / "gt.txt").write_text("".join(lines))
    (folder / "seqinfo.ini").write_text(f"[Sequence]\nframeRate={world.frame_rate:g}\n")
    return folder


def made_up_samples(n: int, n_sequences: int = 4, *, contradict: bool = False, seed: int = 5) -> Samples:
    """Tracks fail with age, by a fifth at random; or on every second sequence it is the other way round."""
    random = np.random.default_rng(seed)
    features = random.uniform(0.01, 1, (n, len(FEATURES)))
    features[:, AGE] = random.uniform(0.01, 3, n)
    sequence = np.arange(n) % n_sequences
    risk = features[:, AGE] / 3 if not contradict else np.abs(features[:, AGE] / 3 - sequence % 2)
    noisy = np.clip(risk + random.normal(0, 0.1, n), 0, 1)
    iou = np.where(noisy > 0.7, 0.0, np.where(noisy > 0.4, 0.3, 0.8))
    return Samples(
        features=features,
        iou=iou,
        sequence=sequence.astype(np.int64),
        megapixels_per_frame=np.full(n, 0.01),
        frame=np.arange(n, dtype=np.int64) // n_sequences + 1,
        track_id=np.arange(n, dtype=np.int64) % 7,
        names=tuple(f"sequence {index}" for index in range(n_sequences)),
    )
