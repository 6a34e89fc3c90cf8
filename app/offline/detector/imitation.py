"""Imitation: beside its labels, the network learns all that a teacher says of every cell (Hinton et al., 2015).

Labels tell of the few people that the material shows. What a teacher makes of each patch of a wall, of a shadow or of
a person whom nobody photographed, in eighty classes, tells how it sees, and that holds in other scenes too.
"""

from typing import TypeGuard

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from app.core.errors import SettingsError
from app.core.types import Detector
from app.detect.decoders import YoloxDecoder
from app.detect.detector import NetworkDetector
from app.offline.detector.labels import CLASSES, TEACHER_CLASSES
from app.offline.detector.network import N_BOX, STRIDES, Levels, Shape, by_cell, separable

_FAINTEST = 1e-3
"""Shares below are as good as none, and none above its complement as good as all."""
_CALM = 0.5
"""Of differences between logits, so that those of more than two count only as far as they go."""
_NOTHING = -6.0
"""Logit of everything that a fresh imitator says."""


class Imitator(nn.Module):
    """A second head, of use in training alone: from the neck's three levels to what the teacher says."""

    def __init__(self, n_columns: int, shape: Shape | None = None) -> None:
        super().__init__()
        neck = (shape or Shape()).neck
        self.heads = nn.ModuleList(nn.Sequential(separable(neck), nn.Conv2d(neck, n_columns, 1)) for _ in STRIDES)
        for head in self.heads:
            nn.init.zeros_(head[-1].bias[:N_BOX])
            nn.init.constant_(head[-1].bias[N_BOX:], _NOTHING)

    def forward(self, levels: Levels) -> Tensor:
        """(B, columns, N) in the order of the network's predictions."""
        return by_cell(self.heads, levels)


class Imitated:
    """A detector with YOLOX's layout over the cells that the network has too."""

    def __init__(self, detector: Detector) -> None:
        """Raises:
        SettingsError: it has another layout, or takes canvases of one size only.
        """
        if not _has_same_cells(detector):
            raise SettingsError(f"{detector.name} cannot be imitated: it must have YOLOX's layout and take any size.")
        self._predictions = detector.predictions
        self.n_columns = N_BOX + 1 + len(detector.class_names)
        own = [TEACHER_CLASSES.get(name, len(CLASSES)) for name in detector.class_names]
        share = 1 / np.bincount(own, minlength=len(CLASSES) + 1).clip(1)
        self.importance = torch.from_numpy(np.concatenate([[1.0], share[own]]).astype(np.float32))[:, None]
        """(1 + C, 1) of objectness and classes: each class of ours weighs as much as all that are not, together."""

    def says(self, pictures: Tensor) -> Tensor:
        """What it makes of pictures (B, 3, H, W) uint8 BGR.

        Returns:
            (B, 5 + C, N): centre and logarithm of the size in strides; logits of objectness and classes.
        """
        canvases = np.ascontiguousarray(pictures.permute(0, 2, 3, 1).numpy())
        rows = torch.from_numpy(self._predictions(canvases)[0]).transpose(1, 2)
        shares = rows[:, N_BOX:].clamp(_FAINTEST, 1 - _FAINTEST)
        return torch.cat([rows[:, :N_BOX], shares.logit()], dim=1)


def _has_same_cells(detector: Detector) -> TypeGuard[NetworkDetector]:
    if not isinstance(detector, NetworkDetector) or detector.input_sizes.fixed:
        return False
    return isinstance(detector.decoder, YoloxDecoder) and detector.decoder.strides == STRIDES


def imitation_loss(said: Tensor, wanted: Tensor, importance: Tensor) -> Tensor:
    """How far the imitator is from the teacher, both (B, 5 + C, N), logits weighed by (1 + C, 1).

    Cells count by the root of the objectness that the teacher sees: sure ones most, but doubts, which are many, too.
    """
    weight = wanted[:, N_BOX : N_BOX + 1].sigmoid().sqrt()
    logits = functional.smooth_l1_loss(_CALM * said[:, N_BOX:], _CALM * wanted[:, N_BOX:], reduction="none")
    boxes = functional.smooth_l1_loss(said[:, :N_BOX], wanted[:, :N_BOX], reduction="none")
    of_cells = (logits * importance).sum(1, keepdim=True) / importance.sum() + boxes.mean(1, keepdim=True)
    return (of_cells * weight).sum() / weight.sum()
