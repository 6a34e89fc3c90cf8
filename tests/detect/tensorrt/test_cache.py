"""The folder of engines: what fits is taken, the rest is built, once."""

import errno
import logging
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from app.core.errors import EngineNotBuilt, ModelUnreadable
from app.core.manifest import sha256_of
from app.detect.network import Signature
from app.detect.tensorrt import cache as cache_module
from app.detect.tensorrt.builder import EngineRequest
from app.detect.tensorrt.cache import EngineCache
from app.detect.tensorrt.engine_file import EngineFile, EngineKey, read_engine
from app.detect.tensorrt.library import Library
from app.detect.tensorrt.options import EngineOptions
from tests.detect.graphs import square_finder
from tests.detect.tensorrt.conftest import ADA
from tests.detect.tensorrt.fakes import refuse, tensorrt_rtx

LIBRARY = Library("tensorrt_rtx", "1.2.0.54", tensorrt_rtx())
SIGNATURE = Signature((), (), {"names": "{0: 'ant'}"})
PATIENCE_S = 20


class Builds:
    """A `build` that remembers its requests, and what it got for a graph."""

    def __init__(self, meanwhile: Callable[[], object] = lambda: None) -> None:
        self.requests: list[EngineRequest] = []
        self.meanwhile = meanwhile

    def __call__(self, request: EngineRequest, graph: bytes, library: Library) -> bytes:
        self.requests.append(request)
        self.meanwhile()
        return b"plan %d of " % len(self.requests) + graph


@pytest.fixture
def builds(monkeypatch: pytest.MonkeyPatch) -> Builds:
    made = Builds()
    monkeypatch.setattr(cache_module, "build", made)
    return made


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "finder.onnx"
    path.write_bytes(b"graph")
    return path


@pytest.fixture
def engines(tmp_path: Path) -> EngineCache:
    return EngineCache(tmp_path / "engines", LIBRARY)


def key_of(engines: EngineCache, model: Path, options: EngineOptions | None = None) -> EngineKey:
    return engines.key(model, ADA, options or EngineOptions())


def get(engines: EngineCache, model: Path, key: EngineKey | None = None, *, anew: bool = False) -> EngineFile:
    return engines.get(
        model,
        key or key_of(engines, model),
        SIGNATURE,
        make_graph=lambda: b"graph",
        is_for_this_gpu=False,
        anew=anew,
    )


def test_a_key_holds_all_that_an_engine_depends_on(engines: EngineCache, model: Path) -> None:
    options = EngineOptions("int8", 4, 1280)
    assert engines.key(model, ADA, options) == EngineKey(ADA, "tensorrt_rtx", "1.2.0.54", sha256_of(b"graph"), options)
    with pytest.raises(ModelUnreadable, match=r"none\.onnx cannot be read: No such file"):
        engines.key(model.with_name("none.onnx"), ADA, options)


def test_engines_that_may_be_wanted_at_the_same_time_lie_side_by_side(engines: EngineCache, model: Path) -> None:
    key = key_of(engines, model)
    keys = [
        key,
        replace(key, capability=(8, 6)),
        replace(key, flavour="tensorrt"),
        replace(key, options=EngineOptions("float")),
        replace(key, options=EngineOptions(max_batch=2)),
        replace(key, options=EngineOptions(max_side_px=1280)),
    ]
    paths = {engines.path(model, wanted) for wanted in keys} | {engines.path(Path("other.onnx"), key)}
    assert len(paths) == len(keys) + 1
    assert engines.path(model, key).name == "finder.sm_89.tensorrt_rtx.half.b1.s1920.engine"
    for later in (replace(key, library_version="2"), replace(key, model_sha256="0" * 64)):
        assert engines.path(model, later) == engines.path(model, key)


def test_an_engine_is_built_once(engines: EngineCache, model: Path, builds: Builds) -> None:
    first = get(engines, model)
    assert first.plan == b"plan 1 of graph"
    assert first.metadata == SIGNATURE.metadata
    assert first.description is not None
    assert first.description.model == "finder"
    assert get(engines, model) == first
    (request,) = builds.requests
    assert (request.model, request.key, request.is_for_this_gpu) == (model, key_of(engines, model), False)
    assert request.timing_file == first.path.parent / "tensorrt_rtx-1.2.0.54.sm_89.timings"


def test_an_engine_that_is_there_needs_no_graph(engines: EngineCache, model: Path, builds: Builds) -> None:
    first = get(engines, model)
    key = key_of(engines, model)
    assert engines.get(model, key, SIGNATURE, make_graph=refuse, is_for_this_gpu=False) == first


def test_anew_means_anew(engines: EngineCache, model: Path, builds: Builds) -> None:
    get(engines, model)
    assert get(engines, model, anew=True).plan == b"plan 2 of graph"
    assert get(engines, model).plan == b"plan 2 of graph"


def test_looking_up_says_why_there_is_none(engines: EngineCache, model: Path, builds: Builds) -> None:
    key = key_of(engines, model)
    path = engines.path(model, key)
    assert engines.look_up(model, key).reason == f"there is no {path.name} yet"
    assert not path.parent.exists()
    get(engines, model)
    kept = engines.look_up(model, key)
    assert kept.file
    assert kept.reason == ""
    for wanted, words in (
        (replace(key, model_sha256="0" * 64), "was built from another version of the model"),
        (replace(key, library_version="2"), "and here is tensorrt_rtx 2"),
    ):
        kept = engines.look_up(model, wanted)
        assert kept.file is None
        assert kept.reason.endswith(words)
    whole = path.read_bytes()
    for damaged, words in (
        (whole[:-1], "is damaged: what is in it is not what was written"),
        (b"", "it has 0 bytes"),
        (b"only a plan", "does not say what it was built from"),
    ):
        path.write_bytes(damaged)
        kept = engines.look_up(model, key)
        assert kept.file is None
        assert kept.reason.endswith(words)


def test_a_folder_that_may_not_be_looked_into_has_none(
    engines: EngineCache, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbid(path: Path) -> bool:
        raise PermissionError(errno.EACCES, "Permission denied")

    key = key_of(engines, model)
    monkeypatch.setattr(Path, "is_file", forbid)
    kept = engines.look_up(model, key)
    assert kept.file is None
    assert kept.reason == f"{engines.path(model, key)} cannot be read: Permission denied"


@pytest.mark.parametrize("content", [b"", b"garbage", b"\xff" * 5000], ids=["empty", "garbage", "0xff"])
def test_a_damaged_engine_is_built_anew(content: bytes, engines: EngineCache, model: Path, builds: Builds) -> None:
    path = get(engines, model).path
    path.write_bytes(content)
    assert get(engines, model).plan == b"plan 2 of graph"
    assert read_engine(path).plan == b"plan 2 of graph"


def test_another_version_of_the_model_takes_the_place_of_the_former(
    engines: EngineCache, model: Path, builds: Builds
) -> None:
    first = get(engines, model)
    model.write_bytes(b"later graph")
    second = get(engines, model)
    assert (second.path, second.plan) == (first.path, b"plan 2 of graph")
    assert len(list(first.path.parent.glob("*.engine"))) == 1


def test_what_turned_out_to_be_of_no_use_is_discarded(engines: EngineCache, model: Path, builds: Builds) -> None:
    key = key_of(engines, model)
    engines.discard(model, key)
    get(engines, model)
    engines.discard(model, key)
    assert engines.look_up(model, key).file is None


def test_what_cannot_be_removed_stays(
    engines: EngineCache, model: Path, builds: Builds, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def read_only(path: Path, missing_ok: bool = False) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    get(engines, model)
    monkeypatch.setattr(Path, "unlink", read_only)
    engines.discard(model, key_of(engines, model))
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == [
        "an engine cannot be removed"
    ]


def test_a_build_that_fails_leaves_nothing_and_the_next_one_its_turn(
    engines: EngineCache, model: Path, builds: Builds
) -> None:
    builds.meanwhile = refuse
    with pytest.raises(EngineNotBuilt, match="nothing was to be built"):
        get(engines, model)
    key = key_of(engines, model)
    assert engines.look_up(model, key).reason.startswith("there is no ")
    builds.meanwhile = lambda: None
    assert get(engines, model).plan == b"plan 2 of graph"


def test_a_folder_in_which_nothing_can_be_written_says_so_before_anything_is_built(
    model: Path, builds: Builds, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    engines = EngineCache(tmp_path / "file" / "engines", LIBRARY)
    assert engines.look_up(model, key_of(engines, model)).file is None
    with pytest.raises(EngineNotBuilt, match=r"No engine can be written to .*/file/engines: Not a directory"):
        get(engines, model)
    assert builds.requests == []


def test_a_disk_that_is_full_afterwards_says_so(
    engines: EngineCache, model: Path, builds: Builds, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(EngineNotBuilt, match=r"cannot be written to .*\.engine: No space left on device\.$"):
        get(engines, model)
    assert list(engines.path(model, key_of(engines, model)).parent.glob("*.part")) == []


# --------------------------------------------------------------------------------------------- several at a time


def test_of_two_threads_that_ask_at_once_one_builds_and_both_get_the_engine(
    model: Path, builds: Builds, tmp_path: Path
) -> None:
    is_waiting = threading.Event()
    engines = EngineCache(tmp_path / "engines", LIBRARY, on_wait=is_waiting.set)
    builds.meanwhile = lambda: is_waiting.wait(PATIENCE_S)
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda _: get(engines, model), range(2))
    assert is_waiting.is_set()
    assert first == second
    assert len(builds.requests) == 1


def test_different_engines_are_built_at_the_same_time(
    engines: EngineCache, model: Path, builds: Builds, tmp_path: Path
) -> None:
    both = threading.Barrier(2, timeout=PATIENCE_S)
    builds.meanwhile = both.wait
    keys = [key_of(engines, model, EngineOptions(precision)) for precision in ("float", "half")]
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda key: get(engines, model, key), keys)
    assert first.path != second.path


def test_nobody_waits_for_a_build_that_is_over(model: Path, builds: Builds, tmp_path: Path) -> None:
    waits: list[None] = []
    engines = EngineCache(tmp_path / "engines", LIBRARY, on_wait=lambda: waits.append(None))
    get(engines, model)
    get(engines, model)
    assert waits == []


ANOTHER_PROCESS = """
import sys
from pathlib import Path
from app.detect.tensorrt import cache
from tests.detect.tensorrt.test_cache import LIBRARY, get

def build(request, graph, library):
    print("building", flush=True)
    sys.stdin.readline()
    if sys.argv[3] == "crashes":
        import os
        os._exit(1)
    return b"plan of the other process"

cache.build = build
get(cache.EngineCache(Path(sys.argv[1]), LIBRARY), Path(sys.argv[2]))
"""


@pytest.mark.parametrize(
    ("ending", "plan", "n_builds"), [("ends", b"plan of the other process", 0), ("crashes", b"plan 1 of graph", 1)]
)
def test_another_processs_build_is_waited_for_and_done_again_only_if_it_came_to_nothing(
    ending: str, plan: bytes, n_builds: int, *, model: Path, builds: Builds, tmp_path: Path
) -> None:
    folder = tmp_path / "engines"
    with subprocess.Popen(  # noqa: S603 - our own interpreter
        [sys.executable, "-c", ANOTHER_PROCESS, str(folder), str(model), ending],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[3],
    ) as process:
        assert process.stdin
        assert process.stdout
        assert process.stdout.readline() == "building\n"
        waits = []

        def on_wait() -> None:
            waits.append(len(builds.requests))
            assert process.stdin
            process.stdin.write("go on\n")
            process.stdin.flush()

        file = get(EngineCache(folder, LIBRARY, on_wait), model)
    assert waits == [0]
    assert file.plan == plan
    assert len(builds.requests) == n_builds


# ------------------------------------------------------------------------------------------- TensorRT-RTX itself


def test_a_real_engine_is_built_into_the_folder_and_found_there(rtx: Library, tmp_path: Path) -> None:
    model = square_finder(tmp_path / "finder.onnx", metadata={"stride": "32"})
    engines = EngineCache(tmp_path / "engines", rtx)
    key = engines.key(model, ADA, EngineOptions("float"))
    file = engines.get(model, key, SIGNATURE, make_graph=model.read_bytes, is_for_this_gpu=False)
    assert engines.look_up(model, key).file == file
    assert {path.suffix for path in file.path.parent.iterdir()} == {".engine", ".lock"}
    with pytest.raises(EngineNotBuilt, match="cannot read"):
        engines.get(model, key, SIGNATURE, make_graph=lambda: b"no graph", is_for_this_gpu=False, anew=True)
    assert engines.look_up(model, key).file == file
