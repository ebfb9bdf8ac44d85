"""Batches to the device and results back, while the device computes on others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from featurecache.extraction.forward import Output
from featurecache.inputs import each, to_device


class Upload:
    """Copies inputs to the device on a stream of their own.

    device: where to. channels_last: order of images there.
    """

    def __init__(self, device: torch.device, *, channels_last: bool) -> None:
        self._device, self._channels_last = device, channels_last
        self._stream = (
            torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
            if device.type == "cuda"
            else None
        )

    def __call__(self, inputs: Any) -> tuple[Any, torch.cuda.Event | None]:
        """The inputs there, and when they are (None: now)."""
        if self._stream is None:
            return to_device(inputs, self._device, channels_last=self._channels_last), None
        with torch.cuda.stream(self._stream):
            there = to_device(inputs, self._device, channels_last=self._channels_last)
        return there, self._stream.record_event()


def arrived(inputs: Any, event: torch.cuda.Event | None, device: torch.device) -> None:
    """Make the device's current stream wait for inputs of `Upload`; their memory is then that stream's, too."""
    if event is not None:
        stream = torch.cuda.current_stream(device)  # not the thread's own, which is that of the first device
        stream.wait_event(event)

        def keep(value: Tensor) -> Tensor:
            value.record_stream(stream)
            return value

        each(inputs, keep)


@dataclass(frozen=True)
class Download:
    """An output on its way to the CPU: float32 (B, D) and (B, K), to be read once `wait` has returned."""

    features: Tensor
    logits: Tensor | None
    event: torch.cuda.Event | None

    @classmethod
    def of(cls, output: Output) -> Download:
        """Begin to copy an output; the current stream's work goes on."""
        features = _to_host(output.features)
        logits = None if output.logits is None else _to_host(output.logits)
        device = output.features.device
        event = torch.cuda.current_stream(device).record_event() if device.type == "cuda" else None
        return cls(features, logits, event)

    def wait(self) -> None:
        """Return when the copy is whole."""
        if self.event is not None:
            self.event.synchronize()


def _to_host(value: Tensor) -> Tensor:
    value = value.float()
    if not value.is_cuda:
        return value.contiguous()
    host = torch.empty(value.shape, dtype=value.dtype, pin_memory=True)
    return host.copy_(value, non_blocking=True)
