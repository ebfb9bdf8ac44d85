"""Somebody else's heads into head files, and head files into arrays, by command."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import Result
from safetensors.torch import save_file
from sklearn.linear_model import LogisticRegression
from torch import nn

from featurecache import FeatureCache
from rebalance import LinearHead, load_head

Run = Callable[..., Result]
Answer = Callable[..., dict[str, Any]]
Refused = Callable[..., str]

NAMES = ("cat", "dog", "eel", "fox")


@pytest.fixture
def fitted(project: Any, tmp_path: Path) -> Path:
    """scikit-learn's logistic regression on the project's cache, with its classes called by name."""
    train = FeatureCache(project.cache)["train"]
    model = LogisticRegression().fit(np.asarray(train.features, np.float64), np.array(NAMES)[train.labels])
    path = tmp_path / "sklearn.npz"
    np.savez(path, coef_=model.coef_, intercept_=model.intercept_, classes_=model.classes_)
    return path


def test_scikit_learns_head(fitted: Path, tmp_path: Path, done: Run) -> None:
    result = done("convert", fitted, tmp_path / "head.safetensors")
    assert result.stdout.splitlines() == [
        f"{fitted}: a .npz file",
        f"{tmp_path / 'head.safetensors'}: a head of 4 classes on 64 features (weight coef_, bias intercept_)",
    ]
    assert "multinomial" in result.stderr
    head = load_head(tmp_path / "head.safetensors")
    with np.load(fitted) as arrays:
        np.testing.assert_array_equal(head.weight, arrays["coef_"].astype(np.float32))
        np.testing.assert_array_equal(head.bias, arrays["intercept_"].astype(np.float32))
    assert head.record.keys() == {"method", "hyperparameters", "source", "arrays", "class_names", "versions"}
    assert (head.record["method"], head.record["source"]) == ("converted", "sklearn.npz")
    assert head.record["class_names"] == list(NAMES)


def test_the_answer_and_the_class_names(fitted: Path, tmp_path: Path, answer: Answer) -> None:
    names = tmp_path / "names.txt"
    names.write_text("fox\neel\ndog\ncat\n", "utf-8")
    found = answer("convert", fitted, tmp_path / "head.safetensors", "--class-names", names)
    assert [note.split()[1] for note in found.pop("notes")] == ["probabilities", "rows"]
    assert found == {
        "source": str(fitted),
        "target": str(tmp_path / "head.safetensors"),
        "format": "a .npz file",
        "arrays": {"weight": "coef_", "bias": "intercept_"},
        "width": 64,
        "classes": 4,
    }
    head = load_head(tmp_path / "head.safetensors")
    assert head.record["class_names"] == ["fox", "eel", "dog", "cat"]
    with np.load(fitted) as arrays:
        np.testing.assert_array_equal(head.bias, arrays["intercept_"][::-1].astype(np.float32))


def test_it_is_judged_like_any_head(fitted: Path, project: Any, tmp_path: Path, done: Run, answer: Answer) -> None:
    out = tmp_path / "sklearn.safetensors"
    done("convert", fitted, out)
    test = FeatureCache(project.cache)["test"]
    right = (load_head(out)(test.features).argmax(1).numpy() == test.labels).mean()
    found = answer("evaluate", project.cache, out)
    (row,) = [each for each in found["heads"] if each["name"] != "joint"]
    assert row["record"]["method"] == "converted"
    assert row["top1"] == pytest.approx(right)
    words = ("--methods", "ncm", "--heads", tmp_path / "kept", "--out", tmp_path / "page.html")
    text = done("compare", project.cache, out, *words).stdout
    assert "sklearn" in text


def test_it_goes_into_a_checkpoint(fitted: Path, project: Any, tmp_path: Path, done: Run) -> None:
    out = tmp_path / "sklearn.safetensors"
    done("convert", fitted, out)
    new = tmp_path / "new.pt"
    done("export", out, "--into", project.model, "--out", new, "--cache", project.cache)
    state = torch.load(new, weights_only=True)
    assert any(value.shape == (4, 64) and torch.equal(value, load_head(out).weight) for value in state.values())


@pytest.mark.parametrize("ending", [".npz", ".pt", ".pth"])
def test_a_head_as_arrays_and_back(ending: str, project: Any, tmp_path: Path, done: Run, answer: Answer) -> None:
    out, again = tmp_path / f"head{ending}", tmp_path / "again.safetensors"
    found = answer("convert", project.heads["crt"], out)
    assert found["arrays"] == {"weight": "weight", "bias": "bias"}
    assert (found["format"], found["width"], found["classes"]) == ("head", 64, 4)
    done("convert", out, again)
    one, two = load_head(project.heads["crt"]), load_head(again)
    assert torch.equal(one.weight, two.weight)
    assert torch.equal(one.bias, two.bias)


@pytest.mark.parametrize("method", ["crt", "ncm", "disalign"])
def test_a_head_of_ours_gets_class_names_and_keeps_its_type_and_record(
    method: str, project: Any, tmp_path: Path, done: Run
) -> None:
    names = tmp_path / "names.txt"
    names.write_text("a\nb\nc\nd\n", "utf-8")
    done("convert", project.heads[method], tmp_path / "named.safetensors", "--class-names", names)
    one, two = load_head(project.heads[method]), load_head(tmp_path / "named.safetensors")
    assert type(one) is type(two)
    assert {**one.record, "class_names": ["a", "b", "c", "d"]} == two.record
    rows = torch.randn(5, 64)
    assert torch.equal(one(rows), two(rows))


def test_a_layer_in_a_stranger_s_safetensors(tmp_path: Path, answer: Answer) -> None:
    layer = nn.Linear(6, 3)
    save_file({f"head.{name}": value for name, value in layer.state_dict().items()}, tmp_path / "in.safetensors")
    found = answer("convert", tmp_path / "in.safetensors", tmp_path / "out.safetensors")
    assert found["arrays"] == {"weight": "head.weight", "bias": "head.bias"}
    assert torch.equal(load_head(tmp_path / "out.safetensors").weight, layer.weight)


class TestRefused:
    """What is no head, or cannot be written."""

    def test_a_head_that_is_more_than_arrays(self, project: Any, tmp_path: Path, refused: Refused) -> None:
        for method, kind in (("ncm", "NormalizedHead"), ("disalign", "GatedHead")):
            refused("convert", project.heads[method], tmp_path / "x.npz", holds=(method, kind, "--module"))
        assert list(tmp_path.iterdir()) == []

    def test_sources(self, project: Any, tmp_path: Path, refused: Refused) -> None:
        out = tmp_path / "out.safetensors"
        refused("convert", tmp_path / "no.npz", out, holds=("no.npz does not exist",))
        refused("convert", project.photos, out, holds=("photos is not a regular file",))
        refused("convert", project.model, out, holds=("joint.pt", "rebalance extract"))
        (tmp_path / "x.pkl").touch()
        refused("convert", tmp_path / "x.pkl", out, holds=("x.pkl", "np.savez("))
        assert not out.exists()

    def test_targets_that_are_there(self, fitted: Path, project: Any, tmp_path: Path, refused: Refused) -> None:
        LinearHead(torch.ones(2, 3)).save(tmp_path / "head.safetensors")
        before = (tmp_path / "head.safetensors").read_bytes()
        refused("convert", fitted, tmp_path / "head.safetensors", holds=("head.safetensors exists already",))
        assert (tmp_path / "head.safetensors").read_bytes() == before
        refused("convert", project.heads["crt"], fitted, holds=("sklearn.npz exists already",))
        refused("convert", fitted, tmp_path / "no" / "head.safetensors", holds=("in a folder that is there",))

    def test_names_of_other_classes(self, fitted: Path, project: Any, tmp_path: Path, refused: Refused) -> None:
        names = tmp_path / "names.txt"
        out = tmp_path / "out.safetensors"
        names.write_text("a\nb\n", "utf-8")
        for source in (fitted, project.heads["crt"]):
            refused("convert", source, out, "--class-names", names, holds=("4 classes", "2 class names"))
        names.write_text("cat\ndog\neel\nowl\n", "utf-8")
        refused("convert", fitted, out, "--class-names", names, holds=("differ in 'fox'",))
