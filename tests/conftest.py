"""What holds for every test."""

import logging
from collections.abc import Iterator

import pytest
from hypothesis import settings

# Property tests are the same on every run and every machine, however slow it is.
settings.register_profile("gate", derandomize=True, deadline=None)
settings.load_profile("gate")


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    """A test that sets up logging does not have the others write to a stream that was closed with it."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
