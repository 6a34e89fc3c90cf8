"""Where detectors come from: a file, or one already loaded."""

import threading
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path

from app.core.errors import ModelError, ModelNotFound, ModelUnreadable
from app.core.manifest import check_recorded
from app.core.types import Detector
from app.detect.detector import DetectorChoices
from app.detect.onnx import load_on_processor

_ENGINE_SUFFIXES = frozenset({".engine", ".plan", ".trt"})


def load_detector(
    path_or_name: str | Path,
    *,
    family: str | None = None,
    threads: int | None = None,
    score_floor: float = 0.05,
    nms_iou: float | None = None,
    folders: Sequence[Path] = (),
) -> Detector:
    """Load a detector and find out by itself how to use it.

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
        ModelError: it is a TensorRT engine, which this version cannot run.
        SettingsError: an argument is outside its range.
    """
    path = find_model(path_or_name, folders)
    if path.parent.resolve() in {folder.resolve() for folder in folders}:
        check_recorded(path)
    return load_on_processor(path, DetectorChoices(family, score_floor, nms_iou), threads)


def find_model(path_or_name: str | Path, folders: Sequence[Path] = ()) -> Path:
    """The ONNX file that is meant.

    Raises:
        ModelNotFound, ModelUnreadable, ModelError: as `load_detector`.
    """
    path = Path(path_or_name)
    if not path.is_file() and path.name == str(path_or_name):
        path = next((f for folder in folders if (f := folder / f"{path.name}.onnx").is_file()), path)
    if not path.exists():
        known = sorted(file.stem for folder in folders for file in folder.glob("*.onnx"))
        advice = f" Known names: {', '.join(known)}." if known else ""
        raise ModelNotFound(f"There is no model {str(path_or_name)!r}; give the path of an ONNX file.{advice}")
    if path.is_dir():
        raise ModelUnreadable(f"{path} is a folder; name the ONNX file in it.")
    if path.suffix.lower() in _ENGINE_SUFFIXES:
        raise ModelError(
            f"{path} is a TensorRT engine, which this version cannot run; give the ONNX file it comes from."
        )
    if path.stat().st_size == 0:
        raise ModelUnreadable(f"{path} is empty; it may be an unfinished download.")
    return path


class DetectorStore:
    """Detectors in use, so that sessions with the same model share one.

    A detector is kept for as long as anyone holds it. A file that was replaced is loaded anew; those who hold
    the old one keep it. Any thread may call; one model is loaded at a time.
    """

    def __init__(self, load: Callable[[Path, str | None], Detector], folders: Sequence[Path] = ()) -> None:
        """
        Args:
            load: from a model file and a family's name to a detector.
            folders: where names are looked up.
        """
        self._load = load
        self._folders = tuple(folders)
        self._lock = threading.Lock()
        self._held: weakref.WeakValueDictionary[tuple[Path, int, int, str | None], Detector] = (
            weakref.WeakValueDictionary()
        )

    def get(self, path_or_name: str | Path, family: str | None = None) -> Detector:
        """The detector of that file or name, loaded if nobody holds it.

        Raises:
            ModelError: of the kinds that `load_detector` raises.
        """
        path = find_model(path_or_name, self._folders)
        state = path.stat()
        key = (path.resolve(), state.st_mtime_ns, state.st_size, family)
        with self._lock:
            detector = self._held.get(key)
            if detector is None:
                detector = self._load(path, family)
                self._held[key] = detector
            return detector

    def __len__(self) -> int:
        """How many detectors are held."""
        return len(self._held)
