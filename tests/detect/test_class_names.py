"""Class names as the world's exporters write them."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.detect.class_names import COCO_80, from_metadata, read_literal, resolve


def test_coco_has_80_classes_and_begins_with_person() -> None:
    assert len(set(COCO_80)) == len(COCO_80) == 80
    assert (COCO_80[0], COCO_80[2], COCO_80[79]) == ("person", "car", "toothbrush")


@pytest.mark.parametrize(
    "text", ["{0: 'cat', 1: 'dog'}", '{"0": "cat", "1": "dog"}', "['cat', 'dog']", '["cat", "dog"]', "('cat', 'dog')"]
)
def test_names_are_read_in_python_and_json_syntax(text: str) -> None:
    assert from_metadata({"names": text}) == ("cat", "dog")
    assert from_metadata({"classes": text}) == ("cat", "dog")


def test_a_gap_in_the_numbers_gets_a_name() -> None:
    assert from_metadata({"names": "{0: 'cat', 2: 'dog'}"}) == ("cat", "class_1", "dog")


@pytest.mark.parametrize("text", ["", "nonsense", "{", "3", "[]", "{}", "{'a': 'b'}", "{999999999: 'x'}", "(" * 5000])
def test_what_is_no_list_of_names_counts_as_none(text: str) -> None:
    assert from_metadata({"names": text}) is None


@given(st.lists(st.text(max_size=20), min_size=1, max_size=10))
def test_any_names_survive_both_syntaxes(names: list[str]) -> None:
    assert from_metadata({"names": json.dumps(names)}) == tuple(names)
    assert from_metadata({"names": repr(dict(enumerate(names)))}) == tuple(names)


@given(st.text())
def test_reading_a_literal_never_fails(text: str) -> None:
    read_literal(text)


def test_names_fall_back_to_coco_and_then_to_numbers() -> None:
    assert resolve(2, ("cat", "dog")) == ("cat", "dog")
    assert resolve(3, ("cat", "dog")) == ("class_0", "class_1", "class_2")
    assert resolve(80, None) == COCO_80


def test_cocos_own_91_numbers_have_gaps() -> None:
    names = resolve(91, None)
    assert (names[1], names[3], names[17], names[90]) == ("person", "car", "cat", "toothbrush")
    assert names[0] == "class_0"
    assert [name for name in names if not name.startswith("class_")] == list(COCO_80)
