import json
from dataclasses import replace
from typing import Any

import pytest

from app.core.types import CaptureTime, FrameResult, Size, TrackedObject, Work
from app.core.wire import result_json

WALKER = TrackedObject(
    track_id=17,
    class_id=0,
    label="person",
    box=(12.004, 40.5, 88.0, 96.126),
    score=0.871234,
    origin="tracked",
    detection_age_s=0.16049,
    failure_probability=0.12,
)
RESULT = FrameResult(
    seq=1042,
    pts_s=41.7,
    size=Size(1920, 1080),
    objects=(WALKER,),
    work=Work("patch", 7, Size(640, 352), 0.8123456, 225_280, "onnxruntime-cpu"),
    stage_ms={"decode": 3.1234, "flow": 2.0},
    capture=CaptureTime(1_767_225_600.0, "rtcp"),
)


def document(*objects: TrackedObject, zones: tuple[tuple[str, ...], ...] = ()) -> dict[str, Any]:
    names = zones or ((),) * len(objects)
    read: dict[str, Any] = json.loads(
        result_json("cam-7", RESULT, objects, names, completed_unix_s=1_767_225_600.0382, n_dropped=2)
    )
    return read


def test_the_document_is_that_of_the_contract() -> None:
    assert document(WALKER, zones=(("door",),)) == {
        "session": "cam-7",
        "seq": 1042,
        "time": {
            "capture": "2026-01-01T00:00:00.000Z",
            "capture_source": "rtcp",
            "completed": "2026-01-01T00:00:00.038Z",
        },
        "age_ms": 38.2,
        "work": {
            "mode": "patch",
            "patches": 7,
            "canvas": [640, 352],
            "canvas_fill": 0.8123,
            "detector_pixels": 225_280,
            "backend": "onnxruntime-cpu",
            "vision": "cpu",
        },
        "stage_ms": {"decode": 3.123, "flow": 2.0},
        "dropped_since_last": 2,
        "objects": [
            {
                "track_id": 17,
                "class_id": 0,
                "label": "person",
                "box": [12.0, 40.5, 88.0, 96.13],
                "score": 0.8712,
                "origin": "tracked",
                "detection_age_s": 0.16,
                "failure_probability": 0.12,
                "zones": ["door"],
            }
        ],
    }


def test_a_frame_without_objects_has_an_empty_list() -> None:
    assert document()["objects"] == []


@pytest.mark.parametrize("text", ['"quoted"', "back\\slash", "Fußgänger", "line\nbreak", "</script>"])
def test_names_of_any_kind_come_through(text: str) -> None:
    item = document(replace(WALKER, label=text), zones=((text,),))["objects"][0]
    assert (item["label"], item["zones"]) == (text, [text])


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("name", ["score", "detection_age_s", "failure_probability"])
def test_a_number_that_json_does_not_have_is_an_error(name: str, value: float) -> None:
    changed: dict[str, Any] = {name: value}
    with pytest.raises(ValueError, match="not finite"):
        document(replace(WALKER, **changed))
