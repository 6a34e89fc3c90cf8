"""The TensorRT that builds without a GPU; tests of real builds skip without it."""

import pytest

from app.detect.tensorrt.engine_file import EngineKey
from app.detect.tensorrt.library import Capability, Library, find_library
from app.detect.tensorrt.options import EngineOptions

ADA: Capability = (8, 9)
KEY = EngineKey(ADA, "tensorrt_rtx", "1.7.1.116", "ab" * 32, EngineOptions())


def library_that_builds_ahead() -> Library:
    """Skips where there is none."""
    search = find_library(ADA, ahead=True, flavours=["tensorrt_rtx"])
    if search.library is None:
        pytest.skip(f"no engine can be built ahead: {search.refusals[0]}")
    return search.library


@pytest.fixture(scope="session")
def rtx() -> Library:
    return library_that_builds_ahead()
