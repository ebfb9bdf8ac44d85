"""Which model images go through, and what of it a head takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import pytest
import torch

from rebalance import LinearHead
from rebalance_cli.predicting.options import Through
from rebalance_cli.predicting.through import open_run, weights_of

NOTHING = Through(None, None, False, None, None, ())


def test_where_the_weights_are(tmp_path: Path) -> None:
    file, other = tmp_path / "m.pt", tmp_path / "n.pt"
    file.touch()
    named = replace(NOTHING, source="timm:resnet18")
    assert weights_of("joint", "joint", named) == ("timm:resnet18", None)
    assert weights_of("head", "h", replace(named, checkpoint=other)) == ("timm:resnet18", other)
    assert weights_of("checkpoint", str(file), named) == ("timm:resnet18", file)
    assert weights_of("checkpoint", str(file), NOTHING) == (f"run:{file}", None)
    assert weights_of("checkpoint", str(tmp_path), NOTHING) == (f"hf:{tmp_path}", None)


def test_models_that_are_not_named_or_twice(tmp_path: Path) -> None:
    (tmp_path / "m.pt").touch()
    for kind in ("joint", "head", "program"):
        with pytest.raises(click.UsageError, match="--model is missing"):
            weights_of(kind, kind, NOTHING)
    with pytest.raises(click.UsageError, match="are both weights"):
        weights_of("checkpoint", str(tmp_path / "m.pt"), replace(NOTHING, checkpoint=tmp_path / "m.pt"))
    with pytest.raises(ValueError, match="no such file"):
        weights_of("checkpoint", str(tmp_path / "n.pt"), NOTHING)


@pytest.mark.parametrize(
    ("record", "layer", "expected"),
    [
        ({}, None, ("features", None)),
        ({"layer": "fc"}, None, ("features", "fc")),
        ({"layer": 3}, None, ("features", None)),
        ({"layer": "fc"}, "other", ("features", "other")),
        ({"cache": "x", "joint": "digest", "layer": "fc"}, None, ("features", "fc")),
        ({"cache": "x", "joint": None, "layer": "fc"}, None, ("output", "fc")),
        ({"cache": "x", "joint": None, "layer": None}, None, ("output", None)),
    ],
)
def test_what_a_head_takes(record: dict[str, Any], layer: str | None, expected: Any, models: Path) -> None:
    head = LinearHead(torch.ones(4, 12), record=record)
    through = replace(NOTHING, layer=layer, image_size=16)
    run = open_run(f"file:{models}:tiles", None, through, head, None)
    assert (run.want, run.layer) == expected
    assert run.model.module.fc.out_features == 4  # the function was told


def test_a_backbone_has_its_classifier_taken_out(project: Any, done: Callable[..., Any]) -> None:
    head = LinearHead(torch.ones(4, 64), record={"cache": "x", "joint": None})
    run = open_run(f"run:{project.model}", None, NOTHING, head, None)
    assert (run.want, run.layer, run.model.has_head) == ("output", None, False)
    assert isinstance(run.model.module.classifier, torch.nn.Identity)


def test_a_model_alone(project: Any, tmp_path: Path) -> None:
    run = open_run(f"run:{project.model}", None, NOTHING, None, None)
    assert (run.want, run.layer) == ("logits", None)
    weights = torch.load(project.model, weights_only=True)
    for name in [name for name in weights if name.startswith("classifier.")]:
        del weights[name]
    torch.save(weights, tmp_path / "backbone.pt")
    with pytest.raises(ValueError, match="it has no classifier; give a head"):
        open_run(f"run:{project.model}", tmp_path / "backbone.pt", NOTHING, None, None)
