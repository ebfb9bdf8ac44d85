"""A model that gives features and logits: one forward, with what the classifier is given kept on the way."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from featurecache.classifier import Classifier, capture, capture_output
from featurecache.extraction.computing import Computing
from featurecache.inputs import call, taken, to_device
from featurecache.proof import logits_of


class Output(NamedTuple):
    """features (B, D); logits (B, K), None for a model without a classifier."""

    features: Tensor
    logits: Tensor | None


class OutOfMemory(ValueError):
    """A batch that is too large for the device. smaller: a size to try next, 0 where there is none."""

    def __init__(self, rows: int, device: torch.device) -> None:
        self.smaller = rows // 2
        tried = f"{device.type} is out of memory at {rows} rows a forward"
        super().__init__(
            f"{tried}; use --batch-size {self.smaller}" if self.smaller else f"{tried}; expected more memory"
        )


class Forward:
    """Runs a model.

    model: prepared, see Computing.prepared. found: its classifier, whose input is the features; or the name of the
    layer whose output is (None: the model's own output). computing: how it is run.
    """

    def __init__(self, model: nn.Module, found: Classifier | str | None, computing: Computing) -> None:
        self.computing = computing
        self._model, self._found = model, found

    @property
    def has_logits(self) -> bool:
        """Whether there is a classifier."""
        return isinstance(self._found, Classifier)

    @contextmanager
    def ready(self) -> Iterator[None]:
        """The hooks are in the model inside the block."""
        with ExitStack() as hooks:
            if isinstance(self._found, Classifier):
                self._captured = hooks.enter_context(capture(self._model, self._found))
            else:
                self._captured = hooks.enter_context(capture_output(self._model, self._found))
            self._run = self.computing.compiled(self._model)
            yield

    def __call__(self, inputs: Any, rows: int, at_most: int) -> Output:
        """The output for some rows; to be called when ready.

        inputs: as a data set's batch holds them, on any device. rows: B. at_most: rows of one forward.
        OutOfMemory when the device has too little.
        """
        parts = torch.split(torch.arange(rows), at_most)
        try:
            with self.computing.inference():
                done = [self._one(inputs if len(parts) == 1 else taken(inputs, rows, some)) for some in parts]
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            if isinstance(error, RuntimeError) and not _of_memory(error):
                raise
            raise OutOfMemory(min(rows, at_most), self.computing.device) from error
        if len(done) == 1:
            return done[0]
        logits = [output.logits for output in done if output.logits is not None]
        return Output(torch.cat([output.features for output in done]), torch.cat(logits) if logits else None)

    def _one(self, inputs: Any) -> Output:
        output = call(self._run, to_device(inputs, self.computing.device, channels_last=self.computing.channels_last))
        return Output(self._captured.features, logits_of(output) if self.has_logits else None)


def _of_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)
