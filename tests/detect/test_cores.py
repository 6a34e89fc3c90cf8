"""Cores for inference threads."""

import os
from pathlib import Path

import pytest

from app.detect.cores import available_cores

MINE = len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("limit", "cores"),
    [
        ("100000 100000", 1),
        ("1000 100000", 1),
        ("6400000 100000", MINE),
        ("max 100000", MINE),
        ("", MINE),
        ("1 0", MINE),
    ],
)
def test_a_containers_share_limits_the_cores(limit: str, cores: int, tmp_path: Path) -> None:
    file = tmp_path / "cpu.max"
    file.write_text(limit)
    assert available_cores(file) == cores


def test_without_a_limit_all_cores_count(tmp_path: Path) -> None:
    assert available_cores(tmp_path / "missing") == MINE
    assert 1 <= available_cores() <= MINE
