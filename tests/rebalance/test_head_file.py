"""A head survives its file, anybody can read it, and what is no head is refused with one line that names the file."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from rebalance import GatedHead, LinearHead, NormalizedHead, load_head
from rebalance.head_file import check_target, is_own

RECORD = {"method": "tau_norm", "hyperparameters": {"tau": 0.5, "bias": "drop"}, "interval": [None, 1.5], "n": 3}
KINDS = {"linear": LinearHead, "normalized": NormalizedHead, "gated": GatedHead}
every_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)


def random_head(kind: type[LinearHead] = LinearHead, seed: int = 0) -> LinearHead:
    generator = torch.Generator().manual_seed(seed)
    shapes = {name: tensor.shape for name, tensor in kind(torch.zeros(5, 8)).tensors().items()}
    return kind(**{name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}, record=RECORD)


def write_text(path: Path) -> None:
    path.write_text("weight: 1 2 3\n")


def write_nothing(path: Path) -> None:
    path.write_bytes(b"")


def write_truncated(path: Path) -> None:
    LinearHead(torch.ones(5, 8)).save(path)
    path.write_bytes(path.read_bytes()[:-9])


def write_header_beyond_the_file(path: Path) -> None:
    path.write_bytes(struct.pack("<Q", 2**40) + b"{}")


def write_extra_tensor(path: Path) -> None:
    save_file({"weight": torch.ones(2, 3), "bias": torch.ones(2), "scales": torch.ones(2)}, path)


def write_missing_weight(path: Path) -> None:
    save_file({"bias": torch.ones(2)}, path)


def write_no_tensor(path: Path) -> None:
    header = json.dumps({}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header)


def write_nasty_names(path: Path) -> None:
    save_file({"a\n\x1b[31mred": torch.ones(1), "b" * 5000: torch.ones(1)}, path)


def write_nan(path: Path) -> None:
    save_file({"weight": torch.full((2, 3), torch.nan)}, path)


def write_one_dimension(path: Path) -> None:
    save_file({"weight": torch.ones(3)}, path)


def write_wrong_bias(path: Path) -> None:
    save_file({"weight": torch.ones(2, 3), "bias": torch.ones(3)}, path)


def write_complex(path: Path) -> None:
    save_file({"weight": torch.ones(2, 3, dtype=torch.complex64)}, path)


def write_unknown_type(path: Path) -> None:
    save_file({"weight": torch.ones(2, 3), "bias": torch.ones(2)}, path, metadata={"type": "quadratic\n\x1b[31m"})


def write_wrong_centre(path: Path) -> None:
    tensors = {"weight": torch.ones(2, 3), "bias": torch.ones(2), "center": torch.ones(2)}
    save_file(tensors, path, metadata={"type": "normalized"})


def write_wrong_gate(path: Path) -> None:
    save_file({"weight": torch.ones(2, 3), "gate": torch.ones(2)}, path, metadata={"type": "gated"})


def write_gate_in_a_linear_head(path: Path) -> None:
    save_file({"weight": torch.ones(2, 3), "gate": torch.ones(3)}, path)


HOSTILE = [
    (write_text, "safetensors"),
    (write_nothing, "safetensors"),
    (write_truncated, "safetensors"),
    (write_header_beyond_the_file, "safetensors"),
    (write_extra_tensor, "scales"),
    (write_missing_weight, "bias"),
    (write_no_tensor, "nothing"),
    (write_nasty_names, "red"),
    (write_nan, "NaN"),
    (write_one_dimension, r"\(3,\)"),
    (write_wrong_bias, r"\(3,\)"),
    (write_complex, "complex"),
    (write_unknown_type, "quadratic"),
    (write_wrong_centre, r"\(2,\)"),
    (write_wrong_gate, r"gate.*\(2,\)"),
    (write_gate_in_a_linear_head, "gate"),
]


@every_kind
def test_file_round_trip(kind: type[LinearHead], tmp_path: Path) -> None:
    head = random_head(kind)
    head.save(tmp_path / "head.safetensors")
    loaded = load_head(tmp_path / "head.safetensors")
    assert type(loaded) is kind
    assert loaded.record == RECORD
    assert loaded.tensors().keys() == head.tensors().keys()
    assert all(torch.equal(loaded.tensors()[name], tensor) for name, tensor in head.tensors().items())
    assert [path.name for path in tmp_path.iterdir()] == ["head.safetensors"]


@every_kind
def test_file_is_the_state_dict_of_the_module(kind: type[LinearHead], tmp_path: Path, problem: Any) -> None:
    head = random_head(kind)
    head.save(tmp_path / "head.safetensors")
    module = random_head(kind, seed=1).to_module()
    module.load_state_dict(load_file(tmp_path / "head.safetensors"))
    with torch.no_grad():
        torch.testing.assert_close(module(problem.features), head(problem.features))


def test_file_needs_only_torch_and_safetensors(tmp_path: Path) -> None:
    head = random_head()
    head.save(tmp_path / "head.safetensors")
    linear = nn.Linear(8, 5)
    linear.load_state_dict(load_file(tmp_path / "head.safetensors"))
    assert torch.equal(linear.weight, head.weight)
    with safe_open(tmp_path / "head.safetensors", framework="pt") as file:
        assert json.loads(file.metadata()["hyperparameters"]) == RECORD["hyperparameters"]


def test_a_linear_layer_saved_elsewhere_is_a_head(tmp_path: Path) -> None:
    linear = nn.Linear(8, 5)
    save_file(linear.state_dict(), tmp_path / "layer.safetensors", metadata={"format": "pt", "author": "somebody"})
    head = load_head(tmp_path / "layer.safetensors")
    assert torch.equal(head.weight, linear.weight)
    assert head.record == {"author": "somebody"}


def test_saving_replaces_a_file_and_leaves_it_when_it_fails(tmp_path: Path) -> None:
    path = tmp_path / "head.safetensors"
    random_head().save(path)
    random_head(seed=1).save(path)
    before = path.read_bytes()
    with pytest.raises(TypeError):
        random_head().with_record(value=object()).save(path)
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize(("write", "part"), HOSTILE, ids=[write.__name__[6:] for write, _ in HOSTILE])
def test_not_a_head(write: Callable[[Path], None], part: str, tmp_path: Path, refuses: Any) -> None:
    path = tmp_path / "head.safetensors"
    write(path)
    with refuses(rf"head\.safetensors.*{part}"):  # behind the path: its folder is named after the test
        load_head(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere.safetensors: no such head"):
        load_head(tmp_path / "nowhere.safetensors")


def test_a_file_name_cannot_break_the_line(tmp_path: Path, refuses: Any) -> None:
    path = tmp_path / "a\n\x1b[31mb.safetensors"
    write_text(path)
    with refuses("safetensors"):
        load_head(path)


@every_kind
def test_every_cut_of_a_file_is_refused(kind: type[LinearHead], tmp_path: Path) -> None:
    path = tmp_path / "head.safetensors"
    kind(torch.ones(2, 3), record={"method": "x"}).save(path)
    whole = path.read_bytes()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(ValueError, match=r"head\.safetensors: not a readable safetensors file"):
            load_head(path)


def test_metadata_nested_too_deeply_is_kept_as_text(tmp_path: Path) -> None:
    path = tmp_path / "head.safetensors"
    save_file({"weight": torch.eye(3), "bias": torch.zeros(3)}, path, metadata={"x": "[" * 10**5})
    assert load_head(path).record == {"x": "[" * 10**5}


@pytest.mark.parametrize("key", ["type", "format"])
def test_no_record_can_change_what_the_file_is(key: str, tmp_path: Path) -> None:
    path = tmp_path / "head.safetensors"
    LinearHead(torch.ones(2, 3), record={key: "normalized", "method": "x"}).save(path)
    loaded = load_head(path)
    assert type(loaded) is LinearHead
    assert loaded.record["method"] == "x"


def test_a_target_is_a_head_or_a_new_name(tmp_path: Path) -> None:
    head = random_head()
    for name in ("new.safetensors", "NEW.SAFETENSORS"):
        check_target(tmp_path / name)
    head.save(tmp_path / "old.safetensors")
    check_target(tmp_path / "old.safetensors")
    save_file(nn.Linear(4, 3).state_dict(), tmp_path / "plain.safetensors")
    check_target(tmp_path / "plain.safetensors")


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("head.pt", "expected a name that ends so"),
        ("head", "expected a name that ends so"),
        ("nowhere/head.safetensors", "in a folder that is there"),
        ("folder.safetensors", "expected a file's name"),
        ("text.safetensors", "is there already and is no head"),
        ("gone.safetensors", "is there already and is no head"),
    ],
)
def test_a_target_that_is_no_head(name: str, part: str, tmp_path: Path, refuses: Any) -> None:
    (tmp_path / "folder.safetensors").mkdir()
    (tmp_path / "text.safetensors").write_text("text")
    (tmp_path / "gone.safetensors").symlink_to(tmp_path / "nothing")
    with refuses(part):
        check_target(tmp_path / name)


def test_a_head_of_ours_says_so(tmp_path: Path) -> None:
    random_head(GatedHead).save(tmp_path / "own.safetensors")
    save_file(nn.Linear(4, 3).state_dict(), tmp_path / "plain.safetensors")
    write_text(tmp_path / "text.safetensors")
    names = ("own", "plain", "text", "missing")
    assert [is_own(tmp_path / f"{name}.safetensors") for name in names] == [True, False, False, False]
    assert not is_own(tmp_path)


def test_a_damaged_head_is_refused(tmp_path: Path, refuses: Any) -> None:
    path = tmp_path / "head.safetensors"
    LinearHead(torch.ones(3, 4), torch.zeros(3)).save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-3] + bytes([whole[-3] ^ 1]) + whole[-2:])
    with refuses("not those that were saved", "fit it again"):
        load_head(path)
    path.write_bytes(whole)
    assert load_head(path).weight.sum() == 12


def test_a_record_nested_deeply_stays_text(tmp_path: Path) -> None:
    path = tmp_path / "head.safetensors"
    deep = "[" * 900 + "]" * 900
    save_file({"weight": torch.eye(3), "bias": torch.zeros(3)}, path, metadata={"x": deep, "y": "[[1]]"})
    assert load_head(path).record == {"x": deep, "y": [[1]]}
