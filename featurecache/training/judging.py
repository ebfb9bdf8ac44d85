"""How good a model is on the validation rows."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from featurecache.training.loading import Loading
from featurecache.training.stepping import Stepping

Score = Callable[[Tensor, Tensor], float]


@dataclass(frozen=True)
class Judging:
    """The validation rows of this process, and what judges those of all.

    score: logits (N, K), labels (N,) on the CPU -> float; called in the first process only.
    """

    loading: Loading
    score: Score

    @torch.no_grad()
    def score_of(self, model: nn.Module, epoch: int, stepping: Stepping) -> float:
        """The score of all validation rows, in eval mode; the same in every process.

        epoch: from 0. stepping: says where and in which precision the model computes.
        Raises ValueError when it is not a number.
        """
        model.eval()
        ranks = stepping.ranks
        ranks.same(list(model.buffers()))  # every process has kept the statistics of its own rows
        pairs = [(stepping.logits(model, inputs).float().cpu(), labels) for inputs, labels in self.loading.epoch(epoch)]
        logits, labels = (ranks.gathered(torch.cat(parts)) for parts in zip(*pairs, strict=True))
        value = torch.tensor([float(self.score(logits, labels)) if ranks.rank == 0 else 0.0], dtype=torch.float64)
        ranks.same([value])
        if math.isnan(value):
            raise ValueError(f"training: the score of epoch {epoch + 1} is not a number; look at the validation labels")
        return float(value)
