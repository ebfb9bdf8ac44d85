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


@contextmanager
def memory_told(rows: int, device: torch.device) -> Iterator[None]:
    """OutOfMemory in the place of what PyTorch and its libraries raise. rows: of the forward in the block."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_of_memory(error):
            raise
        raise OutOfMemory(rows, device) from error


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
        with memory_told(min(rows, at_most), self.computing.device), self.computing.inference():
            done = [self._one(inputs if len(parts) == 1 else taken(inputs, rows, some)) for some in parts]
        if len(done) == 1:
            return done[0]
        logits = [output.logits for output in done if output.logits is not None]
        return Output(torch.cat([output.features for output in done]), torch.cat(logits) if logits else None)

    def _one(self, inputs: Any) -> Output:
        output = call(self._run, to_device(inputs, self.computing.device, channels_last=self.computing.channels_last))
        return Output(self._captured.features, logits_of(output) if self.has_logits else None)


def is_of_memory(error: BaseException) -> bool:
    """Whether an exception of PyTorch or one of its libraries is about memory."""
    # oneDNN tells no reason: a primitive that it could make for smaller batches had no room.
    told = any(words in str(error) for words in ("DefaultCPUAllocator", "could not create a primitive"))
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or told
