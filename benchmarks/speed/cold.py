"""All five heads of the paper from a cache, tuned on val and judged on test; one process, started for this.

Run in benchmarks/: python -m speed.cold CACHE. Prints one JSON line: seconds since the process began, the highest
anonymous memory in bytes, the seconds of every step, and the test balanced accuracies.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

from speed.measure import watched


def since_start() -> float:
    """Seconds since this process began, by the kernel's clock."""
    after_boot = float(Path("/proc/uptime").read_text().split()[0])
    begun = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    return after_boot - begun / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """The five heads, in the order of the paper's table."""
    with watched() as highest:
        import torch

        from featurecache import FeatureCache
        from rebalance import LinearHead, evaluate, tune
        from rebalance.methods import crt, lws, ncm, tau_norm

        torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
        cache = FeatureCache(sys.argv[1])
        train, val, test = cache["train"], cache["val"], cache["test"]
        head = LinearHead(*cache.head)
        steps, scores = {"start": since_start()}, {}
        for method in (None, ncm, crt, tau_norm, lws):
            begun = time.perf_counter()
            if method is None:
                best = head
            elif method is tau_norm:
                best = tune(method, head, val.features, val.labels).head
            else:
                best = tune(method, head, train.features, train.labels, val=(val.features, val.labels)).head
            name = "joint" if method is None else method.__name__
            scores[name] = evaluate(best(test.features), test.labels, cache.counts).balanced
            steps[name] = time.perf_counter() - begun
        print(json.dumps({"seconds": since_start(), "bytes": highest(), "steps": steps, "balanced": scores}))


if __name__ == "__main__":
    main()
