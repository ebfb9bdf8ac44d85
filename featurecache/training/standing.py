"""Where a training stands after a whole epoch: what goes on, what is best so far, and both as a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from featurecache.quoting import shown
from featurecache.training.averaging import Average
from featurecache.training.generators import restore, states
from featurecache.training.precision import Precision
from featurecache.training.schedule import Indices
from featurecache.training.sharing import Ranks
from featurecache.training.state import read_state, write_state


@dataclass(frozen=True)
class Best:
    """The best epoch so far. weights: None where that is the latest and no other can become it."""

    epoch: int
    score: float | None
    weights: dict[str, Tensor] | None


@dataclass
class Standing:
    """Everything that a training needs to go on, some of it changed by its steps.

    run: what the training is, plain JSON. history: a line an epoch, see TrainingRun.
    """

    model: nn.Module
    optimiser: torch.optim.Optimizer
    precision: Precision
    average: Average | None
    sampler: Indices
    device: torch.device
    run: Mapping[str, Any]
    history: list[dict[str, Any]] = field(default_factory=list)
    best: Best | None = None

    @property
    def judged(self) -> nn.Module:
        """The model that is judged and kept: the averaged one where there is one."""
        return self.model if self.average is None else self.average.module

    def close_epoch(self, line: dict[str, Any]) -> None:
        """Takes in an epoch and whether it is the best: that of the highest score, the later of equals."""
        self.history.append(line)
        epoch, score = line["epoch"], line["score"]
        if score is None:
            self.best = Best(epoch, None, None)
        elif self.best is None or self.best.score is None or score >= self.best.score:
            weights = {name: value.detach().clone() for name, value in self.judged.state_dict().items()}
            self.best = Best(epoch, score, weights)

    def take_best(self) -> Best:
        """The best epoch, whose weights the model has from now on."""
        best = self.best
        if best is None:
            raise ValueError("training: no epoch has been trained, so none is the best")
        if best.weights is not None:
            self.model.load_state_dict(best.weights)
        elif self.average is not None:
            self.model.load_state_dict(self.average.module.state_dict())
        return best

    def save(self, path: Path) -> None:
        """Writes the file that `resume` goes on from. OSError when the disk is full."""
        best = self.best
        write_state(
            path,
            self.run,
            {
                "history": self.history,
                "model": self.model.state_dict(),
                "optimiser": self.optimiser.state_dict(),
                "scaling": self.precision.state_dict(),
                "average": None if self.average is None else self.average.state_dict(),
                "sampler": _own_state(self.sampler),
                "generators": states(self.device),
                "best": None if best is None else [best.epoch, best.score, best.weights],
            },
        )

    def resume(self, path: Path | None, ranks: Ranks) -> None:
        """Goes on from a file, where there is one; every process reads it.

        Raises ValueError for one that is damaged or of another training, and where processes read different ones.
        """
        if path is not None and path.exists():
            found = read_state(path, self.run)
            try:
                self._take(found)
            except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
                raise ValueError(
                    f"{shown(path)} does not fit this training ({type(error).__name__}); remove it to begin anew"
                ) from None
        ranks.agree(len(self.history), "the epochs that are done")

    def _take(self, found: Mapping[str, Any]) -> None:
        self.model.load_state_dict(found["model"])
        self.optimiser.load_state_dict(found["optimiser"])
        for parameter, kept in self.optimiser.state.items():
            if any(isinstance(v, Tensor) and v.ndim and v.shape != parameter.shape for v in kept.values()):
                raise ValueError("the optimiser is of another model")
        self.precision.load_state_dict(found["scaling"])
        if self.average is not None:
            self.average.load_state_dict(found["average"])
        if found["sampler"] is not None:
            self.sampler.load_state_dict(found["sampler"])  # type: ignore[attr-defined]  # it made the state
        restore(found["generators"], self.device)
        self.history = [dict(line) for line in found["history"]]
        self.best = None if found["best"] is None else Best(*found["best"])


def _own_state(sampler: Indices) -> Any:
    return sampler.state_dict() if hasattr(sampler, "state_dict") else None
