"""The wiring: the real pipeline behind the real API."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simplejpeg
from anyio.from_thread import start_blocking_portal
from numpy.typing import NDArray

from app.chosen_models import failure_model
from app.core.clock import SystemClock
from app.core.errors import ModelAltered, ModelNotFound, SettingsError
from app.core.manifest import INSTALLED
from app.core.types import CanvasBoxes, CanvasDetections, CaptureTime, Frame, TrackedObject
from app.flexpatch.config import PipelineConfig
from app.flexpatch.pipeline import Pipeline
from app.main import create_app
from app.vision.cpu import CpuVision
from tests.api.conftest import Api, settings
from tests.detect.graphs import square_finder
from tests.sessions.fakes import START_UNIX_S, Bench, BlindDetector, decode_small

N_FRAMES = 8
FRAME_RATE = 12


class BrightDetector(BlindDetector):
    """Finds the one bright thing on a canvas."""

    name = "bright"

    def detect(self, canvases: NDArray[np.uint8]) -> Sequence[CanvasDetections]:
        return [self._one(canvas) for canvas in canvases]

    def _one(self, canvas: NDArray[np.uint8]) -> CanvasDetections:
        rows, columns = np.nonzero(canvas.min(axis=2) > 200)
        n_found = int(len(rows) > 20)
        box = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1] if n_found else []
        boxes = CanvasBoxes(np.array(box, np.float32).reshape(n_found, 4))
        return CanvasDetections(boxes, np.full(n_found, 0.9, np.float32), np.zeros(n_found, np.int32))


def clip() -> list[bytes]:
    """A white block that wanders over a dark, textured ground, as JPEGs."""
    ground = np.random.default_rng(7).integers(20, 90, (240, 320, 3), dtype=np.uint8)
    frames = []
    for step in range(N_FRAMES):
        picture = ground.copy()
        picture[80:140, 40 + 6 * step : 80 + 6 * step] = 250
        frames.append(simplejpeg.encode_jpeg(picture, quality=90, colorspace="BGR"))
    return frames


def pts_s(step: int) -> float:
    return round(step / FRAME_RATE, 6)


def offline(frames: Sequence[bytes]) -> list[tuple[TrackedObject, ...]]:
    """The same clip through the pipeline alone."""
    clock = SystemClock()
    pipeline = Pipeline(CpuVision(), BrightDetector(), PipelineConfig(), failure_model(settings()), clock)
    results = []
    for step, data in enumerate(frames):
        capture = CaptureTime(START_UNIX_S + step / FRAME_RATE, "client")
        results.append(pipeline.step(Frame(step + 1, pts_s(step), decode_small(data, None), capture)).objects)
    return results


def as_json(item: TrackedObject) -> dict[str, Any]:
    return {
        "track_id": item.track_id,
        "class_id": item.class_id,
        "label": item.label,
        "box": [round(float(side), 2) for side in item.box],
        "score": round(float(item.score), 4),
        "origin": item.origin,
        "detection_age_s": round(float(item.detection_age_s), 3),
        "failure_probability": round(float(item.failure_probability), 4),
        "zones": [],
    }


def test_a_clip_pushed_with_its_capture_times_gives_the_tracks_of_an_offline_run() -> None:
    frames = clip()
    expected = [[as_json(item) for item in objects] for objects in offline(frames)]
    assert any(expected), "the block is found"
    app = create_app(settings(), detector=BrightDetector())
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(app.router.lifespan_context(app)):
        api = Api(app, portal, Bench())
        for session_id in ("first", "second"):
            assert api.post("/sessions", json={"id": session_id}).status_code == 201
        pushed: dict[str, list[Any]] = {"first": [], "second": []}
        for step, data in enumerate(frames):
            for session_id, results in pushed.items():
                response = api.push(session_id, data, X_Capture_Time=repr(START_UNIX_S + step / FRAME_RATE))
                results.append(response.json()["objects"])
        assert api.get("/sessions/first/explain/1").json()["candidates"]
    assert pushed["first"] == expected
    assert pushed["second"] == expected


def test_a_detector_that_cannot_be_used_is_told_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound):
        create_app(settings(detector=tmp_path / "none.onnx"))


def test_a_demo_session_that_does_not_go_with_the_settings_is_told_at_the_start() -> None:
    with pytest.raises(SettingsError, match="640x360"):
        create_app(settings(demo=True, flexpatch={"max_canvas": "640x360"}))


def test_a_failure_model_that_cannot_be_used_is_told_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound):
        create_app(settings(failure_model=tmp_path / "none.json"))


def test_an_altered_model_is_run_neither_by_default_nor_for_a_session(tmp_path: Path) -> None:
    square_finder(tmp_path / "mine.onnx")
    recorded = [{"file": "mine.onnx", "sha256": "0" * 64, "task": "detection"}]
    (tmp_path / INSTALLED).write_text(json.dumps(recorded), encoding="utf-8")
    with pytest.raises(ModelAltered):
        create_app(settings(detector="mine", models_dir=tmp_path))
    with start_blocking_portal() as portal:
        api = Api(create_app(settings(models_dir=tmp_path)), portal, Bench())
        response = api.post("/sessions", json={"detector": "mine"})
    assert (response.status_code, response.json()["code"]) == (422, "model_altered")
