"""Write `identity_fixtures.json`: small sequences and what TrackEval says about them.

    python make_identity_fixtures.py identity_fixtures.json

Needs nothing but `trackeval` (1.3.0 made the file), best in an environment of its own, and NumPy.
"""

import json
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from trackeval import __version__ as trackeval_version  # type: ignore[import-not-found]  # not a dependency
from trackeval.datasets.mot_challenge_2d_box import MotChallenge2DBox  # type: ignore[import-not-found]
from trackeval.metrics import HOTA, Identity  # type: ignore[import-not-found]

Rows = list[list[float]]
"""An identity and x1, y1, x2, y2 each."""

N_FRAMES = 16


def street(seed: int, noise_px: float) -> tuple[list[Rows], list[Rows]]:
    """Objects that cross, and their tracks with misses, false positives, fragments and switched identities."""
    random = np.random.default_rng(seed)
    start, speed = random.uniform(0, 60, (5, 2)), random.uniform(-5, 5, (5, 2))
    size = random.uniform([12, 24], [24, 48], (5, 2))
    names = np.array([11, 12, 13, 14, 15])
    objects, outputs = [], []
    for index in range(N_FRAMES):
        low = start + index * speed
        boxes = np.concatenate([low, low + size], axis=1)
        if index % 5 == 4:
            first, second = random.choice(5, 2, replace=False)
            names[[first, second]] = names[[second, first]]
        if index == 8:
            names[random.integers(5)] = 90
        found = boxes + random.normal(0, noise_px, boxes.shape)
        is_there, is_found = random.random(5) < 0.85, random.random(5) < 0.8
        objects.append(_rows(np.array([4, 2, 9, 7, 3])[is_there], boxes[is_there]))
        false_positive = random.uniform(0, 60, 2)
        outputs.append(_rows(names[is_found], found[is_found]))
        if random.random() < 0.4:
            outputs[-1] += _rows(np.array([50 + index // 4]), np.array([[*false_positive, *false_positive + 30]]))
    return objects, outputs


def on_the_thresholds() -> tuple[list[Rows], list[Rows]]:
    """Two objects, each track's overlap with which is exactly a multiple of 1/20."""
    heights = np.random.default_rng(3).permuted(np.tile(np.arange(1, 21), (2, 1)), axis=1)
    objects = [_rows(np.array([1, 2]), np.array([[0, 0, 8, 20], [40, 0, 48, 20]])) for _ in heights.T]
    outputs = [_rows(np.array([5, 6]), np.array([[0, 0, 8, one], [40, 0, 48, other]])) for one, other in heights.T]
    return objects, outputs


def judged(objects: list[Rows], outputs: list[Rows]) -> dict[str, float]:
    """The figures of TrackEval."""
    object_ids, objects_by_frame = _numbered(objects)
    track_ids, tracks_by_frame = _numbered(outputs)
    data = {
        "num_timesteps": len(objects),
        "num_gt_ids": len(object_ids),
        "num_tracker_ids": len(track_ids),
        "num_gt_dets": sum(map(len, objects)),
        "num_tracker_dets": sum(map(len, outputs)),
        "gt_ids": objects_by_frame,
        "tracker_ids": tracks_by_frame,
        "similarity_scores": [
            MotChallenge2DBox._calculate_box_ious(_boxes(truth), _boxes(found), box_format="x0y0x1y1")
            for truth, found in zip(objects, outputs, strict=True)
        ],
    }
    hota, identity = HOTA().eval_sequence(data), Identity({"PRINT_CONFIG": False}).eval_sequence(data)
    return {
        "hota": float(np.mean(hota["HOTA"])),
        "det_a": float(np.mean(hota["DetA"])),
        "ass_a": float(np.mean(hota["AssA"])),
        "idf1": float(identity["IDF1"]),
        "idp": float(identity["IDP"]),
        "idr": float(identity["IDR"]),
    }


def _rows(ids: NDArray[np.int64], boxes: NDArray[np.float64]) -> Rows:
    eighths = np.round(np.asarray(boxes, np.float64) * 8) / 8  # exact in float32
    return [[int(name), *box] for name, box in zip(ids, eighths.tolist(), strict=True)]


def _boxes(rows: Rows) -> NDArray[np.float64]:
    return np.array([row[1:] for row in rows], np.float64).reshape(-1, 4)


def _numbered(frames: list[Rows]) -> tuple[list[float], list[NDArray[np.intp]]]:
    names = sorted({row[0] for rows in frames for row in rows})
    return names, [np.array([names.index(row[0]) for row in rows], np.intp) for rows in frames]


def main() -> None:
    sequences = {"exact": street(1, 0.5), "sloppy": street(2, 4.0), "on the thresholds": on_the_thresholds()}
    fixtures = {
        name: {"objects": objects, "outputs": outputs, "expected": judged(objects, outputs)}
        for name, (objects, outputs) in sequences.items()
    }
    document = {"trackeval": trackeval_version, "sequences": fixtures}
    Path(sys.argv[1]).write_text(json.dumps(document, separators=(",", ":")) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
