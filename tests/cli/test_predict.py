"""Predictions as a user gets them: from caches and images, by heads and models, under another prior."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import Result

from featurecache import FeatureCache, write
from featurecache.datasets import open_images
from featurecache.models import open_model
from rebalance import LinearHead, evaluate_head, load_head

Run = Callable[..., Result]
Answer = Callable[..., dict[str, Any]]
Refused = Callable[..., str]

NAMES = ("cat", "dog", "eel", "fox")
HEADS = ("crt", "ncm", "disalign", "joint")  # linear, normalised, gated, none

STOPS = """\
import torch


class Stops:
    def __len__(self):
        return 8

    def __getitem__(self, row):
        if row == 5:
            raise KeyboardInterrupt
        return torch.full((3, 16, 16), row / 8), -1


def stops():
    return Stops()
"""


def table(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def probabilities(rows: list[dict[str, str]], k: int) -> np.ndarray[Any, Any]:
    """(N, K) by class, of a file with all k of them."""
    found = np.full((len(rows), k), np.nan)
    for row, cells in enumerate(rows):
        for place in range(1, k + 1):
            found[row, int(cells[f"prediction_{place}"])] = float(cells[f"probability_{place}"])
    return found


def head_of(project: Any, name: str) -> LinearHead:
    """A head of the project; joint is the cache's."""
    return LinearHead(*FeatureCache(project.cache).head) if name == "joint" else load_head(project.heads[name])


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """The file to be written."""
    return tmp_path / "p.csv"


@pytest.mark.parametrize("name", HEADS)
def test_a_cache_by_a_head(name: str, project: Any, out: Path, answer: Answer) -> None:
    split, head = FeatureCache(project.cache)["test"], head_of(project, name)
    found = answer("predict", project.cache, project.heads.get(name, name), "--split", "test", "--out", out)
    report = evaluate_head(head, split.features, split.labels, replicates=0)
    rows = table(out)
    assert list(rows[0]) == found["columns"] == ["split", "id", "label", "prediction", "name", "probability"]
    assert [row["id"] for row in rows] == split.sample_id.tolist()
    assert [int(row["label"]) for row in rows] == split.labels.tolist()
    assert [int(row["prediction"]) for row in rows] == report.results.every_prediction.tolist()
    assert [row["name"] for row in rows] == [NAMES[int(row["prediction"])] for row in rows]
    assert [float(row["probability"]) for row in rows] == pytest.approx(report.results.every_confidence.tolist())
    assert found["accuracy"] == {"test": pytest.approx(report.top1)}
    assert (found["rows"], found["labelled"], found["unreadable"], found["predictions"]) == (24, 24, 0, str(out))


def test_every_split_is_predicted_unless_told_otherwise(project: Any, out: Path, answer: Answer) -> None:
    found = answer("predict", project.cache, "joint", "--out", out)
    opened = FeatureCache(project.cache)
    assert found["splits"] == list(found["accuracy"]) == list(opened)
    splits = [row["split"] for row in table(out)]
    assert splits == [name for name in opened for _ in range(len(opened[name]))]
    two = answer("predict", project.cache, "joint", "--out", out, "--split", "test", "--split", "val")
    assert (two["splits"], two["rows"]) == (["test", "val"], 40)


def test_top_k_lists_the_likeliest_first(project: Any, out: Path, done: Run) -> None:
    done("predict", project.cache, "joint", "--split", "val", "--out", out, "--top-k", 4)
    split = FeatureCache(project.cache)["val"]
    rows, expected = table(out), head_of(project, "joint")(split.features).double().softmax(dim=1).numpy()
    np.testing.assert_allclose(probabilities(rows, 4), expected, rtol=1e-9)
    for row in rows:
        values = [float(row[f"probability_{place}"]) for place in range(1, 5)]
        assert values == sorted(values, reverse=True)
        assert sum(values) == pytest.approx(1)


@pytest.mark.parametrize("name", HEADS)
def test_images_by_a_head_in_the_model_s_classifier_s_place(name: str, project: Any, out: Path, answer: Answer) -> None:
    words = ("--model", f"run:{project.model}", "--out", out, "--top-k", 4, "--batch-size", 5)
    found = answer("predict", project.photos / "test", project.heads.get(name, name), *words)
    opened = open_model(f"run:{project.model}")
    images = open_images(str(project.photos / "test"), transform=opened.transform, class_names=opened.class_names)
    features: list[torch.Tensor] = []
    opened.module.classifier.register_forward_pre_hook(lambda _module, args: features.append(args[0]))
    with torch.no_grad():
        opened.module(torch.stack([image for image, _ in images]))
    expected = head_of(project, name)(features[0]).double().softmax(dim=1).numpy()
    rows = table(out)
    assert [row["id"] for row in rows] == images.sample_ids
    assert [int(row["label"]) for row in rows] == images.labels.tolist()
    np.testing.assert_allclose(probabilities(rows, 4), expected, rtol=1e-4, atol=1e-6)  # batches of 5, not 24
    assert found["accuracy"] == pytest.approx((expected.argmax(axis=1) == images.labels).mean())
    assert (found["splits"], found["batch_size"]) == ([], 5)


def test_images_by_a_checkpoint_with_its_new_head(project: Any, tmp_path: Path, answer: Answer, done: Run) -> None:
    new = tmp_path / "rebalanced.pt"
    done("export", project.heads["crt"], "--into", project.model, "--out", new)
    ways = {
        "file": (new,),
        "weights": (new, "--model", f"run:{project.model}"),
        "joint": ("joint", "--model", f"run:{new}"),
        "checkpoint": ("joint", "--model", f"run:{project.model}", "--checkpoint", new),
        "head": (project.heads["crt"], "--model", f"run:{project.model}"),
    }
    found = {}
    for way, words in ways.items():
        answer("predict", project.photos / "test", *words, "--out", tmp_path / f"{way}.csv", "--top-k", 4)
        found[way] = table(tmp_path / f"{way}.csv")
    assert found["file"] == found["weights"] == found["joint"] == found["checkpoint"]
    np.testing.assert_allclose(probabilities(found["head"], 4), probabilities(found["file"], 4), rtol=1e-4)


def test_a_folder_of_nothing_but_images(project: Any, tmp_path: Path, answer: Answer) -> None:
    found = answer("predict", project.photos / "test" / "dog", project.model, "--out", tmp_path / "p.csv")
    rows = table(tmp_path / "p.csv")
    assert list(rows[0]) == ["id", "prediction", "name", "probability"]
    assert [row["id"] for row in rows] == [f"{i:02}.png" for i in range(6)]
    assert (found["accuracy"], found["labelled"], found["rows"]) == (None, 0, 6)


def test_lists_with_a_root(project: Any, tmp_path: Path, answer: Answer) -> None:
    (tmp_path / "some.txt").write_text("fox/02.png 3\ncat/01.png 0\n")
    words = ("--root", project.photos / "test", "--out", tmp_path / "p.csv")
    answer("predict", tmp_path / "some.txt", project.model, *words)
    assert [(row["id"], row["label"]) for row in table(tmp_path / "p.csv")] == [
        ("fox/02.png", "3"),
        ("cat/01.png", "0"),
    ]


def test_parquet_and_csv_hold_the_same(project: Any, tmp_path: Path, done: Run) -> None:
    for ending in ("csv", "parquet"):
        done("predict", project.cache, "joint", "--out", tmp_path / f"p.{ending}", "--top-k", 2)
    of_csv, of_parquet = pd.read_csv(tmp_path / "p.csv"), pd.read_parquet(tmp_path / "p.parquet")
    pd.testing.assert_frame_equal(of_csv, of_parquet, check_dtype=False, rtol=0)  # text is an object, or a string


def test_a_file_that_is_there_is_replaced_and_the_words_are_said(project: Any, out: Path, done: Run) -> None:
    out.write_text("before")
    found = done("predict", project.cache, "joint", "--split", "test", "--out", out, "--target-prior", "uniform")
    lines = found.stdout.splitlines()
    assert lines[0].startswith(f"{out}: 24 rows in ")
    assert lines[1] == "prior: from train (as recorded for joint) to uniform"
    assert lines[2].startswith("test: ")
    assert len(table(out)) == 24
    assert [path.name for path in out.parent.iterdir()] == [out.name]


class TestUnreadable:
    """Images that cannot be read, and rows of a cache that could not."""

    @pytest.fixture
    def torn(self, project: Any, tmp_path: Path) -> Path:
        folder = tmp_path / "photos"
        folder.mkdir()
        for name in ("a.png", "b.png", "c.png"):
            (folder / name).write_bytes((project.photos / "test" / "cat" / "00.png").read_bytes())
        (folder / "b.png").write_bytes(b"no image")
        return folder

    def test_they_stop_it(self, project: Any, torn: Path, out: Path, refused: Refused) -> None:
        out.write_text("before")
        refused("predict", torn, project.model, "--out", out, holds=("b.png", "--on-bad-image skip"))
        assert out.read_text() == "before"
        assert sorted(path.name for path in out.parent.iterdir()) == [out.name, "photos"]

    def test_or_their_cells_are_empty(self, project: Any, torn: Path, out: Path, answer: Answer, run: Run) -> None:
        words = ("predict", torn, project.model, "--out", out, "--on-bad-image", "skip", "--top-k", 2)
        found = answer(*words)
        assert (found["rows"], found["unreadable"]) == (3, 1)
        rows = table(out)
        assert [bool(row["prediction_1"]) for row in rows] == [True, False, True]
        assert set(rows[1].values()) == {"b.png", ""}
        assert "b.png" in run(*words).stderr
        answer(*words[:-4], "--on-bad-image", "skip", "--out", out.with_suffix(".parquet"))
        assert pd.read_parquet(out.with_suffix(".parquet"))["prediction"].isna().tolist() == [False, True, False]

    def test_rows_of_a_cache(self, project: Any, torn: Path, tmp_path: Path, out: Path, answer: Answer) -> None:
        (torn / "cat").mkdir()
        for image in list(torn.glob("*.png")):
            image.rename(torn / "cat" / image.name)
        words = ("--split", f"new={torn}", "--on-bad-image", "skip", "--seen", "none")
        answer("extract", tmp_path / "x.cache", "--model", f"run:{project.model}", *words)
        found = answer("predict", tmp_path / "x.cache", "joint", "--out", out)
        assert (found["rows"], found["labelled"], found["unreadable"]) == (3, 2, 1)
        assert [bool(row["prediction"]) for row in table(out)] == [True, False, True]


def test_strangers_names_run_no_formula(tmp_path: Path, out: Path, done: Run) -> None:
    names = ["=cmd()", "+1", "@x"]
    head = (torch.eye(3), torch.zeros(3))
    write(
        tmp_path / "x.cache",
        "new",
        np.eye(3, dtype=np.float32),
        np.full(3, -1),
        sample_ids=["-1", "=2", "a\nb"],
        head=head,
        class_names=names,
    )
    done("predict", tmp_path / "x.cache", "joint", "--out", out)
    rows = table(out)
    assert list(rows[0]) == ["split", "id", "prediction", "name", "probability"]
    assert [row["id"] for row in rows] == ["'-1", "'=2", "a\\nb"]
    assert [row["name"] for row in rows] == ["'=cmd()", "'+1", "'@x"]


def test_the_seed_changes_nothing(project: Any, tmp_path: Path, done: Run) -> None:
    for seed in (0, 9):
        done("predict", project.photos / "test", project.model, "--out", tmp_path / f"{seed}.csv", "--seed", seed)
    assert (tmp_path / "0.csv").read_bytes() == (tmp_path / "9.csv").read_bytes()


def test_a_signal_leaves_nothing(project: Any, models: Path, tmp_path: Path, out: Path) -> None:
    reached, some = tmp_path / "reached", tmp_path / "some.txt"
    lines = [f"{name}/{i:02}.png {k}\n" for k, name in enumerate(NAMES) for i in range(6)]
    some.write_text("".join(lines[:13]))  # a batch of 8, and one of 5 that makes this model wait
    words = ["predict", some, "joint", "--model", f"file:{models}:slow", "--root", project.photos / "test"]
    words += ["--image-size", "16", "--batch-size", "8", "--out", out]
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from rebalance_cli.main import main; main()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"REACHED": str(reached)},
    ) as process:
        until = time.monotonic() + 60
        while not reached.exists() and process.poll() is None and time.monotonic() < until:
            time.sleep(0.02)
        assert [path.name for path in tmp_path.glob(".p.csv.*.part")]
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=30)
    assert (process.returncode, stdout) == (130, ""), stderr
    assert f"{out} was not written; to do it: rebalance predict " in stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["reached", "some.txt"]


def test_an_interruption_leaves_the_file_that_was_there(project: Any, tmp_path: Path, out: Path, run: Run) -> None:
    (tmp_path / "data.py").write_text(STOPS, "utf-8")
    out.write_text("before")
    found = run("predict", f"file:{tmp_path / 'data.py'}:stops", project.model, "--batch-size", 2, "--out", out)
    assert (found.exit_code, found.stdout) == (130, "")
    assert f"{out} is what it was before; to do it: rebalance predict " in found.stderr
    assert out.read_text() == "before"
    assert not list(tmp_path.glob(".*"))
