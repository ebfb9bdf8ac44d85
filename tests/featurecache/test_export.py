"""Programs of modules as files: whole, checked and opened again, or not there."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
import torch
from torch import nn

from featurecache.export import Program, export_onnx, export_program, open_program
from featurecache.exporting import onnx_file

Refused = Callable[..., AbstractContextManager[None]]
EXPORTS = {"x.pt2": export_program, "x.onnx": export_onnx}


def disagree(program: Program) -> None:
    """A check that finds a program wrong, after it could run."""
    assert program(torch.zeros(7, 3)).shape == (7, 2)
    raise ValueError("not the head's logits")


@pytest.mark.parametrize("name", EXPORTS)
def test_a_file_is_checked_before_it_gets_its_name(name: str, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    there: list[bool] = []
    path, module = tmp_path / name, nn.Linear(3, 2)
    EXPORTS[name](module, torch.zeros(2, 3), path, about={"a": [1]}, check=lambda program: there.append(path.exists()))
    assert there == [False]
    assert [file.name for file in tmp_path.iterdir()] == [name]
    found = open_program(path)
    assert found.about == {"a": [1]}
    for rows in (1, 7):
        torch.testing.assert_close(found(torch.ones(rows, 3)), module(torch.ones(rows, 3)).detach())


@pytest.mark.parametrize("name", EXPORTS)
def test_one_that_fails_its_check_leaves_what_was_there(name: str, tmp_path: Path, refused: Refused) -> None:
    pytest.importorskip("onnxruntime")
    (tmp_path / name).write_bytes(b"before")
    with refused("not the head's logits"):
        EXPORTS[name](nn.Linear(3, 2), torch.zeros(2, 3), tmp_path / name, check=disagree)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == {name: b"before"}


def test_two_files_of_a_large_model_appear_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime")
    monkeypatch.setattr(onnx_file, "LARGEST", 0)
    module = nn.Linear(400, 2)
    export_onnx(module, torch.zeros(2, 400), tmp_path / "x.onnx", check=lambda program: None)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["x.onnx", "x.onnx.data"]
    inputs = torch.ones(7, 400)
    torch.testing.assert_close(open_program(tmp_path / "x.onnx")(inputs), module(inputs).detach(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", EXPORTS)
def test_places_where_no_file_can_be_are_refused_first(name: str, tmp_path: Path, refused: Refused) -> None:
    def untouched(*_: object) -> None:
        raise AssertionError("nothing is computed")

    export, module = EXPORTS[name], nn.Linear(3, 2)
    module.register_forward_pre_hook(untouched)
    with refused("ends in"):
        export(module, torch.zeros(2, 3), tmp_path / "x.pt")
    with refused("existing folder"):
        export(module, torch.zeros(2, 3), tmp_path / "no" / name)
    (tmp_path / name).mkdir()
    with refused("existing folder"):
        export(module, torch.zeros(2, 3), tmp_path / name)


def test_the_ending_says_what_a_program_is(tmp_path: Path, refused: Refused) -> None:
    with refused("'x.pt'", ".pt2 or .onnx"):
        open_program(Path("x.pt"))
    with pytest.raises(FileNotFoundError):
        open_program(tmp_path / "x.pt2")
