"""What may be chosen about an engine."""

from typing import Any

import pytest

from app.core.errors import SettingsError
from app.detect.tensorrt.options import EngineOptions


@pytest.mark.parametrize(
    "values",
    [
        {"precision": "float"},
        {"precision": "half"},
        {"precision": "int8"},
        {"max_batch": 1},
        {"max_batch": 64},
        {"max_side_px": 640},
        {"max_side_px": 8192},
    ],
    ids=str,
)
def test_values_up_to_the_limits_are_taken(values: dict[str, Any]) -> None:
    options = EngineOptions(**values)
    assert all(getattr(options, name) == value for name, value in values.items())


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"precision": "fp16"}, "precision is 'fp16'; choose float, half or int8"),
        ({"precision": ""}, "choose float, half or int8"),
        ({"max_batch": 0}, "max_batch is 0; it must be 1 to 64"),
        ({"max_batch": 65}, "max_batch is 65"),
        ({"max_side_px": 639}, "max_side_px is 639; it must be 640 to 8192"),
        ({"max_side_px": 8193}, "max_side_px is 8193"),
    ],
    ids=str,
)
def test_values_beyond_are_refused_with_what_is_possible(values: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        EngineOptions(**values)
