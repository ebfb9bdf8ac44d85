"""Joint training: backbone and classifier together, by stochastic gradient descent with a cosine schedule."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from featurecache.schedule import Batches, Indices, Progress, Steps

Data = Dataset[tuple[Tensor, int]]
Loss = Callable[[Tensor, Tensor], Tensor]
Score = Callable[[Tensor, Tensor], float]

# Each look at the loss makes the device wait; a run that diverges is stopped at most this many steps late.
CHECK_EVERY = 50


@dataclass(frozen=True)
class TrainingRun:
    """What happened.

    history: one dict an epoch: epoch (from 0), lr (of its first step), loss (mean over its steps), score (None
        without validation rows).
    best_epoch: the epoch, from 0, whose weights the model has now.
    best_score: its score, None without validation rows.
    steps: optimiser steps in all.
    """

    history: list[dict[str, Any]]
    best_epoch: int
    best_score: float | None
    steps: int


def train(
    model: nn.Module,
    data: Data,
    *,
    sampler: Indices,
    loss: Loss,
    score: Score | None = None,
    val: Data | None = None,
    epochs: int,
    batch_size: int,
    lr: float,
    weight_decay: float = 5e-4,
    momentum: float = 0.9,
    device: torch.device | str = "cpu",
    workers: int = 0,
    seed: int = 0,
    progress: Progress | None = None,
) -> TrainingRun:
    """Trains the model in place; it ends in eval mode on the device, with the weights of its best epoch.

    SGD with momentum, not Nesterov's. The learning rate falls from lr at the first step along a half cosine that
    reaches 0 one step after the last. The best epoch is that of the highest score, the later of equals; without val it
    is the last. Equal seeds give equal weights on one device, thread count and number of workers, for a model that
    starts from equal weights and a sampler that draws equally.

    model: images (B, C, H, W) -> logits (B, K).
    data: (image, label) items.
    sampler: rows of data for one epoch; its set_epoch(e), where it has one, is called with e from 0.
    loss: logits (B, K), labels (B,) -> scalar.
    score: logits (N, K), labels (N,) of all val rows, on the CPU -> a float, more is better; given exactly with val.
    val: (image, label) items to choose the epoch on.
    epochs: at least 1.
    batch_size: at least 2; a last batch of one row is left out, for batch normalisation cannot use it.
    lr, weight_decay, momentum: of SGD; the decay is on all parameters.
    device: where to train.
    workers: processes that load images; 0: this one.
    seed: of augmentation, dropout and the workers; torch's generators are as before when this returns.
    progress: called after every step with steps done, steps in all and a line of text.
    Raises ValueError when the loss or the score stops being a number, and for values out of range.
    """
    _check(epochs, batch_size, lr, score, val)
    batches = Batches(sampler, batch_size)
    if not len(batches):
        raise ValueError(f"training: the sampler draws {len(sampler)} rows an epoch; expected at least 2")
    target = torch.device(device)
    with torch.random.fork_rng(devices=_cuda_devices(target)):
        torch.manual_seed(seed)
        model.to(target)
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing from torch's stubs
        optimiser = torch.optim.SGD(model.parameters(), lr=lr, momentum=momentum, weight_decay=weight_decay)
        fitting = _loader(data, batches, target, workers, seed)
        judging = (
            None if val is None else _loader(val, Batches(range(_length(val)), batch_size, 1), target, workers, seed)
        )
        history: list[dict[str, Any]] = []
        best_epoch, best_score, best_state = epochs - 1, None, None
        for epoch in range(epochs):
            if hasattr(sampler, "set_epoch"):
                sampler.set_epoch(epoch)
            steps = Steps(epoch, epochs, len(batches), lr, progress)
            mean_loss = _epoch(model, fitting, optimiser, loss, steps, target)
            value = None if judging is None or score is None else _judge(model, judging, score, epoch, target)
            history.append({"epoch": epoch, "lr": steps.rate(0), "loss": mean_loss, "score": value})
            if value is not None and (best_score is None or value >= best_score):
                best_epoch, best_score = epoch, value
                best_state = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
        if best_state is not None:
            model.load_state_dict(best_state)
    model.eval()
    return TrainingRun(history, best_epoch, best_score, epochs * len(batches))


def holdout(
    labels: npt.NDArray[np.int64], fraction: float, seed: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Sorted rows to train on and rows to validate on, divided class by class.

    A class of n rows gives round(fraction * n) of them, but at least one, so that it can be judged, and never its last.
    A class of one row gives none. Unlabelled rows are in neither part.

    labels: (N,), -1 where unlabelled.
    fraction: part to hold out, between 0 and 1.
    seed: of the choice.
    Raises ValueError when the fraction is out of range.
    """
    if not 0 < fraction < 1:
        raise ValueError(f"holdout: fraction is {fraction!r}, expected a number between 0 and 1")
    random = np.random.default_rng(seed)
    kept, held = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for label in np.unique(labels[labels >= 0]):
        rows = random.permutation(np.flatnonzero(labels == label))
        count = min(max(1, round(fraction * len(rows))), len(rows) - 1)
        held.append(rows[:count])
        kept.append(rows[count:])
    return np.sort(np.concatenate(kept)), np.sort(np.concatenate(held))


def _epoch(
    model: nn.Module,
    loader: DataLoader[tuple[Tensor, int]],
    optimiser: torch.optim.Optimizer,
    loss: Loss,
    steps: Steps,
    device: torch.device,
) -> float:
    """Mean loss of one epoch of steps."""
    model.train()
    losses = torch.zeros(steps.count, device=device)
    latest, checked = None, 0
    for step, (images, labels) in enumerate(loader):
        for group in optimiser.param_groups:
            group["lr"] = steps.rate(step)
        optimiser.zero_grad(set_to_none=True)
        value = loss(_logits(model, images, device), labels.to(device, non_blocking=True))
        value.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        losses[step] = value.detach()
        if (step + 1) % CHECK_EVERY == 0 or step + 1 == steps.count:
            latest, checked = _finite(losses[checked : step + 1], checked, steps), step + 1
        steps.report(step, latest)
    return float(losses.double().mean())


def _finite(losses: Tensor, first: int, steps: Steps) -> float:
    """The last of some losses. Raises ValueError naming the first that is not finite."""
    values = losses.tolist()
    for offset, value in enumerate(values):
        if not math.isfinite(value):
            raise ValueError(
                f"training: the loss is {value} in epoch {steps.epoch + 1}, step {first + offset + 1}; lower --lr "
                f"(now {steps.lr:g}) or look for bad images"
            )
    return float(values[-1])


@torch.inference_mode()
def _judge(
    model: nn.Module, loader: DataLoader[tuple[Tensor, int]], score: Score, epoch: int, device: torch.device
) -> float:
    """The score of all validation rows, in eval mode."""
    model.eval()
    pairs = [(_logits(model, images, device).float().cpu(), labels) for images, labels in loader]
    logits, labels = (torch.cat(parts) for parts in zip(*pairs, strict=True))
    value = float(score(logits, labels))
    if math.isnan(value):
        raise ValueError(f"training: the score of epoch {epoch + 1} is not a number; look at the validation labels")
    return value


def _logits(model: nn.Module, images: Tensor, device: torch.device) -> Tensor:
    images = images.to(device, non_blocking=True)
    if images.ndim == 4:
        # In this order of memory a step of the small convnet at 64 pixels takes two thirds of the time on a CPU.
        images = images.contiguous(memory_format=torch.channels_last)
    output = model(images)
    if not isinstance(output, Tensor):
        raise ValueError(f"training: the model returns {type(output).__name__}, expected a tensor of logits")
    return output


def _loader(
    data: Data, batches: Batches, device: torch.device, workers: int, seed: int
) -> DataLoader[tuple[Tensor, int]]:
    return DataLoader(
        data,
        batch_sampler=batches,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=device.type == "cuda",
        generator=torch.Generator().manual_seed(seed),
    )


def _length(data: Data) -> int:
    rows = len(data)  # type: ignore[arg-type]
    if not rows:
        raise ValueError("training: the validation data have no rows; expected at least one")
    return rows


def _cuda_devices(device: torch.device) -> list[int]:
    if device.type != "cuda":
        return []
    return [torch.cuda.current_device() if device.index is None else device.index]


def _check(epochs: int, batch_size: int, lr: float, score: Score | None, val: Data | None) -> None:
    if epochs < 1 or batch_size < 2:
        raise ValueError(f"training: {epochs} epochs of batches of {batch_size}; expected at least 1 and at least 2")
    if not 0 < lr < math.inf:
        raise ValueError(f"training: lr is {lr!r}, expected a number above 0")
    if (score is None) != (val is None):
        raise ValueError("training: score and val choose the best epoch together; give both or neither")
