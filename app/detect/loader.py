"""Where detectors come from: a file, or one already loaded."""

import threading
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

from app.core.errors import EngineUnfit, ModelNotFound, ModelUnreadable
from app.core.manifest import check_recorded
from app.core.types import Detector
from app.detect.detector import DetectorChoices
from app.detect.onnx import load_on_processor

ENGINE_SUFFIXES = frozenset({".engine", ".plan", ".trt"})
"""Of TensorRT engines."""


def load_detector(
    path_or_name: str | Path,
    *,
    family: str | None = None,
    threads: int | None = None,
    score_floor: float = 0.05,
    nms_iou: float | None = None,
    folders: Sequence[Path] = (),
) -> Detector:
    """Load a detector onto the processor, and find out by itself how to use it.

    Args:
        path_or_name: an ONNX file, or the name of one in `folders` without its suffix.
        family: of `app.detect.families.FAMILIES`; None: recognise it.
        threads: for one inference; None: all available cores.
        score_floor: lowest score put out, 0 to 1.
        nms_iou: overlap above which two boxes of a class are duplicates; None: as usual in the family.
        folders: where names are looked up.
    Raises:
        ModelNotFound: there is no such file or name.
        ModelUnreadable: the file is damaged, or no ONNX model.
        ModelAltered: a folder's lists say that the file should be another.
        ModelNotRecognised: it is no detector of a known family.
        EngineUnfit: it is a TensorRT engine, which runs on no processor.
        SettingsError: an argument is outside its range.
    """
    path = find_model(path_or_name, folders)
    if path.suffix.lower() in ENGINE_SUFFIXES:
        raise EngineUnfit(f"{path} is a TensorRT engine, which needs a GPU; give the ONNX file it was built from.")
    check_listed(path, folders)
    return load_on_processor(path, DetectorChoices(family, score_floor, nms_iou), threads)


def check_listed(path: Path, folders: Sequence[Path]) -> None:
    """Make sure that a file in one of the folders is the one that the folder's lists tell of, if they do.

    Raises:
        ModelAltered: it is another.
        ModelUnreadable: the folder's lists cannot be read.
    """
    if path.parent.resolve() in {folder.resolve() for folder in folders}:
        check_recorded(path)


def find_model(path_or_name: str | Path, folders: Sequence[Path] = ()) -> Path:
    """The file that is meant: ONNX, or a TensorRT engine.

    Raises:
        ModelNotFound, ModelUnreadable: as `load_detector`.
    """
    path = Path(path_or_name)
    if not path.is_file() and path.name == str(path_or_name):
        path = next((f for folder in folders if (f := folder / f"{path.name}.onnx").is_file()), path)
    if not path.exists():
        known = sorted({file.stem for folder in folders for file in folder.glob("*.onnx")})
        installed = f" Installed: {', '.join(known)}." if known else ""
        raise ModelNotFound(
            f"There is no model {str(path_or_name)!r}; give the path of an ONNX file.{installed} "
            "`flexpatch models list` shows what can be pulled."
        )
    if path.is_dir():
        raise ModelUnreadable(f"{path} is a folder; name the ONNX file in it.")
    if path.stat().st_size == 0:
        raise ModelUnreadable(f"{path} is empty; it may be an unfinished download.")
    return path


Held = TypeVar("Held")


class DetectorStore(Generic[Held]):
    """Models in use, so that sessions with the same one share it.

    A model is kept for as long as anyone holds it. A file that was replaced is loaded anew; those who hold
    the old one keep it. Any thread may call; one model is loaded at a time.
    """

    def __init__(self, load: Callable[[Path, str | None], Held], folders: Sequence[Path] = ()) -> None:
        """
        Args:
            load: from a model file and a family's name to a model.
            folders: where names are looked up.
        """
        self._load = load
        self._folders = tuple(folders)
        self._lock = threading.Lock()
        self._held: weakref.WeakValueDictionary[tuple[Path, int, int, str | None], Held] = weakref.WeakValueDictionary()

    def get(self, path_or_name: str | Path, family: str | None = None) -> Held:
        """The model of that file or name, loaded if nobody holds it.

        Raises:
            ModelError: of the kinds that `load_detector` raises.
        """
        path = find_model(path_or_name, self._folders)
        state = path.stat()
        key = (path.resolve(), state.st_mtime_ns, state.st_size, family)
        with self._lock:
            model = self._held.get(key)
            if model is None:
                model = self._load(path, family)
                self._held[key] = model
            return model

    def held(self) -> list[Held]:
        """The models that anyone holds."""
        with self._lock:
            return list(self._held.values())

    def __len__(self) -> int:
        """How many models are held."""
        return len(self._held)
