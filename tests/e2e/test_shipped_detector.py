"""What a user has who gives no option at all: the shipped detector, and a demo session that sees its street."""

import threading

import numpy as np
import pytest
from anyio.from_thread import start_blocking_portal

from app.chosen_models import SHIPPED_MODELS
from app.core.manifest import check_recorded, read_manifest
from app.core.types import Size
from app.detect.loader import load_detector
from app.main import create_app
from app.offline.detector.calibration import calibrate_on
from app.offline.detector.canvases import view
from app.offline.detector.scenes import street_scenes
from app.offline.detector.trial import STREETS, trials
from tests.api.conftest import Api, settings
from tests.sessions.fakes import Bench

SHIPPED = SHIPPED_MODELS / "flexpatch-nano.onnx"


def test_the_shipped_file_is_the_recorded_one() -> None:
    assert SHIPPED.name in {entry.file for entry in read_manifest(SHIPPED_MODELS) if entry.task == "detection"}
    check_recorded(SHIPPED)
    assert SHIPPED.stat().st_size < 4_000_000


def test_it_takes_any_size_and_batch() -> None:
    detector = load_detector(SHIPPED)
    assert detector.class_names == ("person", "car")
    for batch, height, width in ((1, 32, 32), (3, 96, 160), (1, 384, 640)):
        assert len(detector.detect(np.full((batch, height, width, 3), 114, np.uint8))) == batch


def test_an_empty_canvas_shows_nothing() -> None:
    found = load_detector(SHIPPED).detect(np.full((1, 384, 640, 3), 114, np.uint8))[0]
    assert not len(found.scores) or found.scores.max() < 0.2


def test_it_sees_people_and_cars_on_streets_that_it_was_not_trained_on() -> None:
    scenes = [scene for text in STREETS for scene in street_scenes(text, 2)]
    people, cars = trials(load_detector(SHIPPED), scenes)
    assert people.n_objects > 100
    assert people.ap50 is not None
    assert people.ap50 > 0.7
    assert cars.ap50 is not None
    assert cars.ap50 > 0.94


def test_it_misses_hardly_anybody_on_a_clear_street_seen_in_full() -> None:
    streets = [f"synthetic:1280x720@1?objects=8&seed={seed}" for seed in (511, 512)]
    people, cars = trials(
        load_detector(SHIPPED), [s for text in streets for s in street_scenes(text, 8)], Size(1280, 736)
    )
    assert people.n_objects > 40
    assert people.ap50 is not None
    assert people.ap50 > 0.9
    assert cars.ap50 is not None
    assert cars.ap50 > 0.9


def test_its_scores_are_chances() -> None:
    """Whoever looks for a curve that makes them so finds that hardly any is needed."""
    scenes = [scene for text in STREETS for scene in street_scenes(text, 4)]
    canvases = [view(scene, Size(640, 384), np.random.default_rng(place)) for place, scene in enumerate(scenes)]
    people, _ = calibrate_on(load_detector(SHIPPED, score_floor=0.02), canvases)
    assert people.slope == pytest.approx(1, abs=0.3)
    assert people.offset == pytest.approx(0, abs=0.7)


def test_the_demo_session_puts_out_people_and_cars() -> None:
    app = create_app(settings(demo=True))
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(app.router.lifespan_context(app)):
        api = Api(app, portal, Bench())
        labels: set[str] = set()
        seq = 0
        while labels != {"person", "car"}:
            assert seq < 100, "ten seconds of street without a person and a car"
            response = api.get(f"/sessions/demo/results/latest?after_seq={seq}&wait_s=5")
            assert response.status_code == 200, "the camera goes on"
            seq = response.json()["seq"]
            labels |= {item["label"] for item in response.json()["objects"] if item["score"] > 0.3}
        session = api.get("/sessions/demo").json()
        assert session["state"] == "running"
        assert session["detector"]["name"] == "flexpatch-nano"
        assert api.get("/sessions/demo/snapshot.jpg").headers["content-type"] == "image/jpeg"
    ours = {"camera", "camera-feed", "feeder", "live-reader", "session-demo"}
    assert not ours & {thread.name for thread in threading.enumerate()}
