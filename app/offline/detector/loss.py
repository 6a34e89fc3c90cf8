"""What is wrong with predictions: task-aligned assignment (TOOD; Feng et al., 2021), focal and IoU losses."""

from dataclasses import dataclass, fields, replace
from typing import Self

import torch
from torch import Tensor
from torch.nn import functional

from app.offline.detector.network import N_BOX, boxes_of

_TOP_K = 10
"""Cells an object, at most."""
_SCORE_POWER, _IOU_POWER = 0.5, 4.0
_SMALLEST_REACH = 0.5
"""Strides: an object that lies between the cells' centres takes the nearest ones."""
_BOX_WEIGHT = 2.0
_LEVEL_SIDES = {8.0: (0.0, 110.0), 16.0: (28.0, 230.0), 32.0: (90.0, float("inf"))}
"""Longer side in pixels of the objects that the cells of each stride may take."""
_FOCUS = 1.5
"""Power of the quality focal loss (Li et al., 2020)."""


@dataclass(frozen=True, slots=True)
class Targets:
    """What a batch of B pictures shows: T objects altogether."""

    boxes: Tensor
    """(T, 4) xyxy"""
    classes: Tensor
    """(T,) int64"""
    pictures: Tensor
    """(T,) int64, which picture each is on."""
    ignored: Tensor
    """(B, K, 4) regions that teach nothing; zeros where there are fewer than K."""

    def to(self, device: torch.device) -> Self:
        """The same in that device's memory."""
        parts = {field.name: getattr(self, field.name).to(device) for field in fields(self)}
        return replace(self, **parts)


@dataclass(frozen=True, slots=True)
class Loss:
    """A batch's loss and its parts."""

    total: Tensor
    classes: Tensor
    boxes: Tensor


def loss_of(predictions: Tensor, targets: Targets, centres: Tensor, strides: Tensor) -> Loss:
    """Compare predictions (B, 4 + C, N) with what there is.

    Args:
        centres: (N, 2) of the cells, pixels.
        strides: (N,)
    """
    boxes = boxes_of(predictions, centres, strides)
    logits = predictions[:, N_BOX:].transpose(1, 2)
    scores = logits.sigmoid()
    with torch.no_grad():
        wanted, taken, picture, cell, owner = _assigned(scores, boxes, targets, centres, strides)
        counts = taken | ~_within(centres, targets.ignored).any(1)
        focus = (wanted - scores).abs() ** _FOCUS * counts[..., None]
        n = wanted.sum().clamp(min=1.0)
    entropy = functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    of_classes = (entropy * focus).sum() / n
    weight = wanted[picture, cell].sum(-1)
    of_boxes = ((1 - generalised_iou(boxes[picture, cell], targets.boxes[owner])) * weight).sum() / n
    return Loss(of_classes + _BOX_WEIGHT * of_boxes, of_classes.detach(), of_boxes.detach())


def _assigned(
    scores: Tensor, boxes: Tensor, targets: Targets, centres: Tensor, strides: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Which cells answer for which object.

    Returns:
        Wanted scores (B, N, C); whether a cell answers for any object (B, N); and for those that do, their picture,
        their number and their object, (P,) each.
    """
    may = _candidates(targets, centres, strides)
    overlap = iou(targets.boxes[:, None], boxes[targets.pictures]) * may
    of_class = scores[targets.pictures, :, targets.classes]
    alignment = of_class**_SCORE_POWER * overlap**_IOU_POWER
    best = alignment.topk(min(_TOP_K, alignment.shape[1]), dim=1)
    chosen = torch.zeros_like(may).scatter_(1, best.indices, best.values > 0)
    # A cell that several objects chose answers for the one that its box overlaps most.
    rows = targets.pictures[:, None].expand_as(overlap)
    most = boxes.new_zeros(boxes.shape[:2]).scatter_reduce_(0, rows, overlap * chosen, "amax")
    mine = chosen & (overlap >= most[targets.pictures])
    owner, cell = mine.nonzero(as_tuple=True)
    picture = targets.pictures[owner]
    aligned = alignment * mine
    quality = aligned * ((overlap * mine).amax(1) / aligned.amax(1).clamp(min=1e-9))[:, None]
    wanted = torch.zeros_like(scores)
    wanted[picture, cell, targets.classes[owner]] = quality[owner, cell]
    taken = boxes.new_zeros(boxes.shape[:2], dtype=torch.bool)
    taken[picture, cell] = True
    return wanted, taken, picture, cell, owner


def _candidates(targets: Targets, centres: Tensor, strides: Tensor) -> Tensor:
    """(T, N) may the cell answer for the object: its centre is inside, and its stride fits the size?"""
    middle = (targets.boxes[:, :2] + targets.boxes[:, 2:]) / 2
    half = (targets.boxes[:, 2:] - targets.boxes[:, :2]) / 2
    reach = torch.maximum(half[:, None], _SMALLEST_REACH * strides[None, :, None])
    inside = ((centres[None] - middle[:, None]).abs() <= reach).all(-1)
    side = 2 * half.amax(-1)[:, None]
    limits = side.new_tensor([_LEVEL_SIDES[stride] for stride in strides.tolist()])
    return inside & (side >= limits[:, 0]) & (side < limits[:, 1])


def _within(centres: Tensor, regions: Tensor) -> Tensor:
    """(B, K, N) is a cell's centre in a region?"""
    low = centres[None, None] >= regions[:, :, None, :2]
    high = centres[None, None] < regions[:, :, None, 2:]
    return (low & high).all(-1)


def iou(a: Tensor, b: Tensor) -> Tensor:
    """(...) of boxes (..., 4), whose leading shapes fit each other."""
    low, high = torch.maximum(a[..., :2], b[..., :2]), torch.minimum(a[..., 2:], b[..., 2:])
    overlap = (high - low).clamp(min=0).prod(-1)
    areas = [(x[..., 2:] - x[..., :2]).clamp(min=0).prod(-1) for x in (a, b)]
    return overlap / (areas[0] + areas[1] - overlap).clamp(min=1e-6)


def generalised_iou(a: Tensor, b: Tensor) -> Tensor:
    """(N,) of boxes (N, 4) each, pair by pair (Rezatofighi et al., 2019)."""
    overlap = (torch.minimum(a[:, 2:], b[:, 2:]) - torch.maximum(a[:, :2], b[:, :2])).clamp(min=0).prod(-1)
    union = (a[:, 2:] - a[:, :2]).clamp(min=0).prod(-1) + (b[:, 2:] - b[:, :2]).clamp(min=0).prod(-1) - overlap
    hull = (torch.maximum(a[:, 2:], b[:, 2:]) - torch.minimum(a[:, :2], b[:, :2])).prod(-1).clamp(min=1e-6)
    return overlap / union.clamp(min=1e-6) - (hull - union) / hull
