"""What a stream does without while the machine cannot keep up, step by step."""

from dataclasses import dataclass, replace

from app.core.types import Size
from app.flexpatch.config import PipelineConfig

_LEAST_MEGAPIXELS = 0.001


@dataclass(frozen=True, slots=True)
class Thrift:
    """One step."""

    rungs: int = 0
    """Largest canvases that are given up."""
    allowance: float = 1.0
    """Share of the detector pixels that is left."""

    def canvases(self, ladder: tuple[Size, ...]) -> tuple[Size, ...]:
        """Those of a ladder, smallest first, that are left; at least one."""
        return ladder[: max(1, len(ladder) - self.rungs)]

    def settings(self, config: PipelineConfig) -> PipelineConfig:
        """The settings with what is left of the detector pixels."""
        if self.allowance == 1:
            return config
        pixels = max(_LEAST_MEGAPIXELS, self.allowance * config.megapixels_per_frame)
        return replace(config, megapixels_per_frame=pixels)


STEPS = (Thrift(), Thrift(1), Thrift(2), Thrift(2, 0.5), Thrift(2, 0.25))
"""First the largest canvases go, then looks become rarer."""
