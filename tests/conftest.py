"""What holds for every test."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# Property tests are the same on every run and every machine, however slow it is.
settings.register_profile("gate", derandomize=True, deadline=None)
settings.load_profile("gate")


_ROOT = Path(__file__).resolve().parents[1]


def data_folder() -> Path:
    """Where real recordings lie; tests that need them skip without."""
    return Path(os.environ.get("FLEXPATCH_DATA", _ROOT.parent / "shared" / "data"))


@pytest.fixture(scope="session")
def weights() -> Path:
    """Folder of public detector weights."""
    folder = data_folder().parent / "weights"
    if not folder.is_dir():
        pytest.skip("no detector weights beside FLEXPATCH_DATA")
    return folder


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    """A test that sets up logging does not have the others write to a stream that was closed with it."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
