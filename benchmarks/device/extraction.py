"""Extraction next to a bare forward loop of the same model in the same precision: what share of its speed is kept."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from extracting.pairs import Ratio, interleaved

from device.images import Pictures, opened
from device.place import Place
from device.record import Record
from featurecache import extract
from featurecache.extraction.computing import Computing
from featurecache.inputs import to_device

TARGET = 0.95
WAYS: Mapping[str, Mapping[str, Any]] = {
    "fp32": {},
    "tf32": {"tf32": True},
    "bf16": {"amp": "bf16"},
    "channels_last": {"channels_last": True},
    "bf16 channels_last": {"amp": "bf16", "channels_last": True},
    "bf16 compile": {"amp": "bf16", "compile": True},
}


def extraction(
    record: Record, asked: Mapping[str, Sequence[str]], *, batches: int, batch: int, pixels: int, pairs: int
) -> None:
    """The share of every model's own speed in every way of running it.

    asked: ways by model. batches: of a run, the first of which is not counted; batch: rows of one. pairs: of runs after
    one that is not counted; a compiled model runs once on each side, for every run compiles it anew.
    """
    with record.guarded("extract/data"):
        data = Pictures(batches * batch, pixels)
        for name, ways in asked.items():
            for way in ways:
                with record.guarded(f"extract/{name}/{way}"):
                    _one(record, f"extract/{name}/{way}", name, WAYS[way], data, batch, pairs)


def _one(record: Record, check: str, name: str, way: Mapping[str, Any], data: Pictures, batch: int, pairs: int) -> None:
    place = record.place
    model = opened(name, place.device).eval()
    held, rates = place.forget(), dict[str, list[float]](bare=[], ours=[])

    def bare() -> float:
        seconds = _bare(model, way, data, batch, place)
        rates["bare"].append((len(data) - batch) / seconds)
        return seconds

    def ours() -> float:
        seconds = _ours(model, way, data, batch, place)
        rates["ours"].append((len(data) - batch) / seconds)
        return seconds

    ratio = _once(bare, ours) if way.get("compile") else interleaved(bare, ours, pairs)
    fastest = f"{max(rates['ours']):,.0f} images/s, the bare loop {max(rates['bare']):,.0f}"
    spread = f"{ratio.low:.3f} .. {ratio.high:.3f} in {ratio.pairs} pairs"
    seconds = [(len(data) - batch) / rate for rate in rates["ours"]][-ratio.pairs :]
    record.found(
        check,
        ratio.median,
        "of the bare loop's rate",
        at_least=TARGET,
        seconds=seconds,
        memory=(held, place.peak()),
        note=f"{fastest}; {spread}; batches of {batch}",
    )


def _once(bare: Callable[[], float], ours: Callable[[], float]) -> Ratio:
    ratio = bare() / ours()
    return Ratio(ratio, ratio, ratio, 1)


def _bare(model: torch.nn.Module, way: Mapping[str, Any], data: Pictures, batch: int, place: Place) -> float:
    """Seconds of all batches but the first, from images that are batches already."""
    computing, batches = Computing(place.device, **way), len(data) // batch
    ready = [data.batch(start, batch) for start in range(0, min(len(data), len(data.images)), batch)]
    if place.is_cuda:
        ready = [images.pin_memory() for images in ready]
    begun = time.perf_counter()
    with computing.prepared(model), computing.inference():
        run = computing.compiled(model)
        for number in range(batches):
            run(to_device(ready[number % len(ready)], place.device, channels_last=computing.channels_last))
            if number == 0:
                place.wait()
                begun = time.perf_counter()
        place.wait()
        return time.perf_counter() - begun


def _ours(model: torch.nn.Module, way: Mapping[str, Any], data: Pictures, batch: int, place: Place) -> float:
    """Seconds of all batches but the first, from items to a finished cache."""
    first: list[float] = []

    def progress(_split: str, _done: int, _total: int) -> None:
        if not first:
            first.append(time.perf_counter())

    with tempfile.TemporaryDirectory() as folder:
        extract(
            model, {"train": data}, Path(folder) / "c", batch_size=batch, device=place.device, progress=progress, **way
        )
        return time.perf_counter() - first[0]
