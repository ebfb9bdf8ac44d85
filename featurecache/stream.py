"""A model run over inputs batch by batch, with nothing stored: features or logits as they come."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from featurecache.extraction import batch_size as trials
from featurecache.extraction.ahead import ahead
from featurecache.extraction.computing import Computing
from featurecache.extraction.finding import Found, find
from featurecache.extraction.forward import Forward
from featurecache.extraction.rows import Batch, Rows, own_randomness
from featurecache.extraction.staging import Upload, arrived
from featurecache.proof import logits_of

DEPTH = 2  # batches that are loaded ahead
TRIAL_ROWS = 8  # that the model is looked at with, where the size of a batch is still to be found

Want = Literal["features", "output", "logits"]


@dataclass(frozen=True)
class Streamed:
    """What the model makes of some rows, one behind the other.

    ids: B names. labels: (B,) int64, -1 where there is none. readable: (B,) bool. reasons: one line for each row that
    is not. values: (B, W) float32 on the model's device, zeros where a row could not be read.
    """

    ids: list[str]
    labels: NDArray[np.int64]
    readable: NDArray[np.bool_]
    reasons: tuple[str, ...]
    values: Tensor


class Stream:
    """The batches of a data set as a model sees them; made by `streaming`, to be gone through once.

    found: what is given of the model; its head is the classifier that belongs to the features, its width W.
    rows: N. batch_size: rows of a batch.
    """

    def __init__(self, forward: Forward, found: Found, rows: Rows, batch_size: int, workers: int) -> None:
        self.found, self.rows, self.batch_size = found, len(rows), batch_size
        self._forward, self._rows, self._workers = forward, rows, workers

    def __iter__(self) -> Iterator[Streamed]:
        ranges = [range(low, min(low + self.batch_size, self.rows)) for low in range(0, self.rows, self.batch_size)]
        with (
            own_randomness(),
            self._forward.ready(),
            closing(ahead(self._loaded(ranges), DEPTH)) as loaded,
        ):
            for some, (batch, inputs, event) in zip(ranges, loaded, strict=True):
                ids = [name.decode("utf-8", errors="replace") for name in self._rows.ids(some).tolist()]
                arrived(inputs, event, self._forward.computing.device)
                values = self._values(batch, inputs, ids)
                yield Streamed(ids, batch.labels.numpy().astype(np.int64), ~batch.unreadable, batch.reasons, values)

    def _loaded(self, ranges: Sequence[range]) -> Generator[tuple[Batch, Any, torch.cuda.Event | None], None, None]:
        """Every batch, its inputs on the device, and when they are there."""
        device = self._forward.computing.device
        upload = Upload(device, channels_last=False)
        loader = DataLoader(
            self._rows,
            batch_sampler=ranges,  # type: ignore[arg-type]  # any re-iterable of rows
            num_workers=self._workers,
            collate_fn=self._rows.collate,
            pin_memory=device.type == "cuda",
        )
        for each in loader:
            batch = self._rows.check(each)
            yield batch, *upload(batch.inputs)

    def _values(self, batch: Batch, inputs: Any, ids: list[str]) -> Tensor:
        device = self._forward.computing.device
        if inputs is None:
            return torch.zeros(len(batch), self.found.width, device=device)
        values = self._forward(inputs, len(batch), self.batch_size).features.float()
        unreadable = torch.from_numpy(batch.unreadable).to(device)
        values = torch.where(unreadable[:, None], 0, values)
        if not bool(torch.isfinite(values).all()):
            bad = int((~torch.isfinite(values)).any(dim=1).to(torch.uint8).argmax())
            raise ValueError(
                f"the model gives NaN or infinity for sample {ids[bad][:80]!r}; expected finite numbers: the weights "
                "or this input are broken"
            )
        return values


@contextmanager
def streaming(
    model: nn.Module,
    data: Dataset[Any],
    *,
    want: Want,
    layer: str | None = None,
    batch_size: int | Literal["auto"] = 64,
    unreadable: Literal["stop", "skip"] = "stop",
    device: str | torch.device = "cpu",
    workers: int = 0,
    name: str = "data",
) -> Iterator[Stream]:
    """A Stream of what the model makes of the data; the model is in eval mode inside the block and as it was after it.

    model: any module that gives logits (B, K), or a backbone. data: as for `featurecache.extract`.
    want: the features that are the input of the classifier, which is proved on the first batch; the output of `layer`
    (None: the model's own), for a backbone; or the model's own logits.
    layer: the classifier's name, where it cannot be proved which it is.
    batch_size: rows a batch; "auto" takes what trial batches are fastest with. unreadable: "skip" gives zeros for a
    row that cannot be read. device, workers: where the model runs, how many processes load. name: for messages.
    ValueError when no layer provably is the classifier, no row can be read, or a number is not finite; Unreadable for
    a row that cannot be read; OutOfMemory when the device has too little memory for a batch.
    """
    rows, computing = Rows(name, data, 0, skip=unreadable == "skip"), Computing(torch.device(device))
    run = LogitsOf(model) if want == "logits" else model
    with computing.prepared(run):
        trial = TRIAL_ROWS if batch_size == "auto" else batch_size
        found = find(run, {name: rows}, trial, computing, layer=layer, head=want == "features")
        forward = Forward(run, found.classifier or found.layer, computing)
        if batch_size == "auto":
            with forward.ready():
                batch_size = trials.fastest(forward, found.first.inputs, len(found.first))
        yield Stream(forward, found, rows, batch_size, workers)


class LogitsOf(nn.Module):
    """A model that returns its logits (B, K) alone, whatever they are wrapped in."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """The logits."""
        return logits_of(self.model(*args, **kwargs))


class Called(nn.Module):
    """A function from a batch of inputs to its logits (B, K), such as an opened program, as a model."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, inputs: Tensor) -> Tensor:
        """The logits."""
        return self.function(inputs)
