"""One stream's FlexPatch: from a frame to all its tracked objects."""

from app.core.clock import Clock
from app.core.types import Detector, Explanation, Frame, FrameResult, Vision
from app.flexpatch.config import PipelineConfig, PointPredicate


class Pipeline:
    """Follows objects on every frame and spends detector pixels where they are worth most.

    One instance per stream, used by one thread at a time. Deterministic: the same frames give the same tracks.
    """

    def __init__(self, vision: Vision, detector: Detector, config: PipelineConfig, clock: Clock) -> None:
        self._config = config

    @property
    def config(self) -> PipelineConfig:
        return self._config

    def reconfigure(self, config: PipelineConfig) -> None:
        """Take other settings from the next frame on; tracks are kept."""
        self._config = config

    def focus(self, class_ids: frozenset[int] | None, is_ignored: PointPredicate | None) -> None:
        """Spend pixels only on some classes (None: all) and outside ignored regions (None: none)."""

    def step(self, frame: Frame) -> FrameResult:
        """Process the next frame.

        Raises:
            FrameSizeChanged: the frame has another size than the first one.
            FrameOutOfOrder: `seq` or `pts_s` is not above the last frame's.
            DetectorFailed: the detector failed; tracks are as flow left them, and the next frame may be given.
        """
        raise NotImplementedError

    def explain(self, seq: int) -> Explanation | None:
        """Why each region was or was not looked at on that frame; None if it is not among the last 300."""
        return None
