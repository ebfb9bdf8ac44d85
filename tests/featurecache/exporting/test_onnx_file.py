"""ONNX files: ONNX Runtime gives the logits, for any number of rows; one file unless that would be too large."""

from __future__ import annotations

import builtins
import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from featurecache.exporting import onnx_file
from featurecache.exporting.agreement import agreement
from featurecache.exporting.onnx_file import need_onnx, open_onnx, write_onnx
from featurecache.exporting.tracing import traced

Refused = Callable[..., AbstractContextManager[None]]
ABOUT = {"class_names": ["cät", "dog"], "record": {"method": "crt", "tau": 0.5}}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, nn.Module, int]:
    """A file, the module in it, and its opset."""
    pytest.importorskip("onnxruntime")
    torch.manual_seed(0)
    path, module = (
        tmp_path_factory.mktemp("onnx") / "x.onnx",
        nn.Sequential(nn.Linear(40, 30), nn.ReLU(), nn.Linear(30, 2)),
    )
    opset = write_onnx(traced(module, torch.zeros(2, 40)), path, ABOUT, name="features")
    return path, module.eval(), opset


@pytest.mark.parametrize("rows", [1, 2, 7, 300])
def test_it_gives_the_logits_of_the_module(rows: int, written: tuple[Path, nn.Module, int]) -> None:
    program, inputs = open_onnx(written[0]), torch.randn(rows, 40)
    assert program.row == (40,)
    with torch.no_grad():
        assert agreement(written[1](inputs), program(inputs)).holds


def test_what_is_known_of_it_is_in_the_file(written: tuple[Path, nn.Module, int]) -> None:
    import onnx

    path, _, opset = written
    assert open_onnx(path).about == ABOUT
    model = onnx.load(path)
    onnx.checker.check_model(model)
    assert [each.version for each in model.opset_import if not each.domain] == [opset]
    assert [each.name for each in (*model.graph.input, *model.graph.output)] == ["features", "logits"]
    for each in (*model.graph.input, *model.graph.output):
        assert each.type.tensor_type.shape.dim[0].dim_param == "batch"
    assert [file.name for file in path.parent.iterdir()] == ["x.onnx"]
    for text in (b"site-packages", b"featurecache", b".py\x00", str(path.parent).encode()):
        assert text not in path.read_bytes()


def test_larger_weights_lie_beside_it(
    written: tuple[Path, nn.Module, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_file, "LARGEST", 1000)
    path, module = tmp_path / "y.onnx", written[1]
    write_onnx(traced(module, torch.zeros(2, 40)), path, {}, name="features")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["y.onnx", "y.onnx.data"]
    assert path.with_name("y.onnx.data").stat().st_size >= 4 * 40 * 30
    inputs = torch.randn(7, 40)
    with torch.no_grad():
        assert agreement(module(inputs), open_onnx(path)(inputs)).holds


def test_another_programs_metadata_stays_text(written: tuple[Path, nn.Module, int], tmp_path: Path) -> None:
    import onnx

    model = onnx.load(written[0])
    model.metadata_props.add(key="author", value="somebody")
    onnx.save(model, tmp_path / "z.onnx")
    assert open_onnx(tmp_path / "z.onnx").about == {**ABOUT, "author": "somebody"}


@pytest.mark.parametrize("content", [b"", b"x" * 100])
def test_what_is_no_onnx_is_refused(
    content: bytes, written: tuple[Path, nn.Module, int], tmp_path: Path, refused: Refused
) -> None:
    (tmp_path / "x.onnx").write_bytes(content)
    with refused("x.onnx", "cannot be read"):
        open_onnx(tmp_path / "x.onnx")


def test_an_operation_without_a_counterpart_is_refused(
    written: tuple[Path, nn.Module, int], tmp_path: Path, refused: Refused
) -> None:
    class Odd(nn.Linear):
        def forward(self, input: torch.Tensor) -> torch.Tensor:
            return torch.special.bessel_j0(super().forward(input))

    levels = logging.getLogger("torch.onnx").level
    with refused("cannot be written as ONNX"):
        write_onnx(traced(Odd(3, 2), torch.zeros(2, 3)), tmp_path / "x.onnx", {}, name="features")
    assert logging.getLogger("torch.onnx").level == levels


def test_where_a_package_is_missing_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name == "onnxscript":
            raise ModuleNotFoundError("No module named 'onnxscript'")
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"pip install 'featurecache-rebalance\[onnx\]'"):
        need_onnx()
