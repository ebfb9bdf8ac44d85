"""A training on two processes is that of one."""

from __future__ import annotations

import os
import runpy
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from featurecache.training.sharing import ALONE, Ranks, together

PROGRAM = """\
import sys
from pathlib import Path
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import TensorDataset
from featurecache.training import train
from featurecache.training.sharing import together

folder = Path(sys.argv[1])
generator = torch.Generator().manual_seed(0)
data = TensorDataset(torch.randn(25, 4, generator=generator), torch.arange(25) % 3)


def score(logits, labels):
    assert len(logits) == 25 and labels.tolist() == [i % 3 for i in range(25)]
    return -float(cross_entropy(logits, labels))


def stop(done, of, text):
    if done == 6:
        raise KeyboardInterrupt


def trained(ranks, name, progress=None):
    torch.manual_seed(ranks.rank)  # the first's weights count
    model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3))
    run = train(model, data, sampler=range(25), loss=cross_entropy, score=score, val=data, epochs=3, batch_size=7,
                lr=0.1, ema=0.9, ranks=ranks, state=folder / f"{name}.state", log=folder / name, progress=progress)
    return {"model": model.state_dict(), "history": run.history, "best": run.best_epoch}


with together() as ranks:
    whole = trained(ranks, "whole")
    try:
        trained(ranks, "stopped", stop)
    except KeyboardInterrupt:
        again = trained(ranks, "stopped")
    if ranks.rank == 0:
        torch.save([whole, again], folder / "out.pt")
"""


def test_two_processes_train_the_model_of_one_and_go_on_when_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM, "utf-8")
    port = free_port()
    running = [started(program, tmp_path, rank, port) for rank in range(2)]
    for process in running:
        _, said = process.communicate(timeout=120)
        assert process.returncode == 0, said
    two, again = torch.load(tmp_path / "out.pt", weights_only=True)
    logs = [(tmp_path / f"{name}.jsonl").read_text().splitlines() for name in ("whole", "stopped")]
    for name in ("whole", "stopped"):
        (tmp_path / f"{name}.state").unlink()
    monkeypatch.setattr(sys, "argv", ["program", str(tmp_path)])
    runpy.run_path(str(program))
    one, _ = torch.load(tmp_path / "out.pt", weights_only=True)
    for name, value in one["model"].items():
        # A batch of seven rows is divided into three and four: sums in another order.
        torch.testing.assert_close(two["model"][name], value, rtol=1e-5, atol=1e-6)
        assert torch.equal(again["model"][name], two["model"][name])
    for first, second in zip(one["history"], two["history"], strict=True):
        assert second["loss"] == pytest.approx(first["loss"], rel=1e-5)
        assert second["score"] == pytest.approx(first["score"], rel=1e-5)
    assert one["best"] == two["best"] == again["best"]
    assert [len(lines) for lines in logs] == [3, 3]


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def started(program: Path, folder: Path, rank: int, port: int) -> subprocess.Popen[str]:
    """A process that is told what torchrun tells it."""
    told = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "MASTER_PORT": port}
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1"}
    environment |= {name: str(value) for name, value in told.items()}
    words = [sys.executable, str(program), str(folder)]
    return subprocess.Popen(words, env=environment, stderr=subprocess.PIPE, text=True)


def test_alone_nothing_is_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    model, rows = torch.nn.Linear(2, 2), torch.randn(3, 2)
    with together() as ranks:
        assert ranks == ALONE == Ranks(0, 1)
        assert ranks.wrapped(model) is model
        assert ranks.gathered(rows) is rows
        assert torch.equal(ranks.total(rows), rows)
        ranks.same([rows])
        ranks.agree(3, "anything")
        assert not torch.distributed.is_initialized()


@pytest.mark.parametrize("rows", [0, 1, 5, 12])
def test_the_windows_of_all_processes_cover_every_row_once(rows: int) -> None:
    windows = [Ranks(rank, 4).window(rows) for rank in range(4)]
    assert [row for window in windows for row in window] == list(range(rows))
