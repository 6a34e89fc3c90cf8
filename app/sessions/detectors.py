"""The detectors that sessions may name."""

from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path

from app.core.errors import ModelNotFound
from app.core.types import Detector, DetectorSource

_SUFFIX = ".onnx"


class DetectorCatalogue:
    """The service's own detector, and the models of some folders. Any thread; loading may take seconds.

    Clients name models over the network: nothing outside the folders is ever opened, or told apart from nothing.
    """

    def __init__(
        self,
        default: Detector | DetectorSource,
        folders: Sequence[Path],
        load: Callable[[Path], Detector | DetectorSource],
    ) -> None:
        """
        Args:
            folders: a name that several have is the first one's.
            load: from a model file to a detector that those who hold it share, or of which each gets one.
        """
        self._default = default
        self._folders = tuple(folders)
        self._load = load

    @property
    def default(self) -> Detector | DetectorSource:
        """What sessions get, or get theirs from, that name no detector."""
        return self._default

    def get(self, name: str | None) -> Detector:
        """A detector of that name or file for one session, which closes it; None: the service's own.

        Raises:
            ModelError: there is none, or it cannot be used.
            GpuMemoryShort: there is no room for another session.
            DetectorFailed: nothing can run it.
        """
        is_default = name is None or name == self._default.name
        found = self._default if is_default else self._load(self._find(str(name)))
        return found.open() if isinstance(found, DetectorSource) else found

    def _find(self, name: str) -> Path:
        for folder, candidate in product((folder.resolve() for folder in self._folders), (name, name + _SUFFIX)):
            try:
                path = (folder / candidate).resolve()
                if path.suffix == _SUFFIX and path.is_relative_to(folder) and path.is_file():
                    return folder / candidate  # the name, not what it may link to: names are what is recorded
            except (OSError, ValueError):
                continue
        raise ModelNotFound(f"There is no model {name!r} in the models folder.{self._known()}")

    def _known(self) -> str:
        names = sorted({path.stem for folder in self._folders for path in folder.glob(f"*{_SUFFIX}")})
        return f" It has {', '.join(names[:20])}." if names else " The folder is empty."
