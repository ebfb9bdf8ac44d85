"""What export never writes over, and which checkpoints it does not take for the model of the features."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from click.testing import Result
from safetensors.torch import save_file

from rebalance import load_head

Run = Callable[..., Result]
Refused = Callable[..., str]


def test_a_head_is_never_written_over(project: Any, tmp_path: Path, refused: Refused) -> None:
    head = tmp_path / "crt.safetensors"
    shutil.copy(project.heads["crt"], head)
    other = tmp_path / "lws.safetensors"
    shutil.copy(project.heads["lws"], other)
    whole = tmp_path / "joint.safetensors"
    save_file(dict(torch.load(project.model, weights_only=True)), whole)
    words = ("export", head, "--into", whole, "--cache", project.cache)
    for out in (head, other):
        refused(*words, "--out", out, holds=(out.name, "is a head"))
    refused(*words, "--out", project.cache / "x.safetensors", holds=("lie in a cache",))
    assert load_head(head).record["method"] == "crt"


def test_another_backbone_with_the_same_classifier_is_refused(project: Any, tmp_path: Path, refused: Refused) -> None:
    state = torch.load(project.model, weights_only=True)
    first = next(name for name in state if state[name].is_floating_point() and "classifier" not in name)
    state[first] = state[first] + 1
    torch.save(state, tmp_path / "other.pt")
    words = ("export", project.heads["crt"], "--into", tmp_path / "other.pt", "--out", tmp_path / "out.pt")
    refused(*words, "--cache", project.cache, holds=("another model than the one the features were extracted with",))
    assert [path.name for path in tmp_path.iterdir()] == ["other.pt"]


def test_unknown_weights_are_said(project: Any, tmp_path: Path, run: Run) -> None:
    state = dict(torch.load(project.model, weights_only=True))
    torch.save({**state, "more": torch.ones(1)}, tmp_path / "bare.pt")
    words = ("export", project.heads["crt"], "--into", tmp_path / "bare.pt", "--out", tmp_path / "out.pt")
    result = run(*words, "--cache", project.cache)
    assert result.exit_code == 0
    assert "only its classifier is proved" in result.stderr
