"""A frame's result as the JSON document that every reader gets."""

import json
import math
from collections.abc import Sequence
from datetime import UTC, datetime

from app.core.types import FrameResult, TrackedObject

_ENCODER = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def timestamp(unix_s: float) -> str:
    """RFC 3339 in UTC with milliseconds, for example `2026-01-01T00:00:00.000Z`."""
    return datetime.fromtimestamp(unix_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def result_json(
    session_id: str,
    result: FrameResult,
    objects: Sequence[TrackedObject],
    zones: Sequence[Sequence[str]],
    *,
    completed_unix_s: float,
    n_dropped: int = 0,
) -> bytes:
    """The result of one frame as UTF-8 JSON on one line.

    Args:
        objects: those of the result that are put out.
        zones: for each object, the names of the zones it stands in.
        completed_unix_s: wall-clock time at which the result was known, in seconds.
        n_dropped: frames refused since the last result.
    Raises:
        ValueError: a number is not finite.
    """
    capture, work = result.capture, result.work
    document = {
        "session": session_id,
        "seq": result.seq,
        "time": {
            "capture": timestamp(capture.unix_s) if capture else None,
            "capture_source": capture.source if capture else "pts",
            "completed": timestamp(completed_unix_s),
        },
        "age_ms": round((completed_unix_s - capture.unix_s) * 1000, 1) if capture else None,
        "work": {
            "mode": work.mode,
            "patches": work.patches,
            "canvas": list(work.canvas) if work.canvas else None,
            "canvas_fill": round(float(work.canvas_fill), 4),
            "detector_pixels": work.detector_pixels,
            "backend": work.backend,
            "vision": work.vision,
        },
        "stage_ms": {stage: round(float(ms), 3) for stage, ms in result.stage_ms.items()},
        "dropped_since_last": n_dropped,
    }
    # Objects are most of the text, and all alike: written out by a format they take a third of the encoder's time.
    written = ",".join([_object(item, names) for item, names in zip(objects, zones, strict=True)])
    return f'{_ENCODER.encode(document)[:-1]},"objects":[{written}]}}'.encode()


def _object(item: TrackedObject, zones: Sequence[str]) -> str:
    numbers = (*item.box, item.score, item.detection_age_s, item.failure_probability)
    if not math.isfinite(sum(numbers)):
        raise ValueError(f"track {item.track_id} has a number that is not finite: {numbers}")
    x1, y1, x2, y2 = item.box
    return (
        f'{{"track_id":{item.track_id},"class_id":{item.class_id},"label":{_ENCODER.encode(item.label)},'
        f'"box":[{x1:.2f},{y1:.2f},{x2:.2f},{y2:.2f}],"score":{item.score:.4f},"origin":"{item.origin}",'
        f'"detection_age_s":{item.detection_age_s:.3f},"failure_probability":{item.failure_probability:.4f},'
        f'"zones":{_ENCODER.encode(list(zones)) if zones else "[]"}}}'
    )


def error_code(error: BaseException | type[BaseException]) -> str:
    """The name by which clients and metrics know an error: `frame_corrupt` for `FrameCorrupt`."""
    name = (error if isinstance(error, type) else type(error)).__name__
    return "".join("_" + letter.lower() if letter.isupper() else letter for letter in name).lstrip("_")
