"""Joint training: backbone and classifier together, by stochastic gradient descent with a cosine schedule."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from featurecache.training.averaging import Average
from featurecache.training.freezing import held
from featurecache.training.generators import mixed, seed_all, seeded
from featurecache.training.judging import Judging, Score
from featurecache.training.loading import Data, Loading, rows_in
from featurecache.training.log import TrainLog
from featurecache.training.mixing import Loss, Mixup
from featurecache.training.precision import Precision
from featurecache.training.recipe import Recipe
from featurecache.training.schedule import Batches, Indices, Progress, Steps
from featurecache.training.sharing import ALONE, Ranks
from featurecache.training.standing import Standing
from featurecache.training.stepping import Stepping


@dataclass(frozen=True)
class TrainingRun:
    """What happened.

    history: one dict an epoch: epoch (from 0), lr (of its first step), loss (mean over its steps), score (None
        without validation rows), seconds and rows_per_second (of its steps).
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
    optimiser: str = "sgd",
    mixup: float = 0.0,
    amp: str = "off",
    ema: float | None = None,
    parts: Sequence[str] | None = None,
    state: Path | None = None,
    run: Mapping[str, Any] | None = None,
    log: Path | None = None,
    ranks: Ranks = ALONE,
    device: torch.device | str = "cpu",
    workers: int = 0,
    seed: int = 0,
    progress: Progress | None = None,
) -> TrainingRun:
    """Trains the model in place; it ends in eval mode on the device, with the weights of its best epoch.

    The learning rate falls from lr at the first step along a half cosine that reaches 0 one step after the last. The
    best epoch is that of the highest score, the later of equals; without val it is the last. On a CPU equal seeds give
    equal weights for one thread count and number of workers, a model that starts from equal weights and a sampler that
    draws equally, also where a run was stopped and gone on with from its state; CUDA sums in any order.

    model: inputs, see featurecache.inputs.call -> logits (B, K), see featurecache.proof.logits_of.
    data: (input, label) items; its attribute `collate`, where it has one, makes a batch of a list of them.
    sampler: rows of data for one epoch. Where it has them, set_epoch(e) is called with e from 0, and state_dict() and
        load_state_dict() keep what it remembers across epochs.
    loss: logits (B, K), labels (B,) -> scalar, a mean over the rows; set_epoch(e) is called where it has it.
    score: logits (N, K), labels (N,) of all val rows, on the CPU -> a float, more is better; given exactly with val.
    val: (input, label) items to choose the epoch on.
    epochs, batch_size, lr, weight_decay, momentum, optimiser, mixup, amp, ema: see `Recipe`; amp fp16 needs CUDA. With
        ema the averaged weights are judged and kept in place of the raw ones. A last batch of one row (a process) is
        left out, for batch normalisation cannot use it.
    parts: names of the modules to train, see featurecache.training.freezing; None: all of the model.
    state: a file that keeps everything after each epoch; if it is there, training goes on from it. Afterwards it is
        the caller's to remove, once the model is safe.
    run: what else decides the training (data, architecture, …), plain JSON, kept in the state to compare.
    log: path of a CSV and a JSON lines file without their endings, a line an epoch.
    ranks: this process's place among several that train together; the first alone writes.
    device: where to train.
    workers: processes that load images; 0: this one.
    seed: of augmentation, dropout and the workers; all generators are as before when this returns.
    progress: called after every step with steps done, steps in all and a line of text.
    Raises ValueError when the loss or the score stops being a number, for values out of range, and for a state of
    another training.
    """
    recipe = Recipe(epochs, batch_size, lr, weight_decay, momentum, optimiser, mixup, amp, ema)
    if (score is None) != (val is None):
        raise ValueError("training: score and val choose the best epoch together; give both or neither")
    target = torch.device(device)
    precision = Precision(amp, target)
    own_seed = mixed(seed, ranks.rank) if ranks.size > 1 else seed
    fitting = Loading(data, _batches(sampler, batch_size, ranks), target, workers, own_seed)
    judging = None
    if val is not None and score is not None:
        rows = ranks.window(rows_in(val, "validation data", ranks.size))
        judging = Judging(Loading(val, Batches(rows, batch_size, 1), target, workers, own_seed), score)
    decides = {**asdict(recipe), "seed": seed, "parts": None if parts is None else list(parts), "rows": len(sampler)}
    with seeded(seed, target), held(model, parts) as begin:
        model.to(target)
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing from torch's stubs
        ranks.same([*(parameter.detach() for parameter in model.parameters()), *model.buffers()])
        trained = (parameter for parameter in model.parameters() if parameter.requires_grad)
        optimiser_made = recipe.make_optimiser(trained)
        average = None if ema is None else Average(model, ema)
        standing = Standing(model, optimiser_made, precision, average, sampler, target, {**(run or {}), **decides})
        standing.resume(state, ranks)
        stepping = Stepping(
            ranks.wrapped(model), begin, optimiser_made, loss, Mixup(mixup), precision, average, target, ranks
        )
        lines = TrainLog(log, standing.history) if log is not None and ranks.rank == 0 else None
        for epoch in range(len(standing.history), epochs):
            _announce(epoch, seed, sampler, loss, ranks)
            steps = Steps(epoch, epochs, len(fitting), lr, progress)
            standing.close_epoch(_epoch(stepping, fitting, steps, standing.judged, judging))
            if state is not None and ranks.rank == 0:
                standing.save(state)
            if lines is not None:
                lines.add(standing.history[-1])
        best = standing.take_best()
    model.eval()
    return TrainingRun(standing.history, best.epoch, best.score, epochs * len(fitting))


def _epoch(
    stepping: Stepping, fitting: Loading, steps: Steps, judged: nn.Module, judging: Judging | None
) -> dict[str, Any]:
    """One epoch of steps and a look at the validation rows, as a line of the history."""
    began = time.perf_counter()
    mean = stepping.epoch(fitting, steps)
    seconds = time.perf_counter() - began
    rows = sum(fitting.batches.rows_of(step) for step in range(len(fitting)))
    return {
        "epoch": steps.epoch,
        "lr": steps.rate(0),
        "loss": mean,
        "score": None if judging is None else judging.score_of(judged, steps.epoch, stepping),
        "seconds": round(seconds, 3),
        "rows_per_second": round(rows / max(seconds, 1e-9), 1),
    }


def _announce(epoch: int, seed: int, sampler: Indices, loss: Loss, ranks: Ranks) -> None:
    """Tells an epoch to those who ask for it."""
    for part in (sampler, loss):
        if hasattr(part, "set_epoch"):
            part.set_epoch(epoch)
    if ranks.size > 1:
        seed_all(mixed(seed, epoch, ranks.rank))  # the state keeps the generators of one process only


def _batches(sampler: Indices, batch_size: int, ranks: Ranks) -> Batches:
    """Batches with at least two rows a process. Raises ValueError when there is none."""
    least = 2 * ranks.size
    if batch_size < least:
        raise ValueError(
            f"training: batches of {batch_size} rows for {ranks.size} processes; expected at least {least} rows"
        )
    batches = Batches(sampler, batch_size, least, ranks.rank, ranks.size)
    if not len(batches):
        raise ValueError(f"training: the sampler draws {len(sampler)} rows an epoch; expected at least {least}")
    return batches
