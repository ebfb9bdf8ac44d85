"""What HEAD|CHECKPOINT means."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from rebalance import GatedHead, LinearHead, NormalizedHead
from rebalance_cli.predicting.which import which


@pytest.mark.parametrize("kind", [LinearHead, NormalizedHead, GatedHead])
@pytest.mark.parametrize("name", ["h.safetensors", "h"])
def test_heads_of_any_type_and_name(kind: type[LinearHead], name: str, tmp_path: Path) -> None:
    kind(torch.ones(2, 3)).save(tmp_path / name)
    assert which(str(tmp_path / name)) == "head"


def test_weights_of_models(tmp_path: Path) -> None:
    save_file({"fc.weight": torch.ones(2, 3), "fc.bias": torch.ones(2)}, tmp_path / "m.safetensors")
    torch.save({"weight": torch.ones(2, 3)}, tmp_path / "m.pt")
    (tmp_path / "torn.safetensors").write_bytes(b"no header")
    for name in ("m.safetensors", "m.pt", "torn.safetensors", "nosuch.safetensors", "."):
        assert which(str(tmp_path / name)) == "checkpoint"


def test_words_and_programs(tmp_path: Path) -> None:
    assert which("joint") == "joint"
    LinearHead(torch.ones(2, 3)).save(tmp_path / "joint")
    assert which(str(tmp_path / "joint")) == "head"
    assert [which(f"x{ending}") for ending in (".pt2", ".ONNX")] == ["program", "program"]
