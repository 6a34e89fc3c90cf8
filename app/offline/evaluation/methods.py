"""What is compared: every method is a runner that takes the frames of one sequence, one after another."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from app.core.types import Detector, Frame
from app.flexpatch.failure import FailureModel
from app.offline.evaluation.looks import Looks
from app.offline.evaluation.outputs import FrameCost, FrameOutput
from app.offline.evaluation.published.priority import PriorityTree
from app.offline.evaluation.sequences import AnnotatedSequence


class Runner(Protocol):
    """One method at work on one sequence."""

    def step(self, frame: Frame) -> tuple[FrameOutput, FrameCost]:
        """All objects on the next frame, and what it took to know them."""
        ...


@dataclass(frozen=True, slots=True)
class Context:
    """What runners are made from."""

    sequence: AnnotatedSequence
    """As it is run, at its frame rate."""
    detector: Detector
    looks: Looks
    """The same detector, for regions that do not hang on what was seen before."""
    class_id: int
    """The class that is annotated."""
    failure_model: FailureModel
    priority_tree: PriorityTree | None = None
    """Of the published FlexPatch; only that needs one."""


@dataclass(frozen=True, slots=True)
class Method:
    """A method in one configuration."""

    name: str
    config: str
    """Size, interval or budget, as the reports show it."""
    make: Callable[[Context], Runner]
