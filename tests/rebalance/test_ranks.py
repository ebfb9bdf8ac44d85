"""Two and three processes on one set of rows end with the head that one process finds.

They are started once: this file is their program as well (see `main`). It forks into the ranks when everything is
imported, and each of them writes what it found.
"""

from __future__ import annotations

import multiprocessing
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from rebalance import LinearHead, evaluate, ranks, tune
from rebalance.methods import METHODS, crt, lda, logit_adjust, lws, ncm
from rebalance.metrics import Report, evaluate_head
from rebalance.offsets import offsets
from rebalance.rows import need_rows

WIDTH, CLASSES, COUNTS = 6, 4, [60, 30, 6, 5]
SEVERAL = (3, 2)  # how many processes share the rows, one after the other
JUDGED: dict[str, Any] = {"counts": COUNTS, "target_prior": [1, 2, 3, 4], "costs": 1 - np.eye(CLASSES), "replicates": 7}
LIMIT = 90.0  # seconds until the processes are given up


class Slices:
    """An array-like that has `shape`, `len` and slices of rows, and nothing else."""

    def __init__(self, array: Any) -> None:
        self._array = array
        self.shape = array.shape

    def __len__(self) -> int:
        return len(self._array)

    def __getitem__(self, rows: slice) -> Any:
        if not isinstance(rows, slice):
            raise TypeError("only slices of rows")
        return self._array[rows]


def rows_of(size: int, *, sorted_by_class: bool = False) -> tuple[Tensor, Tensor]:
    """Rows whose number no count of ranks divides; sorted, a class lies on one rank only."""
    generator = torch.Generator().manual_seed(size)
    labels = torch.cat([torch.arange(CLASSES), (CLASSES * torch.rand(size, generator=generator) ** 2).long()])[:size]
    labels = labels.sort().values if sorted_by_class else labels
    # Exact in float16.
    features = (1.5 * torch.eye(CLASSES, WIDTH)[labels] + torch.randn(size, WIDTH, generator=generator)).half().float()
    return features, labels


def a_head() -> LinearHead:
    return LinearHead(2 * torch.eye(CLASSES, WIDTH) + 0.1, torch.linspace(1, -1, CLASSES))


def logits(head: LinearHead) -> dict[str, Tensor]:
    return {
        "logits": head(rows_of(53)[0]),
        "passes": torch.tensor(float(head.record.get("solver", {}).get("passes", 0))),
    }


def objective(head: LinearHead) -> dict[str, Tensor]:
    solver = head.record["solver"]
    return {"objective": torch.tensor(solver["objective"]), "converged": torch.tensor(solver["converged"])}


def solved(rows: Any) -> dict[str, Tensor]:
    return objective(crt(None, *rows, weight_decay=1e-2, tol=1e-3))


def descended(rows: Any = None, *, products: torch.dtype = torch.float32, **options: Any) -> dict[str, Tensor]:
    """A problem that counts as large, in float32 products unless told otherwise: the same on every machine."""
    with (
        mock.patch("rebalance.solving.trained.SMALL", 0),
        mock.patch("rebalance.solving.descent.FEWEST", 40),
        mock.patch("rebalance.solving.descent.product_type", return_value=products),
    ):
        return logits(crt(None, *(rows or rows_of(101)), **options))


def sampled() -> dict[str, Tensor]:
    """The factors from a few rows of every class."""
    with mock.patch.dict(lws.__globals__, {"MANY": 0, "FEW": 5, "product_type": lambda device: torch.float32}):
        return objective(lws(a_head(), *rows_of(101)))


def search(method: str, **data: Any) -> dict[str, Tensor]:
    best = tune(METHODS[method].function, a_head(), *rows_of(101), **data)
    return {"value": torch.tensor(best.value), "interval": torch.tensor(best.interval), **logits(best.head)}


def figures(report: Report) -> dict[str, Tensor]:
    drawn = {f"{name}, drawn": torch.from_numpy(each) for name, each in report.replicates.items()}
    return {name: torch.tensor(value) for name, value in report.values.items()} | drawn


def sums() -> dict[str, Tensor]:
    features, labels = rows_of(101)
    labels[::7] = -1
    rows = need_rows(None, features, labels)
    return {"counts": rows.counts, "mean": rows.mean, "whole": rows.whole}


def refusal() -> dict[str, Tensor]:
    """Every rank must refuse a row that only one of them reads, or the others would wait for it for ever."""
    features, labels = rows_of(101)
    features[77, 2] = torch.nan
    try:
        ncm(None, features, labels)
    except ValueError as error:
        return {"row": torch.tensor("row 77 of 101" in str(error))}
    return {"row": torch.tensor(False)}


def few(method: Callable[..., LinearHead], **options: Any) -> dict[str, Tensor]:
    """Fewer rows than ranks: some rank has none."""
    return logits(
        method(None, torch.tensor([[1.0, 0, 2, 0, 0, 0], [0, 1, 0, 3, 0, 1]]), torch.tensor([0, 1]), **options)
    )


def as_map() -> np.ndarray[Any, Any]:
    return rows_of(101)[0].numpy().astype(np.float16)


# By name: what is computed, and how near one rank it must be. Sums in another order cost 1e-5; a solve agrees in its
# objective, and the descent and the reference's loop, whose batches are summed in another order, in their logits.
CHECKS: dict[str, tuple[Callable[[], dict[str, Tensor]], float]] = {
    "rows": (sums, 1e-5),
    "a bad row": (refusal, 0.0),
    "ncm un": (lambda: logits(ncm(None, *rows_of(101), transform="un")), 1e-5),
    "ncm l2n": (lambda: logits(ncm(None, *rows_of(101), transform="l2n")), 1e-5),
    "ncm cl2n": (lambda: logits(ncm(None, *rows_of(101))), 1e-5),
    "ncm of slices": (lambda: logits(ncm(None, Slices(as_map()), rows_of(101)[1])), 1e-5),
    "ncm of sorted rows": (lambda: logits(ncm(None, *rows_of(101, sorted_by_class=True))), 1e-5),
    "ncm of two rows": (lambda: few(ncm), 1e-5),
    "lda": (lambda: logits(lda(None, *rows_of(101))), 1e-4),  # an inverse of condition 10 stands between
    "lda of sorted rows": (lambda: logits(lda(None, *rows_of(101, sorted_by_class=True))), 1e-4),
    "lda of two rows": (lambda: few(lda), 1e-4),
    "crt solved": (lambda: solved(rows_of(101)), 1e-3),
    "crt solved, sorted rows": (lambda: solved(rows_of(101, sorted_by_class=True)), 1e-3),
    "crt solved, slices": (lambda: solved((Slices(as_map()), rows_of(101)[1])), 1e-3),
    "crt solved, two rows": (lambda: few(crt, weight_decay=0.1, tol=1e-3), 1e-3),
    "crt descended": (descended, 1e-3),
    "crt descended, slices": (lambda: descended((Slices(as_map()), rows_of(101)[1]), visits=3000), 1e-3),
    "crt descended, map": (lambda: descended((as_map(), rows_of(101)[1]), visits=3000), 1e-3),
    "crt descended, sorted rows": (lambda: descended(rows_of(101, sorted_by_class=True), visits=3000), 1e-3),
    "crt descended, two rows": (lambda: few(crt, visits=1500), 1e-3),
    # A sum of half a batch is rounded to bfloat16, 4e-3 of it, before the ranks add theirs up.
    "crt descended, bfloat16": (lambda: descended(products=torch.bfloat16), 5e-2),
    "crt reference": (lambda: logits(crt(None, *rows_of(101), recipe="reference", batch=16, seed=1)), 1e-3),
    "crt reference, two rows": (lambda: few(crt, recipe="reference"), 1e-3),
    "lws": (lambda: objective(lws(a_head(), *rows_of(101), tol=1e-3)), 1e-3),
    "lws of some rows": (sampled, 1e-3),
    "lws reference": (lambda: logits(lws(a_head(), *rows_of(101), recipe="reference", batch=16)), 1e-3),
    "logit_adjust": (lambda: logits(logit_adjust(a_head(), *rows_of(101))), 1e-5),
    "offsets": (lambda: logits(offsets(a_head(), *rows_of(101), counts=COUNTS).head), 1e-5),
    "tau search": (lambda: search("tau_norm"), 1e-5),
    "adjustment search": (lambda: search("logit_adjust", counts=COUNTS), 1e-5),
    "figures": (lambda: figures(evaluate_head(a_head(), *rows_of(101), **JUDGED)), 1e-5),
    "figures of logits": (lambda: figures(evaluate(a_head()(rows_of(101)[0]), rows_of(101)[1], **JUDGED)), 1e-5),
}


def answers() -> dict[str, dict[str, Tensor] | str]:
    """What every check gives here, or the error it ends with."""
    found: dict[str, dict[str, Tensor] | str] = {}
    for name, (compute, _) in CHECKS.items():
        try:
            found[name] = compute()
        except Exception as error:
            found[name] = f"{type(error).__name__}: {error}"
            if not isinstance(error, ValueError):
                break  # another rank may wait for this one: what it gives then would be nonsense
    return found


def main(folder: Path, ports: list[int]) -> None:
    """The program of the processes; it fails where one of them did not come to its end in time."""
    torch.set_num_threads(1)
    torch.optim.SGD([torch.zeros(1)])  # imports what it needs: once here, not once a rank
    fork = multiprocessing.get_context("fork")
    processes = [fork.Process(target=one_rank, args=(folder, rank, ports)) for rank in range(max(SEVERAL))]
    for process in processes:
        process.start()
    for process in processes:
        process.join(LIMIT)
        process.kill()
    sys.exit(sum(process.exitcode != 0 for process in processes))


def one_rank(folder: Path, rank: int, ports: list[int]) -> None:
    """One of the processes: every number of ranks in turn, as torchrun would have started them."""
    for size, port in zip(SEVERAL, ports, strict=True):
        if rank >= size:
            break
        place = {"RANK": rank, "WORLD_SIZE": size, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        os.environ.update({name: str(value) for name, value in place.items()})
        with ranks.together():
            inside = torch.tensor([ranks.rank(), ranks.size(), dist.is_initialized()])
            found: dict[str, Any] = {"ranks": {"inside": inside}, **exchange(), **answers()}
        found["ranks"]["after"] = torch.tensor([ranks.rank(), ranks.size(), dist.is_initialized()])
        torch.save(found, folder / f"{size}.{rank}")


def exchange() -> dict[str, dict[str, Tensor]]:
    """Sums of known numbers."""
    one, two = torch.full((2,), 1.0 + ranks.rank()), torch.tensor(10.0 * ranks.rank(), dtype=torch.float64)
    ranks.total(one, two)
    part = ranks.window(11)
    return {"exchange": {"one": one, "two": two, "window": torch.tensor([part.start, part.stop])}}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def several(tmp_path_factory: Any) -> dict[int, list[dict[str, Any]]]:
    """By number of ranks, what each of them found."""
    folder = tmp_path_factory.mktemp("ranks")
    command = [sys.executable, __file__, str(folder), *(str(free_port()) for _ in SEVERAL)]
    done = subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return {size: [torch.load(folder / f"{size}.{rank}") for rank in range(size)] for size in SEVERAL}


@pytest.fixture(scope="module")
def alone() -> dict[str, dict[str, Tensor] | str]:
    return answers()


@pytest.mark.parametrize("size", SEVERAL)
@pytest.mark.parametrize("name", CHECKS)
def test_several_ranks_equal_one(name: str, size: int, several: Any, alone: Any) -> None:
    expected, tolerance = alone[name], CHECKS[name][1]
    assert isinstance(expected, dict), expected
    for found in several[size]:
        out = found.get(name, "never came to it")
        assert isinstance(out, dict), out
        for key, value in expected.items():
            if key != "passes":
                torch.testing.assert_close(
                    out[key], value, rtol=tolerance, atol=tolerance, msg=lambda m, k=key: f"{k}: {m}"
                )


@pytest.mark.parametrize("size", SEVERAL)
@pytest.mark.parametrize("name", CHECKS)
def test_all_ranks_end_with_the_same_bits(name: str, size: int, several: Any) -> None:
    first, *others = (found[name] for found in several[size])
    assert isinstance(first, dict), first
    for other in others:
        assert all(torch.equal(other[key], value) for key, value in first.items())


@pytest.mark.parametrize("size", SEVERAL)
def test_ranks_know_their_place_and_forget_it(size: int, several: Any) -> None:
    for rank, found in enumerate(several[size]):
        assert found["ranks"]["inside"].tolist() == [rank, size, 1]
        assert found["ranks"]["after"].tolist() == [0, 1, 0]  # and the group that was made is gone


@pytest.mark.parametrize("size", SEVERAL)
def test_sums_are_added_up(size: int, several: Any) -> None:
    windows = []
    for found in several[size]:
        out = found["exchange"]
        assert out["one"].tolist() == [size * (size + 1) / 2] * 2
        assert float(out["two"]) == 10 * size * (size - 1) / 2
        windows.append(range(*out["window"].tolist()))
    assert [row for window in windows for row in window] == list(range(11))
    assert max(map(len, windows)) - min(map(len, windows)) <= 1


def test_alone_nothing_is_shared() -> None:
    assert (ranks.rank(), ranks.size(), ranks.window(7)) == (0, 1, slice(0, 7))
    value = torch.ones(2)
    ranks.total(value)
    assert value.tolist() == [1, 1]


if __name__ == "__main__":
    main(Path(sys.argv[1]), [int(each) for each in sys.argv[2:]])
