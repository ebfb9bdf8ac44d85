"""What `predict` says of the figures of rows that were trained on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from click.testing import Result

from rebalance import load_head

Run = Callable[..., Result]
Answer = Callable[..., dict[str, Any]]


def test_figures_of_rows_that_were_trained_on_are_marked(
    project: Any, tmp_path: Path, answer: Answer, done: Run
) -> None:
    out = tmp_path / "p.csv"
    backbone, fitted, tuned = "the backbone was trained on these", "the head was fitted on these", "tuned on these"
    found = answer("predict", project.cache, project.heads["crt"], "--out", out)
    assert found["marks"] == {"train": [fitted, backbone], "val": [], "test": []}
    assert answer("predict", project.cache, "joint", "--out", out)["marks"]["train"] == [backbone]
    head = load_head(project.heads["tau_norm"]).with_record(tuned_on="val")
    head.save(tmp_path / "h.safetensors")
    lines = done("predict", project.cache, tmp_path / "h.safetensors", "--out", out).stdout.splitlines()
    ends = {name: rest for name, _, rest in (line.partition(": ") for line in lines)}
    assert ends["train"].endswith(f" are right ({backbone})")
    assert ends["val"].endswith(f" are right ({tuned})")
    assert ends["test"].endswith(" are right")
    assert answer("predict", project.photos / "test", project.model, "--out", out)["marks"] == {}
