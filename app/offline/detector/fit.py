"""Fitting the network: batches made by worker processes, AdamW, a running mean of the weights, checkpoints."""

import copy
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from app.core.types import Size
from app.detect.cores import available_cores
from app.offline.detector.canvases import CanvasMaker
from app.offline.detector.imitation import Imitated, Imitator, imitation_loss
from app.offline.detector.loss import Targets, loss_of
from app.offline.detector.network import INPUT_SCALE, Levels, Network, cells
from app.offline.detector.scenes import Scene
from app.offline.output import unfinished_file


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long and how fast."""

    rounds: tuple[int, ...] = (5000, 4000)
    """Steps of each. A round starts with a higher learning rate again, and the second one sees harder canvases."""
    batch: int = 16
    learning_rate: float = 2e-3
    """Of the first round; the second has half of it, and so on."""
    warm_up: int = 300
    """Steps in which the rate rises at the start of a round; then it falls as a cosine."""
    weight_decay: float = 0.05
    mean_decay: float = 0.9985
    """Of the running mean of the weights, which is the result."""
    imitation: float = 1.0
    """Weight of what a teacher says of every cell, beside the labels."""
    sizes: tuple[Size, ...] = (Size(320, 320), Size(416, 256), Size(256, 384), Size(512, 288), Size(288, 352))
    """Of canvases, batch by batch: the detector will see all shapes."""
    checkpoint_every: int = 250
    workers: int | None = None
    """Processes that make canvases; None: as many as there are cores."""

    @property
    def steps(self) -> int:
        return sum(self.rounds)

    def rate(self, step: int) -> float:
        """The learning rate at a step, from 0 on."""
        number = 0
        while step >= self.rounds[number]:
            step -= self.rounds[number]
            number += 1
        rise = min(1.0, (step + 1) / self.warm_up)
        fall = 0.01 + 0.99 * (1 + math.cos(math.pi * step / self.rounds[number])) / 2
        return self.learning_rate / (number + 1) * rise * fall


@dataclass(frozen=True, slots=True)
class Progress:
    """What a step came to."""

    step: int
    loss: float
    of_classes: float
    of_boxes: float
    imitation: float
    """How far from the imitated teacher."""


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


def fit(
    maker: CanvasMaker,
    n_classes: int,
    schedule: Schedule,
    checkpoint: Path,
    seed: int,
    *,
    imitated: Imitated | None = None,
) -> Iterator[Progress]:
    """Train from the checkpoint, if there is one, or from the start; yields after every step.

    On an NVIDIA GPU where there is one. Only on a processor are the same weights sure to come out again.
    """
    torch.manual_seed(seed)
    learner = _Learner(n_classes, schedule, imitated)
    n_workers = available_cores() if schedule.workers is None else schedule.workers
    first = learner.resume(checkpoint)
    remaining = torch.utils.data.Subset(_Batches(maker, schedule), range(first, schedule.steps))
    for step, batch in enumerate(_loaded(remaining, n_workers), first):
        progress = learner.learn(batch, step)
        if progress.step % schedule.checkpoint_every == 0 or progress.step == schedule.steps:
            learner.save(checkpoint, progress.step)
        yield progress


class _Learner:
    """The network, the running mean of its weights, and whatever else a checkpoint holds."""

    def __init__(self, n_classes: int, schedule: Schedule, imitated: Imitated | None) -> None:
        self._schedule, self._imitated = schedule, imitated
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._network = Network(n_classes).to(self._device, memory_format=torch.channels_last)
        self._mean = copy.deepcopy(self._network).requires_grad_(False)
        self._imitator = (Imitator(imitated.n_columns) if imitated else nn.Module()).to(self._device)
        self._parameters = [*self._network.parameters(), *self._imitator.parameters()]
        self._optimiser = torch.optim.AdamW(_groups(self._parameters, schedule.weight_decay), schedule.learning_rate)
        self._network.train()

    def learn(self, batch: _Batch, step: int) -> Progress:
        for group in self._optimiser.param_groups:
            group["lr"] = self._schedule.rate(step)
        pictures = batch.pictures.to(self._device).float() * INPUT_SCALE
        levels = self._network.levels(pictures.contiguous(memory_format=torch.channels_last))
        height, width = pictures.shape[2:]
        predictions, targets = self._network.predictions(levels), batch.targets.to(self._device)
        loss = loss_of(predictions, targets, *cells(height, width, self._device))
        apart = self._apart(levels, batch.pictures)
        self._optimiser.zero_grad(set_to_none=True)
        (loss.total + self._schedule.imitation * apart).backward()
        torch.nn.utils.clip_grad_norm_(self._parameters, 10.0)
        self._optimiser.step()
        _average(self._mean, self._network, min(self._schedule.mean_decay, (step + 1) / (step + 10)))
        return Progress(step + 1, *(float(part.detach()) for part in (loss.total, loss.classes, loss.boxes, apart)))

    def _apart(self, levels: Levels, pictures: Tensor) -> Tensor:
        """The loss of the imitator, if there is one."""
        if self._imitated is None:
            return torch.zeros((), device=self._device)
        wanted, importance = self._imitated.says(pictures), self._imitated.importance
        return imitation_loss(self._imitator(levels), wanted.to(self._device), importance.to(self._device))

    def resume(self, path: Path) -> int:
        """Take over a checkpoint, if there is one; returns the steps that it has behind it."""
        if not path.is_file():
            return 0
        state = torch.load(path, weights_only=True, map_location=self._device)
        for name, part in self._parts().items():
            part.load_state_dict(state[name])
        return int(state["step"])

    def save(self, path: Path, step: int) -> None:
        with unfinished_file(path) as draft:
            torch.save({"step": step} | {name: part.state_dict() for name, part in self._parts().items()}, draft)

    def _parts(self) -> dict[str, Any]:
        return {
            "network": self._network,
            "mean": self._mean,
            "imitator": self._imitator,
            "optimiser": self._optimiser,
        }


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


def _groups(parameters: Sequence[nn.Parameter], weight_decay: float) -> list[dict[str, Any]]:
    """Weights decay; biases and normalisation do not."""
    weights = [p for p in parameters if p.ndim > 1]
    others = [p for p in parameters if p.ndim <= 1]
    return [{"params": weights, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]


@torch.no_grad()
def _average(mean: Network, network: Network, decay: float) -> None:
    own = network.state_dict()
    for name, value in mean.state_dict().items():
        if value.is_floating_point():
            value.lerp_(own[name], 1 - decay)
        else:
            value.copy_(own[name])
