"""The models folder: what comes in is what was meant, works, and never takes a good model's place by accident."""

import errno
import json
import shutil
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pytest

from app.core.errors import (
    DownloadFailed,
    ModelAltered,
    ModelError,
    ModelExists,
    ModelNotFound,
    ModelUnreadable,
    SettingsError,
)
from app.core.manifest import INSTALLED, MANIFEST, check_recorded, read_manifest, sha256_of, sha256_of_file
from app.core.types import Size
from app.detect.loader import DetectorStore, load_detector
from app.offline.models import download
from app.offline.models.known import KNOWN, LARGEST_MODEL_BYTES, KnownModel
from app.offline.models.store import ModelStore
from app.offline.output import text_file
from tests.detect.graphs import constant_model, square_finder
from tests.offline.models.server import Publisher, publishing

TEMPORARY = {".lock"}


@pytest.fixture(scope="module")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return square_finder(tmp_path_factory.mktemp("release") / "finder.onnx")


@pytest.fixture
def server(model_file: Path) -> Iterator[Publisher]:
    with publishing() as publisher:
        publisher.files["/release/finder_v1.onnx"] = model_file.read_bytes()
        yield publisher


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "models"


@pytest.fixture
def store(server: Publisher, folder: Path, model_file: Path) -> Callable[..., ModelStore]:
    """Stores over one folder that know the model `finder`."""

    def make(*, pinned: bool = True, sha256: str | None = None, mirror: str | None = None) -> ModelStore:
        content = model_file.read_bytes()
        known = KnownModel(
            "finder",
            f"{server.address}/release/finder_v1.onnx",
            "Apache-2.0",
            Size(64, 64),
            sha256 or (sha256_of(content) if pinned else None),
            len(content) if pinned else None,
        )
        return ModelStore(folder, mirror, known={"finder": known})

    return make


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "PAUSE_S", 0.0)


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - TEMPORARY


def states(store: ModelStore) -> dict[str, str]:
    return {model.name: model.state for model in store.models()}


# ------------------------------------------------------------------------------------------------------ pull


@pytest.mark.parametrize("pinned", [True, False])
def test_a_known_model_is_installed_recorded_and_usable_by_name(
    pinned: bool, store: Callable[..., ModelStore], folder: Path, server: Publisher, model_file: Path
) -> None:
    assert states(store()) == {"finder": "known"}
    pulled = store(pinned=pinned).pull("finder")
    assert (pulled.state, pulled.licence, pulled.origin) == (
        "ok",
        "Apache-2.0",
        f"{server.address}/release/finder_v1.onnx",
    )
    assert files(folder) == {"finder.onnx", INSTALLED}
    (entry,) = json.loads((folder / INSTALLED).read_text())
    assert entry["sha256"] == sha256_of_file(model_file)
    assert entry["input"] == "multiples of 32"
    assert len(entry["classes"]) == 3
    assert load_detector("finder", folders=(folder,)).name == "finder"


def test_what_is_there_already_is_not_fetched_again(store: Callable[..., ModelStore], server: Publisher) -> None:
    store().pull("finder")
    n_asked = len(server.asked)
    assert store().pull("finder").state == "ok"
    assert len(server.asked) == n_asked


def test_progress_is_told(store: Callable[..., ModelStore], model_file: Path) -> None:
    told: list[int] = []
    store().pull("finder", lambda have, _all: told.append(have))
    assert told[-1] == model_file.stat().st_size


def test_a_download_that_breaks_off_leaves_what_was_there_and_is_continued(
    store: Callable[..., ModelStore], folder: Path, server: Publisher, model_file: Path
) -> None:
    server.breaks_after = [100] * download.ATTEMPTS
    with pytest.raises(DownloadFailed):
        store().pull("finder")
    assert "finder.onnx" not in files(folder)
    assert states(store()) == {"finder": "known"}
    store().pull("finder")
    assert server.sent == model_file.stat().st_size
    assert files(folder) == {"finder.onnx", INSTALLED}


def test_a_file_that_is_not_the_pinned_one_is_refused(store: Callable[..., ModelStore], folder: Path) -> None:
    with pytest.raises(ModelAltered, match=r"has the SHA-256 \w{64}, not 0{64}\. Nothing was installed\."):
        store(sha256="0" * 64).pull("finder")
    assert not files(folder)


def test_what_is_recorded_at_first_is_expected_later(
    store: Callable[..., ModelStore], folder: Path, server: Publisher, tmp_path: Path
) -> None:
    store(pinned=False).pull("finder")
    other = square_finder(tmp_path / "other.onnx", metadata={"version": "2"}).read_bytes()
    server.files["/release/finder_v1.onnx"] = other
    (folder / "finder.onnx").unlink()
    with pytest.raises(ModelAltered, match=r"If it is meant to be another version, add --replace\."):
        store(pinned=False).pull("finder")
    assert files(folder) == {INSTALLED}
    assert store(pinned=False).pull("finder", replace=True).sha256 == sha256_of(other)


def test_another_version_comes_only_when_asked_for(
    store: Callable[..., ModelStore], folder: Path, server: Publisher, tmp_path: Path
) -> None:
    first = store(pinned=False).pull("finder").sha256
    other = square_finder(tmp_path / "other.onnx", metadata={"version": "2"}).read_bytes()
    server.files["/release/finder_v1.onnx"], server.tag = other, '"2"'
    assert store(pinned=False).pull("finder").sha256 == first
    assert store(pinned=False).pull("finder", replace=True).sha256 == sha256_of(other)
    assert len(read_manifest(folder)) == 1


def test_what_is_no_detector_is_not_installed(
    store: Callable[..., ModelStore], folder: Path, server: Publisher
) -> None:
    server.files["/release/finder_v1.onnx"] = b"<html>Sign in to download</html>"
    with pytest.raises(ModelUnreadable):
        store(pinned=False).pull("finder")
    assert not files(folder)


def test_an_altered_model_is_mended_by_pulling_again(store: Callable[..., ModelStore], folder: Path) -> None:
    store().pull("finder")
    (folder / "finder.onnx").write_bytes(b"half")
    assert [model.state for model in store().verify()] == ["altered"]
    with pytest.raises(ModelAltered, match="Install it again"):
        load_detector("finder", folders=(folder,))
    store().pull("finder")
    assert [model.state for model in store().verify()] == ["ok"]
    check_recorded(folder / "finder.onnx")


@pytest.mark.parametrize("is_recorded", [True, False])
def test_a_model_of_ones_own_is_given_up_only_when_asked(
    is_recorded: bool, store: Callable[..., ModelStore], folder: Path, tmp_path: Path
) -> None:
    own = square_finder(tmp_path / "own.onnx", metadata={"version": "2"})
    folder.mkdir()
    if is_recorded:
        store().add(own, "finder")
    else:
        shutil.copyfile(own, folder / "finder.onnx")
    with pytest.raises(ModelExists, match=r"is another model\. Add --replace"):
        store().pull("finder")
    assert (folder / "finder.onnx").read_bytes() == own.read_bytes()
    assert store().pull("finder", replace=True).state == "ok"
    assert (folder / "finder.onnx").read_bytes() != own.read_bytes()


def test_an_unknown_name_names_the_known_ones(store: Callable[..., ModelStore]) -> None:
    with pytest.raises(ModelNotFound, match=r"No model 'nix' is known\. Known: finder\."):
        store().pull("nix")


@pytest.mark.parametrize("name", ["../finder", "a/b", "", ".hidden", "x" * 65, "a b"])
def test_names_stay_in_the_folder(name: str, store: Callable[..., ModelStore], model_file: Path) -> None:
    with pytest.raises(SettingsError, match="is no name for a model"):
        store().add(model_file, name) if name else store(mirror=str(model_file.parent)).pull(name)


def test_a_model_that_is_shipped_is_not_replaced(
    store: Callable[..., ModelStore], folder: Path, model_file: Path
) -> None:
    folder.mkdir()
    (folder / MANIFEST).write_text(json.dumps([{"file": "finder.onnx", "sha256": "0" * 64, "task": "detection"}]))
    with pytest.raises(ModelExists, match="comes with this version"):
        store().pull("finder", replace=True)
    with pytest.raises(ModelExists, match="comes with this version"):
        store().add(model_file, replace=True)


def test_two_that_pull_at_once_take_turns(
    store: Callable[..., ModelStore], folder: Path, server: Publisher, model_file: Path
) -> None:
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(store().pull("finder").state)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert found == ["ok"] * 4
    assert server.sent == model_file.stat().st_size
    assert files(folder) == {"finder.onnx", INSTALLED}


def test_a_folder_that_cannot_be_made_is_told(server: Publisher, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match="Nothing can be written in"):
        ModelStore(tmp_path / "file" / "models").pull("yolox-nano")


# ---------------------------------------------------------------------------------------------------- mirrors


@pytest.mark.parametrize("name", ["finder.onnx", "finder_v1.onnx"])
def test_a_folder_may_be_the_mirror(
    name: str, store: Callable[..., ModelStore], server: Publisher, model_file: Path, tmp_path: Path
) -> None:
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    shutil.copyfile(model_file, mirror / name)
    assert store(mirror=str(mirror)).pull("finder").state == "ok"
    assert not server.asked


@pytest.mark.parametrize("name", ["finder.onnx", "finder_v1.onnx"])
def test_an_address_may_be_the_mirror(
    name: str, store: Callable[..., ModelStore], server: Publisher, model_file: Path
) -> None:
    server.files = {f"/mirror/{name}": model_file.read_bytes()}
    pulled = store(mirror=f"{server.address}/mirror/").pull("finder")
    assert pulled.origin == f"{server.address}/mirror/{name}"
    assert all(path.startswith("/mirror/") for path, _ in server.asked)


def test_a_mirror_is_held_to_the_pinned_sha256(store: Callable[..., ModelStore], tmp_path: Path) -> None:
    square_finder(tmp_path / "finder.onnx", metadata={"version": "2"})
    with pytest.raises(ModelAltered):
        store(mirror=str(tmp_path)).pull("finder")


def test_a_mirror_may_have_models_that_nobody_else_knows(
    store: Callable[..., ModelStore], model_file: Path, tmp_path: Path
) -> None:
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    shutil.copyfile(model_file, mirror / "ours.onnx")
    pulled = store(mirror=str(mirror)).pull("ours")
    assert (pulled.state, pulled.licence, pulled.origin) == ("ok", "unknown", "ours.onnx")


@pytest.mark.parametrize("kind", ["folder", "address"])
def test_a_mirror_without_the_model_says_what_it_lacks(
    kind: str, store: Callable[..., ModelStore], server: Publisher, tmp_path: Path
) -> None:
    mirror = str(tmp_path) if kind == "folder" else server.address.replace("//", "//user:hush@")
    with pytest.raises(ModelNotFound, match=r"has no finder\.onnx and no finder_v1\.onnx\.") as failure:
        store(mirror=mirror).pull("finder")
    assert "hush" not in str(failure.value)


@pytest.mark.parametrize(
    "mirror",
    ["ftp://mirror", "", "no-folder", "http://", "http://[bad", "user:hush@mirror/x", "http://user:hu/sh@mirror"],
)
def test_a_mirror_that_is_neither_is_refused_and_not_repeated(mirror: str, folder: Path) -> None:
    with pytest.raises(SettingsError, match="neither a folder nor an address") as failure:
        ModelStore(folder, mirror).pull("yolox-nano")
    assert "hu" not in str(failure.value)
    assert ModelStore(folder, mirror).models()


def test_the_query_of_a_mirror_goes_with_every_file(
    store: Callable[..., ModelStore], server: Publisher, model_file: Path, folder: Path
) -> None:
    server.files = {"/mirror/finder.onnx?token=hush": model_file.read_bytes()}
    pulled = store(mirror=f"{server.address}/mirror/?token=hush").pull("finder")
    assert pulled.origin == f"{server.address}/mirror/finder.onnx"
    assert "hush" not in (folder / INSTALLED).read_text()


def test_public_weights_come_from_a_mirror(weights: Path, folder: Path) -> None:
    pulled = ModelStore(folder, str(weights)).pull("nanodet_m_416")
    assert (pulled.state, pulled.input) == ("ok", "416x416")
    assert "person" in load_detector("nanodet_m_416", folders=(folder,)).class_names


# ------------------------------------------------------------------------------------------------ add, verify


def test_a_model_of_ones_own_is_added_and_recorded(
    store: Callable[..., ModelStore], folder: Path, model_file: Path
) -> None:
    added = store().add(model_file, "ours", "MIT")
    assert (added.name, added.state, added.licence, added.origin) == ("ours", "ok", "MIT", "finder.onnx")
    assert files(folder) == {"ours.onnx", INSTALLED}
    with pytest.raises(ModelExists, match="Choose another --name"):
        store().add(model_file, "ours")
    assert store().add(model_file, "ours", replace=True).licence == "unknown"


def test_a_file_in_the_folder_is_recorded_where_it_lies(
    store: Callable[..., ModelStore], folder: Path, model_file: Path
) -> None:
    folder.mkdir()
    shutil.copyfile(model_file, folder / "mine.onnx")
    assert states(store())["mine"] == "unrecorded"
    assert store().add(folder / "mine.onnx").state == "ok"
    assert states(store())["mine"] == "installed"
    assert files(folder) == {"mine.onnx", INSTALLED}


def test_a_model_whose_weights_lie_in_another_file_is_not_added(
    store: Callable[..., ModelStore], folder: Path, tmp_path: Path
) -> None:
    rng = np.random.default_rng(1)
    outputs = {"output": rng.random((1, 504, 85), np.float32)}
    model = onnx.load(constant_model(tmp_path / "whole.onnx", outputs))
    onnx.save(model, tmp_path / "split.onnx", save_as_external_data=True, location="split.data", convert_attribute=True)
    load_detector(tmp_path / "split.onnx")
    with pytest.raises(ModelError):
        store().add(tmp_path / "split.onnx")
    assert not folder.exists()


def test_a_full_disk_leaves_the_model_that_was_there(
    store: Callable[..., ModelStore], folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store(pinned=False).pull("finder")
    other = square_finder(tmp_path / "other.onnx", metadata={"version": "2"})
    writes: list[Path] = []

    def fail_at_last(path: Path) -> object:
        writes.append(path)
        if len(writes) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        return text_file(path)

    monkeypatch.setattr("app.offline.models.store.text_file", fail_at_last)
    with pytest.raises(OSError, match="No space"):
        store().add(other, "finder", replace=True)
    check_recorded(folder / "finder.onnx")
    assert load_detector("finder", folders=(folder,)).name == "finder"


def test_what_a_name_links_to_is_held_to_what_is_recorded_of_the_name(
    store: Callable[..., ModelStore], folder: Path, tmp_path: Path
) -> None:
    store().pull("finder")
    other = square_finder(tmp_path / "other.onnx", metadata={"version": "2"})
    (folder / "finder.onnx").unlink()
    (folder / "finder.onnx").symlink_to(other)
    load = partial(load_detector, folders=(folder,))
    with pytest.raises(ModelAltered):
        DetectorStore(lambda path, family: load(path, family=family), (folder,)).get("finder")


def test_what_is_no_detector_is_not_added(store: Callable[..., ModelStore], folder: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"nothing")
    with pytest.raises(ModelUnreadable):
        store().add(tmp_path / "bad.onnx")
    assert not folder.exists()


def test_verify_tells_what_is_altered_and_missing(
    store: Callable[..., ModelStore], folder: Path, model_file: Path
) -> None:
    for name in ("a", "b", "c"):
        store().add(model_file, name)
    (folder / "b.onnx").write_bytes(b"")
    (folder / "c.onnx").unlink()
    assert [(model.name, model.state) for model in store().verify()] == [
        ("a", "ok"),
        ("b", "altered"),
        ("c", "missing"),
    ]
    assert [model.name for model in store().verify(["b"])] == ["b"]
    with pytest.raises(ModelNotFound, match=r"Nothing is recorded of nix in .*\. Recorded: a, b, c\."):
        store().verify(["nix"])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "is not a manifest in JSON"),
        ("{}", "is no manifest"),
        ('[{"file": "../x.onnx", "sha256": "0", "task": "detection"}]', "is no manifest"),
        ('[{"file": "\\ud800.onnx", "sha256": "0", "task": "detection"}]', "is no manifest"),
        ('[{"file": "x.onnx", "sha256": 7, "task": "detection"}]', "is no manifest"),
    ],
)
def test_a_list_that_is_garbage_is_told(text: str, words: str, store: Callable[..., ModelStore], folder: Path) -> None:
    folder.mkdir()
    (folder / INSTALLED).write_text(text)
    with pytest.raises(ModelUnreadable, match=rf"installed\.json {words}"):
        store().models()
    with pytest.raises(ModelUnreadable):
        store().pull("finder")


# ------------------------------------------------------------------------------------------------- known models


def test_known_models_say_all_that_is_needed() -> None:
    for model in KNOWN.values():
        assert model.address.startswith("https://")
        assert model.file == f"{model.name}.onnx"
        assert model.licence in {"Apache-2.0", "AGPL-3.0"}
        assert model.sha256 is None or (len(model.sha256) == 64 and int(model.sha256, 16))
        assert (model.sha256 is None) == (model.n_bytes is None)
        assert (model.n_bytes or 0) <= LARGEST_MODEL_BYTES
