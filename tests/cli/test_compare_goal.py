"""What is best follows what is asked: a prior, or costs; and all that can be written is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from featurecache import FeatureCache
from rebalance import LinearHead, evaluate, load_head

Run = Callable[..., Result]
Answer = Callable[..., dict[str, Any]]
FEW = ("--replicates", 0)  # no intervals: nothing here is about them


def test_under_a_prior_it_is_accuracy_under_it(project: Any, tmp_path: Path, answer: Answer) -> None:
    prior = tmp_path / "prior.txt"
    prior.write_text("0.01 0.01 0.01 0.97")  # as good as all rows are of the rarest class
    words = ("--methods", "joint,ncm,lda", "--heads", tmp_path / "heads", "--target-prior", prior, *FEW)
    found = answer("compare", project.cache, *words)
    assert (found["goal"], found["chosen_by"]) == ("top1", "top1")
    values = [head["top1"] for head in found["heads"]]
    assert values == sorted(values, reverse=True)
    cache = FeatureCache(project.cache)
    val = cache["val"]
    for head in found["heads"]:
        chosen = LinearHead(*cache.head) if head["name"] == "joint" else load_head(head["file"])
        recall = evaluate(chosen(val.features), val.labels).recall
        expected = recall @ [0.01, 0.01, 0.01, 0.97]
        assert found["validation"][head["name"]] == pytest.approx(expected)


def test_with_costs_it_is_the_least_cost(project: Any, tmp_path: Path, answer: Answer, done: Run) -> None:
    costs = tmp_path / "costs.csv"
    costs.write_text("0,1,1,1\n1,0,1,1\n1,1,0,1\n9,9,9,0\n")
    words = ("--methods", "joint,ncm,lda", "--heads", tmp_path / "heads", "--costs", costs, *FEW)
    found = answer("compare", project.cache, *words)
    assert (found["goal"], found["chosen_by"]) == ("cost", "cost")
    values = [head["cost"] for head in found["heads"]]
    assert values == sorted(values)
    assert found["validation"][found["chosen"]] == min(found["validation"].values())
    text = done("compare", project.cache, *words)
    assert "best first by cost a row" in text.stdout
    assert "tuned for balanced accuracy; one head is chosen by cost a row" in text.stderr


def test_everything_is_written(project: Any, tmp_path: Path, answer: Answer) -> None:
    words = ("--methods", "ncm,crt", "--replicates", 20, "--shots", "5,20", "--heads", tmp_path)
    files = ("--out", tmp_path / "r.html", "--predictions", tmp_path / "p.csv", "--figures", tmp_path / "figures")
    found = answer("compare", project.cache, *words, *files)
    assert (found["report"], found["predictions"]) == (str(tmp_path / "r.html"), str(tmp_path / "p.csv"))
    page = (tmp_path / "r.html").read_text("utf-8")
    assert page.lstrip().lower().startswith("<!doctype html>")
    assert all(name in page for name in ("joint", "ncm", "crt"))
    assert found["figures"]
    assert all(Path(each).is_file() for each in found["figures"])
    assert (tmp_path / "p.csv").read_text("utf-8").count("\n") == 1 + 24
    assert [path.name for path in tmp_path.iterdir() if "part" in path.name] == []
