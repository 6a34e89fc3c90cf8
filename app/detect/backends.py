"""What runs a detector: the first backend that can, and the next one when it fails.

A model belongs to everyone who named it; each user opens a detector of their own, which moves from backend to backend
without the user's noticing more than the name.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from app.core.errors import BackendFailed, DetectorFailed, FlexPatchError, GpuMemoryShort
from app.core.types import Canvas, CanvasDetections, CanvasOrder, Detector, InputSizes, look_at

logger = logging.getLogger(__name__)

BackendName = Literal["tensorrt", "onnxruntime-cuda", "openvino", "onnxruntime-cpu"]
Backend = Literal["auto", "tensorrt", "onnxruntime-cuda", "openvino", "onnxruntime-cpu"]

ORDER: tuple[BackendName, ...] = ("tensorrt", "onnxruntime-cuda", "openvino", "onnxruntime-cpu")
"""From the one that is tried first."""


class Loaded(Protocol):
    """A model as one backend has loaded it, for any number of users."""

    @property
    def draws(self) -> bool:
        """Whether its detectors draw canvases themselves."""
        ...

    def open(self) -> Detector:
        """A detector for one user, closed by `close` if it has that.

        Raises:
            GpuMemoryShort: there is no room for another one.
            BackendFailed: it does not work any more.
        """
        ...

    def close(self) -> None: ...


class NotYet(FlexPatchError):
    """The backend will be there later."""

    def __init__(self, message: str, begin: Callable[[Callable[[str], None]], None]) -> None:
        """
        Args:
            begin: starts what it takes, and returns; told what to call at the end, with why it failed, or nothing.
        """
        super().__init__(message)
        self.begin = begin


@dataclass(slots=True)
class Candidate:
    """A backend that may run a model."""

    name: BackendName
    load: Callable[[], Loaded]
    """May take seconds. Raises FlexPatchError: it cannot run the model here; NotYet: not now."""
    loaded: Loaded | None = None
    refusal: str = ""
    """Why it is not used any more."""
    is_waited_for: bool = False


class BackendEvents(Protocol):
    """Is told what becomes of backends. Any thread may call."""

    def backend_failed(self, model: str, backend: str, successor: str, reason: str) -> None:
        """A detector moved on from a backend that failed."""
        ...

    def backend_ready(self, model: str, backend: str) -> None:
        """A detector moved to a better backend."""
        ...


class NoEvents:
    """Nobody wants to know."""

    def backend_failed(self, model: str, backend: str, successor: str, reason: str) -> None: ...

    def backend_ready(self, model: str, backend: str) -> None: ...


@dataclass(frozen=True)
class ModelFacts:
    """What holds of a model whatever runs it."""

    name: str
    class_names: tuple[str, ...]
    input_sizes: InputSizes
    pad_value: tuple[int, int, int]


class DetectorModel:
    """A model, and the backends that may run it. Any thread may use it."""

    def __init__(
        self,
        facts: ModelFacts,
        candidates: Sequence[Candidate],
        events: BackendEvents | None = None,
        *,
        is_shared: bool = False,
    ) -> None:
        """
        Args:
            candidates: from the one that is tried first; at least one.
            is_shared: all users have one detector, so that their canvases can go together.
        """
        self.facts = facts
        self.events = events or NoEvents()
        self._is_shared = is_shared
        self._common: ModelDetector | None = None
        self._candidates = list(candidates)
        self._lock = threading.Lock()
        self._opening = threading.Lock()
        self.generation = 0
        """Grows when a better backend may have become usable."""

    @property
    def name(self) -> str:
        return self.facts.name

    @property
    def backend(self) -> str:
        """The first that is loaded. Waits for nothing."""
        return next((one.name for one in self._candidates if one.loaded and not one.refusal), "none")

    def open(self) -> "ModelDetector":
        """A detector for one user.

        Raises:
            GpuMemoryShort: the backend has no room for another one.
            BackendFailed: no backend can run the model.
        """
        if not self._is_shared:
            return ModelDetector(self)
        with self._opening:
            if self._common is None or not self._common.add_user():
                self._common = ModelDetector(self)
            return self._common

    def first_usable(self, after: int = -1, before: int | None = None) -> tuple[int, Loaded] | None:
        """The first backend of some that can run the model, loaded if it is not yet.

        Args:
            after, before: indices of candidates that do not count, nor any beyond them.
        """
        with self._lock:
            for index in range(after + 1, len(self._candidates) if before is None else before):
                loaded = self._load(self._candidates[index])
                if loaded is not None:
                    return index, loaded
        return None

    def _load(self, candidate: Candidate) -> Loaded | None:
        if candidate.loaded is None and not candidate.refusal and not candidate.is_waited_for:
            try:
                candidate.loaded = candidate.load()
            except NotYet as error:
                candidate.is_waited_for = True
                logger.info("backend is not ready", extra=self._about(candidate, str(error)))
                error.begin(partial(self._finished, candidate))
            except GpuMemoryShort as error:
                logger.warning("backend has no room", extra=self._about(candidate, str(error)))
            except FlexPatchError as error:
                candidate.refusal = str(error)
                logger.debug("backend is not used", extra=self._about(candidate, str(error)))
        return None if candidate.refusal else candidate.loaded

    def _finished(self, candidate: Candidate, refusal: str) -> None:
        """What a backend waited for is there, and detectors move there with their next look; or it is not."""
        loaded = None
        if not refusal:
            # Not under the lock: it may take seconds, and others open detectors meanwhile.
            try:
                loaded = candidate.load()
            except FlexPatchError as error:
                refusal = str(error)
        with self._lock:
            candidate.is_waited_for = False
            candidate.loaded, candidate.refusal = loaded, refusal
            self.generation += loaded is not None

    def has_next(self, index: int) -> bool:
        """Whether there is a backend after that one, which may be used."""
        return any(not candidate.refusal for candidate in self._candidates[index + 1 :])

    def is_waiting(self, before: int) -> bool:
        """Whether a backend before that one is yet to come: an engine that is being built."""
        return any(candidate.is_waited_for for candidate in self._candidates[:before])

    def give_up(self, index: int, reason: str) -> None:
        """Use a backend no more, as it failed."""
        with self._lock:
            candidate = self._candidates[index]
            candidate.refusal = candidate.refusal or reason
            # What uses it still holds it; it is closed with the model.

    def refusals(self) -> dict[BackendName, str]:
        """Why backends are not used, of those that are not."""
        return {candidate.name: candidate.refusal for candidate in self._candidates if candidate.refusal}

    def close(self) -> None:
        """Give back what the backends hold; all detectors must have been closed."""
        with self._lock:
            for candidate in self._candidates:
                loaded, candidate.loaded = candidate.loaded, None
                if loaded is not None:
                    loaded.close()

    def _about(self, candidate: Candidate, reason: str) -> dict[str, str]:
        return {"model": self.name, "backend": candidate.name, "reason": reason}


@dataclass(slots=True)
class _Place:
    """Where a detector is at the moment."""

    index: int
    loaded: Loaded
    detector: Detector
    generation: int = field(default=0)

    def leave(self) -> None:
        close = getattr(self.detector, "close", None)
        if close is not None:
            close()


class ModelDetector:
    """One user's detector. Any thread may call; while it moves from one backend to another, callers wait."""

    def __init__(self, model: DetectorModel) -> None:
        """
        Raises:
            GpuMemoryShort: the backend has no room for another one.
            BackendFailed: no backend can run the model.
        """
        self._model = model
        self._lock = threading.RLock()
        self._n_users = 1
        self._place = self._opened(-1, is_new=True)

    @property
    def name(self) -> str:
        return self._model.name

    @property
    def backend(self) -> str:
        return self._place.detector.backend

    @property
    def class_names(self) -> tuple[str, ...]:
        return self._model.facts.class_names

    @property
    def input_sizes(self) -> InputSizes:
        return self._model.facts.input_sizes

    @property
    def pad_value(self) -> tuple[int, int, int]:
        return self._model.facts.pad_value

    @property
    def draws(self) -> bool:
        """Whether it draws canvases itself, at the moment."""
        return self._place.loaded.draws

    @property
    def may_draw(self) -> bool:
        """Whether it draws canvases itself, or waits for a backend that does."""
        return self.draws or self._model.is_waiting(self._place.index)

    def detect(self, canvases: NDArray[np.uint8]) -> Sequence[CanvasDetections]:
        """Run on canvases (B, H, W, 3) uint8 BGR of one size.

        Raises:
            DetectorFailed: they cannot be taken, or no backend is left.
        """
        return self._asked(lambda detector: detector.detect(canvases))

    def look(self, orders: Sequence[CanvasOrder]) -> Sequence[CanvasDetections]:
        """Draw canvases of one size, wherever that is done now, and run on them.

        Raises:
            DetectorFailed: as `detect`.
        """
        canvases: Sequence[Canvas] = orders
        return self._asked(lambda detector: look_at(detector, canvases))

    def add_user(self) -> bool:
        """One more has to `close` it; False if the last one did."""
        with self._lock:
            self._n_users += self._n_users > 0
            return self._n_users > 0

    def close(self) -> None:
        """Give back what is this user's own."""
        with self._lock:
            self._n_users -= 1
            if self._n_users == 0:
                self._place.leave()

    def _asked(self, ask: Callable[[Detector], Sequence[CanvasDetections]]) -> Sequence[CanvasDetections]:
        while True:
            place = self._current()
            try:
                return ask(place.detector)
            except GpuMemoryShort as error:
                self._move_on(place, error)
            except BackendFailed as error:
                # The last one is kept: what fails once may work again, and nothing else does.
                if self._model.has_next(place.index):
                    self._model.give_up(place.index, str(error))
                self._move_on(place, error)
            except DetectorFailed:
                # Closed under our hands, as another caller moved on.
                if self._place is place:
                    raise

    def _current(self) -> _Place:
        """Where to ask now: at a better backend, if one has become ready."""
        place = self._place
        if place.generation == self._model.generation:
            return place
        with self._lock:
            place = self._place
            place.generation = self._model.generation
            better = self._model.first_usable(before=place.index)
            if better is None or self._n_users < 1:
                return place
            try:
                newer = _Place(better[0], better[1], better[1].open(), place.generation)
            except (GpuMemoryShort, BackendFailed) as error:
                logger.warning("better backend has no room", extra={"model": self.name, "reason": str(error)})
                return place
            self._place = newer
            place.leave()
        self._model.events.backend_ready(self.name, newer.detector.backend)
        logger.info("backend is ready", extra={"model": self.name, "backend": newer.detector.backend})
        return newer

    def _move_on(self, place: _Place, error: FlexPatchError) -> None:
        """Go to the next backend, unless another caller has done so already.

        Raises:
            BackendFailed: there is none.
        """
        with self._lock:
            if self._place is not place:
                return
            if self._n_users < 1:
                raise DetectorFailed(f"{self.name} is closed.") from error
            failed = place.detector.backend
            try:
                newer = self._opened(place.index, is_new=False)
            except BackendFailed:
                raise BackendFailed(str(error)) from error
            self._place = newer
            place.leave()
        self._model.events.backend_failed(self.name, failed, newer.detector.backend, type(error).__name__)
        logger.error(
            "backend failed",
            extra={"model": self.name, "backend": failed, "next": newer.detector.backend, "reason": str(error)},
        )

    def _opened(self, after: int, *, is_new: bool) -> _Place:
        """At the first backend after one that can.

        Args:
            is_new: the user is about to be admitted, and rather refused than sent where it is slow.
        Raises:
            GpuMemoryShort: a new user's backend has no room.
            BackendFailed: there is none.
        """
        generation = self._model.generation
        while (found := self._model.first_usable(after)) is not None:
            after, loaded = found
            try:
                return _Place(after, loaded, loaded.open(), generation)
            except GpuMemoryShort:
                if is_new:
                    raise
            except BackendFailed as error:
                if not self._model.has_next(after):
                    raise
                self._model.give_up(after, str(error))
        reasons = "; ".join(f"{name}: {reason}" for name, reason in self._model.refusals().items())
        raise BackendFailed(f"{self.name} cannot be run: {reasons}.")


class OnProcessor:
    """A detector in the processor's memory, which all users share."""

    draws = False

    def __init__(self, detector: Detector) -> None:
        self._detector = detector

    def open(self) -> Detector:
        """The detector that all share."""
        return self._detector

    def close(self) -> None:
        """It goes with its last user."""
