"""The detectors that sessions may name."""

from collections.abc import Callable
from pathlib import Path

from app.core.errors import ModelNotFound, SessionNeedsDetector
from app.core.types import Detector

_SUFFIX = ".onnx"


class DetectorCatalogue:
    """The service's own detector, and the models of one folder. Any thread; loading may take seconds.

    Clients name models over the network: nothing outside the folder is ever opened, or told apart from nothing.
    """

    def __init__(self, default: Detector | None, models_dir: Path, load: Callable[[Path], Detector]) -> None:
        """
        Args:
            load: from a model file to a detector, shared by those who hold it.
        """
        self._default = default
        self._models_dir = models_dir
        self._load = load

    @property
    def default(self) -> Detector | None:
        """What sessions get that name no detector."""
        return self._default

    def get(self, name: str | None) -> Detector:
        """The detector of that name or file; None: the service's own.

        Raises:
            ModelError: there is none, or it cannot be used.
            SessionNeedsDetector: none was named and the service has none of its own.
        """
        if name is None or (self._default is not None and name == self._default.name):
            if self._default is None:
                raise SessionNeedsDetector(
                    "The service has no detector of its own: start it with --detector FILE.onnx, or name a "
                    f"model of its models folder as `detector`.{self._known()}"
                )
            return self._default
        return self._load(self._find(name))

    def _find(self, name: str) -> Path:
        folder = self._models_dir.resolve()
        for candidate in (name, name + _SUFFIX):
            try:
                path = (folder / candidate).resolve()
                if path.suffix == _SUFFIX and path.is_relative_to(folder) and path.is_file():
                    return folder / candidate  # the name, not what it may link to: names are what is recorded
            except (OSError, ValueError):
                continue
        raise ModelNotFound(f"There is no model {name!r} in the models folder.{self._known()}")

    def _known(self) -> str:
        names = sorted(path.stem for path in self._models_dir.glob(f"*{_SUFFIX}"))
        return f" It has {', '.join(names[:20])}." if names else " The folder is empty."
