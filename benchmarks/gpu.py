"""How long do all five heads of the paper take on one CUDA device, with the features already on it?

Run: python benchmarks/gpu.py
Targets: 1 s at the size of ImageNet-LT, 5 s at that of iNaturalist 2018. Needs 16 GB of device memory.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from speed.measure import machine, verdict
from speed.problem import INATURALIST, SEED, Maker, S, Size
from speed.reference import joint_head
from torch import Tensor

from rebalance import LinearHead, evaluate, tune
from rebalance.methods import crt, lws, ncm, tau_norm

RUNS = 3
TARGETS = {S: 1.0, INATURALIST: 5.0}  # seconds

Rows = tuple[Tensor, Tensor]


def made(size: Size, device: torch.device) -> dict[str, Rows]:
    """Features in float16 and labels of the three splits."""
    maker = Maker(size, device)
    splits = {}
    for split in ("train", "val", "test"):
        labels = maker.labels(split)
        splits[split] = torch.cat([rows for _, rows in maker.blocks(labels)]), labels
    return splits


def five(head: LinearHead, train: Rows, val: Rows) -> dict[str, Callable[[], LinearHead]]:
    """The five heads by name: fitted, and tau chosen on the validation rows."""
    return {
        "joint": lambda: head,
        "ncm": lambda: ncm(head, *train),
        "crt": lambda: crt(head, *train),
        "tau_norm": lambda: tune(tau_norm, head, *val).head,
        "lws": lambda: lws(head, *train),
    }


def measure(size: Size, device: torch.device, target: float, synchronize: Callable[[], None]) -> None:
    """Print the seconds of each head and of all; the middle of several runs after one that loads the kernels.

    synchronize: waits until the device has done all it was given.
    """
    splits = made(size, device)
    head = LinearHead(*joint_head(*splits["train"], size.classes, seed=SEED))
    methods = five(head, splits["train"], splits["val"])
    rounds, heads = [], {}
    for _ in range(RUNS + 1):
        seconds = {}
        for name, method in methods.items():
            synchronize()
            begun = time.perf_counter()
            heads[name] = method()
            synchronize()
            seconds[name] = time.perf_counter() - begun
        rounds.append(seconds)
    middle = sorted(rounds[1:], key=lambda each: sum(each.values()))[RUNS // 2]
    total = sum(middle.values())
    print(f"\n{size}")
    print("  " + ", ".join(f"{name} {seconds:.3f} s" for name, seconds in middle.items()))
    print(f"  all five {total:.3f} s; target {target:g} s: {verdict(total <= target)}")
    features, labels = splits["test"]
    scores = {name: evaluate(each(features), labels).balanced for name, each in heads.items()}
    print("  test balanced accuracy: " + ", ".join(f"{name} {100 * value:.2f} %" for name, value in scores.items()))


def main() -> None:
    """Prints the machine, the device, and one block a size."""
    if not torch.cuda.is_available():
        raise SystemExit("no CUDA device: this benchmark has nothing to measure here")
    device = torch.device("cuda")
    print(machine())
    print(f"{torch.cuda.get_device_name(device)}, CUDA {torch.version.cuda}; medians of {RUNS} runs after one")
    for size, target in TARGETS.items():
        measure(size, device, target, torch.cuda.synchronize)


if __name__ == "__main__":
    main()
