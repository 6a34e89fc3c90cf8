"""Which TensorRT is taken, and what is said of those that are not."""

from collections.abc import Sequence
from typing import Any

import pytest

from app.core.errors import EngineNotBuilt, GpuMissing
from app.detect.tensorrt.builder import check_target
from app.detect.tensorrt.library import Capability, Library, find_library
from tests.detect.tensorrt.conftest import ADA
from tests.detect.tensorrt.fakes import imports, module, tensorrt_10, tensorrt_11, tensorrt_rtx

HOPPER: Capability = (9, 0)
BOTH = {"tensorrt": tensorrt_10(), "tensorrt_rtx": tensorrt_rtx()}


def shown(library: Library | None) -> str | None:
    return None if library is None else str(library)


@pytest.mark.parametrize(
    ("found", "capability", "ahead", "taken", "refusals"),
    [
        (BOTH, None, False, "TensorRT 10.9.0.34", []),
        (BOTH, HOPPER, False, "TensorRT 10.9.0.34", []),
        (BOTH, ADA, True, "TensorRT-RTX 1.2.0.54", ["TensorRT 10.9.0.34 builds only for the GPU in the machine"]),
        ({"tensorrt_rtx": tensorrt_rtx()}, ADA, False, "TensorRT-RTX 1.2.0.54", ["TensorRT is not installed"]),
        ({}, ADA, False, None, ["TensorRT is not installed", "TensorRT-RTX is not installed"]),
        (
            {"tensorrt_rtx": tensorrt_rtx()},
            HOPPER,
            False,
            None,
            ["TensorRT is not installed", "TensorRT-RTX 1.2.0.54 does not support compute capability 9.0"],
        ),
        (
            {"tensorrt": module("tensorrt", "8.6.1"), "tensorrt_rtx": tensorrt_rtx()},
            None,
            False,
            "TensorRT-RTX 1.2.0.54",
            ["TensorRT 8.6.1 is older than 10.0"],
        ),
        (
            {"tensorrt_rtx": tensorrt_rtx("0.9.3")},
            None,
            False,
            None,
            ["TensorRT is not installed", "TensorRT-RTX 0.9.3 is older than 1.0"],
        ),
    ],
)
def test_the_first_that_can_is_taken_and_the_others_say_why_not(
    found: dict[str, Any], capability: Capability | None, ahead: bool, taken: str | None, refusals: Sequence[str]
) -> None:
    search = find_library(capability, ahead=ahead, load=imports(**found))
    assert shown(search.library) == taken
    assert list(search.refusals) == refusals


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError("libnvinfer.so.10: cannot open shared object file"), "libnvinfer.so.10: cannot open shared object"),
        (ImportError("libcudart.so.13:\n not found"), "libcudart.so.13: not found"),
        (ModuleNotFoundError("No module named 'tensorrt_libs'", name="tensorrt_libs"), "'tensorrt_libs'"),
        (RuntimeError("no CUDA-capable device"), "no CUDA-capable device"),
    ],
)
def test_one_that_is_installed_but_broken_says_how_and_the_next_is_taken(error: Exception, words: str) -> None:
    search = find_library(load=imports(tensorrt=error, tensorrt_rtx=tensorrt_rtx()))
    assert shown(search.library) == "TensorRT-RTX 1.2.0.54"
    assert search.refusals[0].startswith("TensorRT cannot be loaded: ")
    assert words in search.refusals[0]


def test_what_has_the_name_of_tensorrt_but_no_version_is_not_taken() -> None:
    without: Any = module("tensorrt", "10.0")
    del without.__version__
    for made in (without, module("tensorrt", "nightly")):
        search = find_library(flavours=["tensorrt"], load=imports(tensorrt=made))
        assert search.library is None
        assert search.refusals[0].startswith("TensorRT cannot be loaded: ")


def test_the_order_is_the_callers() -> None:
    search = find_library(flavours=["tensorrt_rtx", "tensorrt"], load=imports(**BOTH))
    assert shown(search.library) == "TensorRT-RTX 1.2.0.54"


def test_where_there_is_none_the_error_names_every_reason_and_how_to_install_one() -> None:
    search = find_library(HOPPER, load=imports(tensorrt_rtx=tensorrt_rtx()))
    with pytest.raises(GpuMissing) as caught:
        search.required()
    assert str(caught.value) == (
        "There is no TensorRT: TensorRT is not installed; TensorRT-RTX 1.2.0.54 does not support compute capability "
        "9.0. Install one: pip install 'flexpatch-service[gpu]'."
    )


def test_precision_is_a_flag_up_to_10_and_the_graphs_from_11_on() -> None:
    assert Library("tensorrt", "10.9", tensorrt_10()).takes_precision_flags
    assert not Library("tensorrt", "11.0", tensorrt_11()).takes_precision_flags
    assert not Library("tensorrt_rtx", "1.2", tensorrt_rtx()).takes_precision_flags


def test_a_target_is_the_librarys_own_name() -> None:
    library = Library("tensorrt_rtx", "1.2", tensorrt_rtx())
    assert library.target(ADA) == "SM89"
    assert library.target((12, 0)) == "SM120"
    assert library.capabilities() == ((7, 5), (8, 0), (8, 6), (8, 9), (12, 0))
    with pytest.raises(EngineNotBuilt, match=r"compute capability 9\.0; it builds for 7\.5, 8\.0, 8\.6, 8\.9, 12\.0\."):
        library.target(HOPPER)
    with pytest.raises(EngineNotBuilt, match=r"TensorRT 10\.9 builds only for the GPU in the machine"):
        Library("tensorrt", "10.9", tensorrt_10()).target(ADA)


def test_for_the_gpu_at_hand_no_name_is_needed() -> None:
    library = Library("tensorrt", "10.9", tensorrt_10())
    assert check_target(library, HOPPER, present=HOPPER)
    with pytest.raises(EngineNotBuilt, match="only for the GPU in the machine"):
        check_target(library, ADA, present=HOPPER)
    assert not check_target(Library("tensorrt_rtx", "1.2", tensorrt_rtx()), ADA, present=None)


def test_the_real_one_names_the_gpus_that_it_builds_for(rtx: Library) -> None:
    assert rtx.builds_ahead
    assert not rtx.takes_precision_flags
    assert {(7, 5), (8, 0), (8, 6), ADA, (12, 0)} <= set(rtx.capabilities())
    assert all(rtx.target(capability).name == "SM{}{}".format(*capability) for capability in rtx.capabilities())
    assert rtx.runs_on(ADA)
    assert not rtx.runs_on(HOPPER)
