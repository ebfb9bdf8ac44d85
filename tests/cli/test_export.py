"""Export: the checkpoint with its new classifier, and checkpoints the head does not belong to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import Result
from safetensors.torch import load_file

from featurecache import FeatureCache
from featurecache.models import open_model, read_run
from rebalance import LinearHead, load_head

Run = Callable[..., Result]
Answer = Callable[..., dict[str, Any]]
Refused = Callable[..., str]

CLASSIFIER = {"classifier.weight", "classifier.bias"}


def test_only_the_classifier_changes(project: Any, tmp_path: Path, answer: Answer) -> None:
    out = tmp_path / "rebalanced.pt"
    found = answer("export", project.heads["crt"], "--into", project.model, "--out", out)
    assert (found["checkpoint"], found["into"]) == (str(out), str(project.model))
    assert (found["layer"], found["classes"], found["folded"]) == ("classifier", 4, None)
    proof = found["proved"]["checkpoint"]
    assert (proof["cache"], proof["split"], proof["rows"]) == (str(project.cache), "test", 24)
    assert 0 <= proof["largest"] < proof["tolerance"]
    before, after = (torch.load(path, weights_only=True) for path in (project.model, out))
    head = load_head(project.heads["crt"])
    assert list(before) == list(after)
    assert all(torch.equal(before[name], after[name]) for name in before if name not in CLASSIFIER)
    assert torch.equal(after["classifier.weight"], head.weight)
    assert torch.equal(after["classifier.bias"], head.bias)
    assert read_run(out) == read_run(project.model)


def test_it_loads_with_the_code_that_loaded_the_model(project: Any, tmp_path: Path, done: Run) -> None:
    out = tmp_path / "rebalanced.pt"
    text = done("export", project.heads["lws"], "--into", project.model, "--out", out).stdout
    first, second = text.splitlines()
    assert first == f"{out}: {project.model} with the classifier 'classifier' replaced (4 classes)"
    assert second.startswith("  proved on 24 rows of test: logits differ by at most ")
    assert second.endswith("every decision is the head's")
    module = open_model(f"run:{project.model}").module
    module.load_state_dict(torch.load(out, weights_only=True))


@pytest.mark.parametrize("method", ["crt", "tau_norm"])
def test_the_exported_model_gives_the_logits_of_the_head(method: str, project: Any, tmp_path: Path, done: Run) -> None:
    out = tmp_path / "rebalanced.pt"
    done("export", project.heads[method], "--into", project.model, "--out", out)
    test = f"test={project.photos / 'test'}"
    done("extract", tmp_path / "x.cache", "--model", f"run:{out}", "--split", test)
    head = load_head(project.heads[method])
    features = torch.from_numpy(np.asarray(FeatureCache(project.cache)["test"].features, np.float32))
    logits = torch.from_numpy(FeatureCache(tmp_path / "x.cache")["test"].logits)
    # The cached features were rounded to float16, a share of 2**-11 each; twice that covers the float32 sums.
    bound = features.abs() @ head.weight.abs().T * 2**-10 + 1e-5
    assert bool(((head(features) - logits).abs() <= bound).all())
    assert float(bound.max()) < float(logits.std())  # or the comparison would say nothing


def test_safetensors(project: Any, tmp_path: Path, done: Run) -> None:
    model, out = tmp_path / "joint.safetensors", tmp_path / "rebalanced.safetensors"
    done("train", project.photos / "train", "--out", model, "--image-size", 16, "--epochs", 1, "--holdout", 0)
    words = ("--model", f"run:{model}", "--split", f"train={project.photos / 'train'}")
    done("extract", tmp_path / "x.cache", *words)
    done("fit", "crt", tmp_path / "x.cache", "--out", tmp_path / "h.safetensors")
    done("export", tmp_path / "h.safetensors", "--into", model, "--out", out)
    before, after = load_file(model), load_file(out)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before if name not in CLASSIFIER)
    assert torch.equal(after["classifier.weight"], load_head(tmp_path / "h.safetensors").weight)
    assert open_model(f"run:{out}").class_names == ("cat", "dog", "eel", "fox")


def test_a_head_without_a_record_finds_its_layer_by_its_shape(project: Any, tmp_path: Path, answer: Answer) -> None:
    LinearHead(torch.ones(4, 64)).save(tmp_path / "h.safetensors")
    words = ("--into", project.model, "--out", tmp_path / "x.pt", "--cache", project.cache)
    assert answer("export", tmp_path / "h.safetensors", *words)["layer"] == "classifier"
    words = ("--into", project.model, "--out", tmp_path / "y.pt", "--layer", "classifier", "--unproved")
    assert answer("export", tmp_path / "h.safetensors", *words)["layer"] == "classifier"


def test_a_linear_ncm_head_is_exported(project: Any, tmp_path: Path, done: Run) -> None:
    done("fit", "ncm", project.cache, "--transform", "un", "--out", tmp_path / "h.safetensors")
    done("export", tmp_path / "h.safetensors", "--into", project.model, "--out", tmp_path / "x.pt")


class TestRefused:
    """Heads, checkpoints and names that do not do; nothing is written."""

    @pytest.fixture(autouse=True)
    def _nothing_written(self, tmp_path: Path) -> Any:
        yield
        assert not (tmp_path / "x.pt").exists()

    def test_another_training_run(self, project: Any, tmp_path: Path, done: Run, refused: Refused) -> None:
        other = tmp_path / "other.pt"
        quick = ("--image-size", 16, "--epochs", 1, "--seed", 5, "--holdout", 0)
        done("train", project.photos / "train", "--out", other, *quick)
        words = ("export", project.heads["crt"], "--into", other, "--out", tmp_path / "x.pt")
        refused(*words, holds=("other.pt'", "another classifier"))

    def test_another_architecture(self, project: Any, tmp_path: Path, done: Run, refused: Refused) -> None:
        wide = tmp_path / "wide.pt"
        done("train", project.photos / "train", "--out", wide, "--image-size", 32, "--epochs", 1, "--holdout", 0)
        torch.save({"fc.weight": torch.zeros(3, 5)}, tmp_path / "random.pt")
        for path, says in ((wide, "(4, 128)"), (tmp_path / "random.pt", "no layer 'classifier'")):
            words = ("export", project.heads["crt"], "--into", path, "--out", tmp_path / "x.pt")
            refused(*words, holds=(path.name, "another architecture", says))

    def test_a_head_that_is_not_linear(self, project: Any, tmp_path: Path, refused: Refused) -> None:
        words = ("export", project.heads["ncm"], "--into", project.model, "--out", tmp_path / "x.pt")
        refused(*words, holds=("ncm centres or normalises", "--module FILE.pt2", "transform un"))

    def test_the_checkpoint_itself(self, project: Any, refused: Refused) -> None:
        before = project.model.read_bytes()
        for out in (project.model, project.model.parent / "." / project.model.name):
            refused("export", project.heads["crt"], "--into", project.model, "--out", out, holds=("itself",))
        assert project.model.read_bytes() == before

    def test_files_that_are_not_there_or_of_another_kind(self, project: Any, tmp_path: Path, refused: Refused) -> None:
        crt, out = project.heads["crt"], tmp_path / "x.pt"
        refused("export", tmp_path / "no.safetensors", "--into", project.model, "--out", out, holds=("no such head",))
        refused("export", crt, "--into", tmp_path / "no.pt", "--out", out, holds=("no.pt' does not exist",))
        refused("export", crt, "--into", project.model, "--out", tmp_path / "x.safetensors", holds=("same ending",))
        refused("export", crt, "--into", project.model, "--out", tmp_path / "no" / "x.pt", holds=("existing folder",))
        refused("export", crt, "--into", crt, "--out", tmp_path / "y.safetensors", holds=("no layer 'classifier'",))

    def test_a_layer_of_another_name(self, project: Any, tmp_path: Path, refused: Refused) -> None:
        words = ("--into", project.model, "--out", tmp_path / "x.pt", "--layer", "stem")
        refused("export", project.heads["crt"], *words, holds=("no layer 'stem'", "'classifier.weight'"))
