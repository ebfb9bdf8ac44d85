"""A weights file with other tensors is what it was in everything else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from featurecache.exporting import rewriting
from featurecache.exporting.rewriting import rewrite
from featurecache.weights_file import read_weights

STATE = {"z": torch.ones(3), "fc.weight": torch.zeros(2, 3, dtype=torch.bfloat16), "a": torch.arange(5)}
NEW = {"fc.weight": torch.randn(2, 3).bfloat16()}


def test_only_the_bytes_of_the_tensor_change_in_a_safetensors_file(tmp_path: Path) -> None:
    source, target = tmp_path / "in.safetensors", tmp_path / "out.part"
    save_file(STATE, source, {"format": "pt", "note": "kept"})
    rewrite(source, read_weights(source), NEW, target)
    before, after = source.read_bytes(), target.read_bytes()
    length = 8 + int.from_bytes(before[:8], "little")
    begin, end = json.loads(before[8:length])["fc.weight"]["data_offsets"]
    assert after[length + begin : length + end] == NEW["fc.weight"].view(torch.uint8).numpy().tobytes()
    assert after[: length + begin] + after[length + end :] == before[: length + begin] + before[length + end :]


def test_what_lies_beside_the_weights_in_pytorchs_file_is_kept(tmp_path: Path) -> None:
    source, target = tmp_path / "in.pt", tmp_path / "out.part"
    base = torch.arange(6.0)
    torch.save({"n": 3, "state_dict": {**STATE, "view": base[2:4], "whole": base, "t": torch.ones(2, 3).T}}, source)
    rewrite(source, read_weights(source), NEW, target)
    read = torch.load(target, weights_only=True)
    assert read["n"] == 3
    state = read["state_dict"]
    assert list(state) == [*STATE, "view", "whole", "t"]
    assert torch.equal(state["fc.weight"], NEW["fc.weight"])
    assert state["view"].untyped_storage().data_ptr() == state["whole"].untyped_storage().data_ptr()
    assert state["t"].stride() == (1, 3)


def test_a_source_that_changed_is_refused(tmp_path: Path, refused: Any) -> None:
    source = tmp_path / "in.safetensors"
    save_file(STATE, source)
    file = read_weights(source)
    save_file({**STATE, "fc.weight": torch.zeros(9)}, source)
    with refused("in.safetensors", "changed while it was read"):
        rewrite(source, file, NEW, tmp_path / "out")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk_is_an_os_error(tmp_path: Path) -> None:
    # Larger than the buffer of a Python file, so that the write itself fails.
    torch.save({**STATE, "body": torch.ones(100_000)}, tmp_path / "in.pt")
    with pytest.raises(OSError, match="No space left on device"):
        rewrite(tmp_path / "in.pt", read_weights(tmp_path / "in.pt"), NEW, Path("/dev/full"))


def test_pytorchs_other_errors_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save(STATE, tmp_path / "in.pt")
    file = read_weights(tmp_path / "in.pt")

    def stop(*_: Any) -> None:
        raise RuntimeError("stopped")

    monkeypatch.setattr(rewriting.torch, "save", stop)
    with pytest.raises(RuntimeError, match="stopped"):
        rewrite(tmp_path / "in.pt", file, NEW, tmp_path / "out")
