"""The parts of benchmarks/gpu.py, each run in a process of its own, in this order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from device.record import Record

PRECISIONS = ("off", "bf16", "fp16")
WAYS = {
    "resnet50": ("fp32", "tf32", "channels_last", "bf16", "bf16 channels_last"),
    "vit_small": ("fp32", "bf16", "bf16 compile"),
}
FEW_WAYS = {"resnet50": ("fp32", "bf16 channels_last"), "vit_small": ("bf16",)}


class Part(Protocol):
    """Does its checks. quick: in a fraction of the time."""

    def __call__(self, record: Record, *, quick: bool) -> None: ...


# What a part needs is imported by it: where a package is missing the others still run.


def _tests(record: Record, *, quick: bool) -> None:
    from device import cuda_tests

    del quick  # they take seconds each
    cuda_tests.run(record)


def _agreement(record: Record, *, quick: bool) -> None:
    from speed.problem import REDUCED

    from device import agreement

    del quick  # it is for the larger part the CPU's time
    agreement.agreement(record, REDUCED)


def _heads(record: Record, *, quick: bool) -> None:
    from speed.problem import S

    from device import heads

    heads.heads(record, S, name="heads", target=1.0, runs=1 if quick else 3, more=True)


def _many_classes(record: Record, *, quick: bool) -> None:
    from speed.problem import INATURALIST

    from device import heads

    heads.heads(record, INATURALIST, name="heads of 8,142 classes", target=5.0, runs=1 if quick else 3, more=False)


def _evaluate(record: Record, *, quick: bool) -> None:
    from device import judging

    judging.judging(record, rows=50_000, classes=1000, target=5.0, runs=1 if quick else 3)


def _feed(record: Record, *, quick: bool) -> None:
    from device import feeding

    feeding.feeding(
        record, rows=25_000 if quick else 200_000, width=2048, classes=1000, block=4096, runs=1 if quick else 3
    )


def _train(record: Record, *, quick: bool) -> None:
    from device import training

    training.training(record, model="resnet50", steps=10 if quick else 30, batch=64, pixels=224, precisions=PRECISIONS)


def _extract(record: Record, *, quick: bool) -> None:
    from device import extraction

    extraction.extraction(
        record, FEW_WAYS if quick else WAYS, batches=50 if quick else 100, batch=64, pixels=224, pairs=1 if quick else 3
    )


PARTS: Mapping[str, Part] = {
    "tests": _tests,
    "agreement": _agreement,
    "heads": _heads,
    "evaluate": _evaluate,
    "feed": _feed,
    "train": _train,
    "many-classes": _many_classes,
    "extract": _extract,
}
