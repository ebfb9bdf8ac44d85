"""What `predict` refuses, and that nothing is written then."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import Result
from PIL import Image

from rebalance import LinearHead, load_head

Run = Callable[..., Result]
Refused = Callable[..., str]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """The file to be written."""
    return tmp_path / "p.csv"


@pytest.fixture(autouse=True)
def _nothing_written(out: Path) -> Any:
    yield
    assert not out.exists()
    assert not list(out.parent.glob("*.part"))


def test_heads_for_other_features(project: Any, tmp_path: Path, out: Path, done: Run, refused: Refused) -> None:
    LinearHead(torch.ones(4, 5)).save(tmp_path / "h.safetensors")
    refused("predict", project.cache, tmp_path / "h.safetensors", "--out", out, holds=("4 classes on 5 features",))
    words = ("--model", f"run:{project.model}", "--out", out)
    refused("predict", project.photos / "test", tmp_path / "h.safetensors", *words, holds=("gives 64 features",))
    other = tmp_path / "other.pt"
    quick = ("--image-size", 16, "--epochs", 1, "--seed", 5, "--holdout", 0)
    done("train", project.photos / "train", "--out", other, *quick)
    words = ("--model", f"run:{other}", "--out", out)
    refused("predict", project.photos / "test", project.heads["crt"], *words, holds=("features of another model",))


def test_things_that_are_not_there(project: Any, tmp_path: Path, out: Path, refused: Refused) -> None:
    refused("predict", tmp_path / "no.cache", "joint", "--out", out, holds=("no.cache",))
    refused("predict", project.cache, tmp_path / "no.safetensors", "--out", out, holds=("no such head",))
    refused("predict", project.cache, "joint", "--split", "night", "--out", out, holds=("night", "train"))
    refused("predict", project.photos / "test", tmp_path / "no.pt", "--out", out, holds=("no.pt: no such file",))
    refused("predict", tmp_path / "nowhere", project.model, "--out", out, holds=("nowhere' does not exist",))
    refused("predict", project.cache, project.model, "--out", out, holds=("not a head", "a model takes images"))
    model = ("--model", f"run:{project.model}", "--out", out)
    refused("predict", project.photos / "test", tmp_path / "no.pt2", *model, holds=("no.pt2",))
    refused("predict", project.cache, tmp_path / "no.pt2", "--out", out, holds=("no.pt2",))
    torch.save({"fc.weight": torch.zeros(4, 3)}, tmp_path / "w.pt")
    refused("predict", project.photos / "test", tmp_path / "w.pt", "--out", out, holds=("--model timm:NAME",))


def test_other_classes(project: Any, tmp_path: Path, out: Path, refused: Refused) -> None:
    (tmp_path / "new" / "gnu").mkdir(parents=True)
    Image.new("RGB", (16, 16)).save(tmp_path / "new" / "gnu" / "1.png")
    refused("predict", tmp_path / "new", project.model, "--out", out, holds=("gnu", "known classes"))


def test_usage(project: Any, tmp_path: Path, out: Path, misused: Refused) -> None:
    photos, crt = project.photos / "test", project.heads["crt"]
    to = ("--out", out)
    misused("predict", project.cache, "joint", holds=("--out",))
    misused("predict", project.cache, "joint", *to, "--model", f"run:{project.model}", holds=("is a cache",))
    misused("predict", project.cache, "joint", *to, "--root", tmp_path, holds=("is a cache",))
    misused("predict", photos, project.model, *to, "--split", "test", holds=("is of a cache",))
    misused("predict", photos, crt, *to, holds=("--model is missing", "is a head"))
    misused("predict", photos, "joint", *to, holds=("--model is missing", "joint is the classifier of"))
    misused("predict", photos, project.model, *to, "--checkpoint", project.model, holds=("both weights",))
    misused("predict", project.cache, "joint", *to, "--source-prior", "train", holds=("--target-prior",))
    target = ("--target-prior", "uniform")
    misused("predict", photos, project.model, *to, "--cache", project.cache, holds=("--cache", "--target-prior"))
    misused("predict", project.cache, "joint", *to, *target, "--cache", project.cache, holds=("--cache is for images",))
    misused("predict", project.cache, project.heads["tau_norm"], *to, *target, holds=("(tau_norm) does not tell",))


def test_priors(project: Any, tmp_path: Path, out: Path, refused: Refused) -> None:
    (tmp_path / "few.txt").write_text("0.5 0.5", "utf-8")
    (tmp_path / "zero.txt").write_text("0.5 0.5 0 0", "utf-8")
    cached = ("predict", project.cache, "joint", "--out", out, "--target-prior")
    refused(*cached, "sky", holds=("--target-prior sky", "expected uniform, train"))
    refused(*cached, tmp_path / "few.txt", holds=("2 numbers; expected 4",))
    refused(*cached, "uniform", "--source-prior", "forward:50", holds=("--source-prior 'forward:50'",))
    refused(*cached, "uniform", "--source-prior", tmp_path / "few.txt", holds=("--source-prior", "2 numbers"))
    refused(*cached, "uniform", "--source-prior", tmp_path / "zero.txt", holds=("class 2 has share 0",))
    images = ("predict", project.photos / "test", project.model, "--out", out, "--target-prior", "uniform")
    refused(*images, "--source-prior", "train", holds=("rows a class are not known", "file of shares"))
    alone = tmp_path / "alone" / "heads" / "h.safetensors"
    alone.parent.mkdir(parents=True)
    load_head(project.heads["temperature"]).with_record(cache="another").save(alone)
    adjusted = ("predict", project.photos / "test", alone, "--model", f"run:{project.model}", "--out", out)
    adjusted = (*adjusted, "--target-prior", "uniform")
    refused(*adjusted, holds=("temperature", "--cache", "--source-prior a file"))
    refused(*adjusted, "--cache", project.cache, holds=("of another model or extraction",))
    refused(*images, "--source-prior", "uniform", "--cache", tmp_path / "no.cache", holds=("no.cache",))


def test_files(project: Any, tmp_path: Path, refused: Refused, out: Path) -> None:
    cached = ("predict", project.cache, "joint", "--out")
    for bad in (tmp_path / "p.txt", tmp_path):
        refused(*cached, bad, holds=("--out", ".csv or .parquet"))
    refused(*cached, tmp_path / "no" / "p.csv", holds=("--out", f"no such folder: {tmp_path / 'no'};"))
    (tmp_path / "some.csv").write_text("path,label\ncat/00.png,cat\n")
    words = ("predict", tmp_path / "some.csv", project.model, "--root", project.photos / "test")
    refused(*words, "--out", tmp_path / "some.csv", holds=("is itself an input",))
    assert (tmp_path / "some.csv").read_text() == "path,label\ncat/00.png,cat\n"
    refused("predict", project.cache, "joint", "--out", out, "--top-k", 5, holds=("there are 4 classes",))


def test_swapped_arguments(project: Any, out: Path, refused: Refused) -> None:
    model = ("--model", f"run:{project.model}")
    refused("predict", project.model, project.photos / "test", "--out", out, holds=("may be swapped",))
    refused("predict", project.model, project.photos / "test" / "cat", "--out", out, holds=("may be swapped",))
    refused("predict", project.heads["crt"], project.cache, *model, "--out", out, holds=("may be swapped",))


def test_several_processes(project: Any, out: Path, refused: Refused, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    refused("predict", project.cache, "joint", "--out", out, holds=("one process", "without torchrun"))
