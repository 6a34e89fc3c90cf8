"""Engine files: what is written is read, and nothing else is taken for it."""

import errno
import hashlib
import json
import os
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.core.errors import EngineUnfit, ModelUnreadable
from app.detect.tensorrt.engine_file import EngineFile, EngineKey, read_engine, write_engine, write_whole
from app.detect.tensorrt.library import Library
from app.detect.tensorrt.options import EngineOptions
from tests.detect.tensorrt.conftest import KEY
from tests.detect.tensorrt.fakes import tensorrt_rtx

METADATA = {"names": "{0: 'ant', 1: 'bée'}", "stride": "32"}
PLAN = bytes(range(16))

KEYS = st.builds(
    EngineKey,
    capability=st.tuples(st.integers(5, 15), st.integers(0, 9)),
    flavour=st.sampled_from(["tensorrt", "tensorrt_rtx"]),
    library_version=st.text(max_size=12),
    model_sha256=st.text("0123456789abcdef", min_size=64, max_size=64),
    options=st.builds(
        EngineOptions,
        precision=st.sampled_from(["float", "half", "int8"]),
        max_batch=st.integers(1, 64),
        max_side_px=st.integers(640, 8192),
    ),
)
ANY_TEXT = st.text(st.characters(codec=None), max_size=20)
"""Lone surrogates too, as a file's name has them where it is no UTF-8."""


def written(folder: Path) -> Path:
    path = folder / "model.engine"
    write_engine(path, PLAN, KEY, "modél", METADATA)
    return path


def with_header(path: Path, header: bytes, plan: bytes = PLAN) -> Path:
    path.write_bytes(len(header).to_bytes(4, "little") + header + plan)
    return path


def signed(document: dict[str, Any], plan: bytes = PLAN) -> bytes:
    """A description with the digest that belongs to it, whatever it says."""
    digest = hashlib.sha256(json.dumps(document).encode() + plan).hexdigest()
    return json.dumps(document | {"sha256": digest}).encode()


def description_of(path: Path) -> dict[str, Any]:
    data = path.read_bytes()
    document = json.loads(data[4 : 4 + int.from_bytes(data[:4], "little")])
    assert isinstance(document, dict)
    return document


@given(plan=st.binary(max_size=300), key=KEYS, model=ANY_TEXT, metadata=st.dictionaries(ANY_TEXT, ANY_TEXT, max_size=4))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_written_is_read(
    plan: bytes, key: EngineKey, model: str, metadata: dict[str, str], tmp_path: Path
) -> None:
    path = tmp_path / "model.engine"
    write_engine(path, plan, key, model, metadata)
    file = read_engine(path)
    assert file.description is not None
    assert (file.plan, file.description.key, file.description.model) == (plan, key, model)
    assert file.metadata == file.description.model_metadata == metadata
    file.check_fits(key)


def accepted_as_ours(path: Path) -> EngineFile | None:
    """The file if it is read as one of ours; any other error than that of a damaged file comes through."""
    try:
        file = read_engine(path)
    except ModelUnreadable:
        return None
    return file if file.description else None


def test_no_part_of_a_file_passes_for_the_whole(tmp_path: Path) -> None:
    data = written(tmp_path).read_bytes()
    part = tmp_path / "part.engine"
    for length in range(len(data)):
        part.write_bytes(data[:length])
        assert accepted_as_ours(part) is None, length


def test_nothing_that_follows_a_file_passes_for_part_of_it(tmp_path: Path) -> None:
    path = written(tmp_path)
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(ModelUnreadable, match="is damaged"):
        read_engine(path)


def test_no_flipped_bit_passes(tmp_path: Path) -> None:
    path = written(tmp_path)
    data, before = path.read_bytes(), read_engine(path)
    flipped = tmp_path / "flipped.engine"
    for index in range(len(data)):
        for bit in range(8):
            flipped.write_bytes(data[:index] + bytes([data[index] ^ 1 << bit]) + data[index + 1 :])
            file = accepted_as_ours(flipped)
            # Upper or lower case makes no difference to hexadecimal digits of an escaped letter.
            assert file is None or replace(file, path=path) == before, (index, bit)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("capability", [8]),
        ("capability", None),
        ("capability", [float("inf"), 9]),
        ("flavour", "tensorrt_gtx"),
        ("flavour", ["tensorrt"]),
        ("options", {"precision": "half", "max_batch": 0, "max_side_px": 640}),
        ("options", {"precision": ["half"]}),
        ("options", {"max_batch": "many"}),
        ("options", {"colour": "red"}),
        ("options", None),
        ("model_metadata", ["names"]),
    ],
    ids=str,
)
def test_a_description_without_meaning_is_damage_even_if_it_was_written_so(
    name: str, value: object, tmp_path: Path
) -> None:
    document = description_of(written(tmp_path))
    del document["sha256"]
    assert accepted_as_ours(with_header(tmp_path / "as-it-was.engine", signed(document)))
    path = with_header(tmp_path / "senseless.engine", signed(document | {name: value}))
    with pytest.raises(ModelUnreadable, match=r"is damaged: its description is not understood\.$"):
        read_engine(path)


@pytest.mark.parametrize("name", ["capability", "flavour", "library_version", "model_sha256", "options", "model"])
def test_a_description_that_lacks_something_is_damage(name: str, tmp_path: Path) -> None:
    document = description_of(written(tmp_path))
    del document["sha256"], document[name]
    with pytest.raises(ModelUnreadable, match="is damaged"):
        read_engine(with_header(tmp_path / "without.engine", signed(document)))


@given(data=st.binary(max_size=200))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_are_a_plan_of_which_nothing_is_known_or_no_engine(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "any.engine"
    path.write_bytes(data)
    assert accepted_as_ours(path) is None


def test_a_plan_alone_is_read(tmp_path: Path) -> None:
    path = tmp_path / "trtexec.engine"
    nested = b"[" * 60_000
    for plan in (
        b"ptrt" + bytes(200),
        b"\x04\0\0\0{}{}rest",
        b"\x02\0\0\0[]rest",
        len(nested).to_bytes(4, "little") + nested,
    ):
        path.write_bytes(plan)
        file = read_engine(path)
        assert (file.plan, file.description, file.metadata) == (plan, None, {})
        with pytest.raises(EngineUnfit, match="does not say what it was built from"):
            file.check_fits(KEY)


def test_a_file_as_ultralytics_writes_it_is_read_with_what_it_says(tmp_path: Path) -> None:
    said = {"stride": 32, "imgsz": [384, 640], "names": {"0": "person", "2": "car"}, "task": "detect", "half": True}
    path = with_header(tmp_path / "yolo11n.engine", json.dumps(said).encode())
    file = read_engine(path)
    assert file.plan == PLAN
    assert file.description is None
    assert file.metadata["stride"] == "32"
    assert file.metadata["imgsz"] == "[384, 640]"
    assert file.metadata["names"] == "{'0': 'person', '2': 'car'}"
    assert file.metadata["task"] == "detect"
    file.check_runs(Library("tensorrt_rtx", "1.2", tensorrt_rtx()), (8, 9))


def test_a_description_of_another_format_is_not_believed(tmp_path: Path) -> None:
    document = description_of(written(tmp_path)) | {"format": 2}
    file = read_engine(with_header(tmp_path / "later.engine", json.dumps(document).encode()))
    assert file.description is None
    assert file.plan == PLAN


@pytest.mark.parametrize("data", [b"", b"\0", b"\0\0\0\0"])
def test_what_is_too_short_is_no_engine(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "short.engine"
    path.write_bytes(data)
    with pytest.raises(ModelUnreadable, match=f"is no TensorRT engine: it has {len(data)} bytes"):
        read_engine(path)


def test_what_cannot_be_read_says_so(tmp_path: Path) -> None:
    with pytest.raises(ModelUnreadable, match="cannot be read: No such file"):
        read_engine(tmp_path / "none.engine")
    with pytest.raises(ModelUnreadable, match="cannot be read: Is a directory"):
        read_engine(tmp_path)


OTHERS: list[tuple[Callable[[EngineKey], EngineKey], str]] = [
    (lambda key: replace(key, capability=(8, 6)), "for a GPU of compute capability 8.9, not 8.6"),
    (lambda key: replace(key, flavour="tensorrt"), "by tensorrt_rtx 1.7.1.116, and here is tensorrt 1.7.1.116"),
    (lambda key: replace(key, library_version="1.8"), "by tensorrt_rtx 1.7.1.116, and here is tensorrt_rtx 1.8"),
    (lambda key: replace(key, model_sha256="cd" * 32), "from another version of the model"),
    (lambda key: replace(key, options=replace(key.options, precision="int8")), "with precision half, not int8"),
    (lambda key: replace(key, options=replace(key.options, max_batch=4)), "with max_batch 1, not 4"),
    (lambda key: replace(key, options=replace(key.options, max_side_px=2560)), "with max_side_px 1920, not 2560"),
]


@pytest.mark.parametrize(("other", "words"), OTHERS, ids=[words for _, words in OTHERS])
def test_an_engine_for_anything_else_does_not_fit_and_says_in_what(
    other: Callable[[EngineKey], EngineKey], words: str, tmp_path: Path
) -> None:
    file = read_engine(written(tmp_path))
    with pytest.raises(EngineUnfit) as caught:
        file.check_fits(other(KEY))
    assert str(caught.value) == f"{file.path} was built {words}."


def test_where_it_runs_model_and_options_do_not_matter(tmp_path: Path) -> None:
    file = read_engine(written(tmp_path))
    here = Library("tensorrt_rtx", KEY.library_version, tensorrt_rtx())
    file.check_runs(here, (8, 9))
    with pytest.raises(EngineUnfit, match=r"compute capability 8\.9, not 12\.0"):
        file.check_runs(here, (12, 0))
    with pytest.raises(EngineUnfit, match=r"here is tensorrt_rtx 1\.8"):
        file.check_runs(replace(here, version="1.8"), (8, 9))
    with pytest.raises(EngineUnfit, match=r"here is tensorrt 10\.9"):
        file.check_runs(replace(here, flavour="tensorrt", version="10.9"), (8, 9))


class Interrupted(BaseException):
    pass


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), Interrupted()], ids=repr)
def test_an_interrupted_write_leaves_the_former_file_and_nothing_else(
    error: BaseException, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = written(tmp_path)
    before = path.read_bytes()

    def interrupt(descriptor: int) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", interrupt)
        with pytest.raises(type(error)):
            write_engine(path, b"later", KEY, "model", {})
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    assert path.read_bytes() == before
    write_engine(path, b"later", KEY, "model", {})
    assert read_engine(path).plan == b"later"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_leaves_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    real = Path.open

    def on_full_disk(path: Path, *arguments: Any) -> Any:
        real(path, *arguments).close()
        return real(Path("/dev/full"), "wb")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", on_full_disk)
        with pytest.raises(OSError, match="No space left") as caught:
            write_whole(tmp_path / "new.engine", bytes(100_000))
    assert caught.value.errno == errno.ENOSPC
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_missing_is_made(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "model.engine"
    write_whole(path, b"one", b"two")
    assert path.read_bytes() == b"onetwo"


def test_whoever_may_read_the_folders_files_may_read_an_engine(tmp_path: Path) -> None:
    path = written(tmp_path)
    (tmp_path / "usual").touch()
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE((tmp_path / "usual").stat().st_mode)
