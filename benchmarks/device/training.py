"""A step of training, next to the same step written out."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from extracting.pairs import interleaved
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Subset

from device.images import Pictures, opened
from device.record import Record
from featurecache.training import train

TARGET = 0.9  # losses are looked at, rates set and rows drawn in between
RATE, MOMENTUM, DECAY = 0.01, 0.9, 5e-4


def training(record: Record, *, model: str, steps: int, batch: int, pixels: int, precisions: tuple[str, ...]) -> None:
    """Milliseconds a step in every precision, and of float32 the share of a bare loop's rate.

    model: its name. steps: of an epoch; one epoch is not counted, two are. precisions: off, bf16 or fp16.
    """
    with record.guarded("train/data"):
        data = Pictures(steps * batch, pixels)
        for amp in precisions:
            with record.guarded(f"train/{model}/{amp}"):
                _steps(record, f"train/{model}/{amp}", model, data, batch, amp)
        with record.guarded(f"train/{model}/next to a bare loop"):
            ours, bare = _ours(record, model, data, batch), _bare(record, model, data, batch)
            ratio = interleaved(bare, ours, 3)
            record.found(
                f"train/{model}/next to a bare loop",
                ratio.median,
                "of the bare loop's rate",
                at_least=TARGET,
                note=f"{ratio.low:.3f} .. {ratio.high:.3f} in {ratio.pairs} pairs",
            )


def _steps(record: Record, check: str, model: str, data: Pictures, batch: int, amp: str) -> None:
    held = record.place.forget()
    history = _trained(record, model, data, batch, epochs=3, amp=amp)
    first, *counted = (line["seconds"] for line in history)
    steps = len(data) // batch
    record.found(
        check,
        1000 * statistics.median(counted) / steps,
        "ms a step",
        seconds=counted,
        first=first,
        memory=(held, record.place.peak()),
        note=f"batches of {batch}, {history[-1]['rows_per_second']:,.0f} images/s, loss {history[-1]['loss']:.3f}",
    )


def _trained(
    record: Record, model: str, data: Pictures, batch: int, *, epochs: int, amp: str
) -> list[Mapping[str, Any]]:
    run = train(
        opened(model, record.place.device),
        data,
        sampler=range(len(data)),
        loss=cross_entropy,
        epochs=epochs,
        batch_size=batch,
        lr=RATE,
        momentum=MOMENTUM,
        weight_decay=DECAY,
        amp=amp,
        device=record.place.device,
    )
    return list(run.history)


def _ours(record: Record, model: str, data: Pictures, batch: int) -> Callable[[], float]:
    return lambda: float(_trained(record, model, data, batch, epochs=1, amp="off")[0]["seconds"])


def _bare(record: Record, model: str, data: Pictures, batch: int) -> Callable[[], float]:
    """Seconds of one epoch of plain steps from the same loader."""
    device = record.place.device

    def epoch() -> float:
        net = opened(model, device).to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
        optimiser = torch.optim.SGD(net.parameters(), lr=RATE, momentum=MOMENTUM, weight_decay=DECAY)
        loader = DataLoader(Subset(data, range(len(data))), batch_size=batch, pin_memory=record.place.is_cuda)
        record.place.wait()
        begun = time.perf_counter()
        for images, labels in loader:
            images = images.to(device, non_blocking=True, memory_format=torch.channels_last)
            optimiser.zero_grad(set_to_none=True)
            cross_entropy(net(images), labels.to(device, non_blocking=True)).backward()
            optimiser.step()
        record.place.wait()
        return time.perf_counter() - begun

    return epoch
