"""Fitting the network: batches made by worker processes, AdamW, a running mean of the weights, checkpoints."""

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from app.core.types import Size
from app.offline.detector.canvases import CanvasMaker
from app.offline.detector.loss import Targets, loss_of
from app.offline.detector.network import INPUT_SCALE, Network, cells
from app.offline.detector.scenes import Scene
from app.offline.output import unfinished_file


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long and how fast."""

    steps: int = 9000
    batch: int = 16
    learning_rate: float = 2e-3
    warm_up: int = 300
    """Steps in which the rate rises; then it falls as a cosine."""
    weight_decay: float = 0.05
    mean_decay: float = 0.9985
    """Of the running mean of the weights, which is the result."""
    sizes: tuple[Size, ...] = (Size(320, 320), Size(416, 256), Size(256, 384), Size(512, 288), Size(288, 352))
    """Of canvases, batch by batch: the detector will see all shapes."""
    checkpoint_every: int = 250
    workers: int = 2

    def rate(self, step: int) -> float:
        """The learning rate at a step."""
        rise = min(1.0, (step + 1) / self.warm_up)
        return self.learning_rate * rise * (0.01 + 0.99 * (1 + math.cos(math.pi * step / self.steps)) / 2)


@dataclass(frozen=True, slots=True)
class Progress:
    """What a step came to."""

    step: int
    loss: float
    of_classes: float
    of_boxes: float


@dataclass(frozen=True, slots=True)
class _Batch:
    pictures: Tensor
    targets: Targets


class _Batches(Dataset[_Batch]):
    """Batch by step."""

    def __init__(self, maker: CanvasMaker, schedule: Schedule) -> None:
        self._maker, self._schedule = maker, schedule

    def __len__(self) -> int:
        return self._schedule.steps

    def __getitem__(self, step: int) -> _Batch:
        size = self._schedule.sizes[step % len(self._schedule.sizes)]
        first = step * self._schedule.batch
        samples = [self._maker.sample(first + entry, size) for entry in range(self._schedule.batch)]
        return _Batch(
            torch.from_numpy(np.stack([sample.pixels for sample in samples]).transpose(0, 3, 1, 2)), _targets(samples)
        )


def _targets(samples: list[Scene]) -> Targets:
    n_each = torch.tensor([len(sample.boxes) for sample in samples])
    return Targets(
        torch.from_numpy(np.concatenate([sample.boxes for sample in samples])),
        torch.from_numpy(np.concatenate([sample.classes for sample in samples])),
        torch.arange(len(samples)).repeat_interleave(n_each),
        _padded([sample.ignored for sample in samples]),
    )


def _padded(boxes: list[np.ndarray[Any, np.dtype[np.float32]]]) -> Tensor:
    """(B, M, 4) with zeros where there are fewer than M ≥ 1."""
    padded = torch.zeros(len(boxes), max(1, *(len(own) for own in boxes)), 4)
    for row, own in enumerate(boxes):
        padded[row, : len(own)] = torch.from_numpy(np.ascontiguousarray(own, np.float32))
    return padded


def fit(maker: CanvasMaker, n_classes: int, schedule: Schedule, checkpoint: Path, seed: int) -> Iterator[Progress]:
    """Train from the checkpoint, if there is one, or from the start; yields after every step."""
    torch.manual_seed(seed)
    network = Network(n_classes).to(memory_format=torch.channels_last)
    mean = copy.deepcopy(network).requires_grad_(False)
    optimiser = torch.optim.AdamW(_groups(network, schedule.weight_decay), lr=schedule.learning_rate)
    first = _resume(checkpoint, network, mean, optimiser)
    remaining = torch.utils.data.Subset(_Batches(maker, schedule), range(first, schedule.steps))
    network.train()
    for step, batch in enumerate(_loaded(remaining, schedule.workers), first):
        for group in optimiser.param_groups:
            group["lr"] = schedule.rate(step)
        pictures = (batch.pictures.float() * INPUT_SCALE).contiguous(memory_format=torch.channels_last)
        centres, strides = cells(*pictures.shape[2:])
        loss = loss_of(network(pictures), batch.targets, centres, strides)
        optimiser.zero_grad(set_to_none=True)
        loss.total.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 10.0)
        optimiser.step()
        _average(mean, network, min(schedule.mean_decay, (step + 1) / (step + 10)))
        if (step + 1) % schedule.checkpoint_every == 0 or step + 1 == schedule.steps:
            _save(checkpoint, step + 1, network, mean, optimiser)
        yield Progress(step + 1, float(loss.total.detach()), float(loss.classes), float(loss.boxes))


def _loaded(batches: Dataset[_Batch], n_workers: int) -> Iterator[_Batch]:
    """The batches in order, made ahead by worker processes."""
    n_threads = cv2.getNumThreads()
    # Workers are forked, and would wait for OpenCV's threads, which do not survive that: have none meanwhile.
    cv2.setNumThreads(1)
    try:
        prefetched = 4 if n_workers else None
        yield from DataLoader(batches, batch_size=None, num_workers=n_workers, prefetch_factor=prefetched)
    finally:
        cv2.setNumThreads(n_threads)


def _groups(network: Network, weight_decay: float) -> list[dict[str, Any]]:
    """Weights decay; biases and normalisation do not."""
    weights = [p for p in network.parameters() if p.ndim > 1]
    others = [p for p in network.parameters() if p.ndim <= 1]
    return [{"params": weights, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]


@torch.no_grad()
def _average(mean: Network, network: Network, decay: float) -> None:
    own = network.state_dict()
    for name, value in mean.state_dict().items():
        if value.is_floating_point():
            value.lerp_(own[name], 1 - decay)
        else:
            value.copy_(own[name])


def _resume(path: Path, network: Network, mean: Network, optimiser: torch.optim.Optimizer) -> int:
    if not path.is_file():
        return 0
    state = torch.load(path, weights_only=True)
    network.load_state_dict(state["network"])
    mean.load_state_dict(state["mean"])
    optimiser.load_state_dict(state["optimiser"])
    return int(state["step"])


def _save(path: Path, step: int, network: Network, mean: Network, optimiser: torch.optim.Optimizer) -> None:
    parts = {"network": network, "mean": mean, "optimiser": optimiser}
    with unfinished_file(path) as draft:
        torch.save({"step": step} | {name: part.state_dict() for name, part in parts.items()}, draft)
