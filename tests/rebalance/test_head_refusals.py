"""Files that are not heads are refused with one line that names the file."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from rebalance import LinearHead, NormalizedHead, load_head


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
]


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


@pytest.mark.parametrize("kind", [LinearHead, NormalizedHead])
def test_every_cut_of_a_file_is_refused(kind: type[LinearHead], tmp_path: Path) -> None:
    path = tmp_path / "head.safetensors"
    kind(torch.ones(2, 3), record={"method": "x"}).save(path)
    whole = path.read_bytes()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(ValueError, match=r"head\.safetensors: not a readable safetensors file"):
            load_head(path)


@pytest.mark.parametrize("key", ["type", "format"])
def test_no_record_can_change_what_the_file_is(key: str, tmp_path: Path) -> None:
    path = tmp_path / "head.safetensors"
    LinearHead(torch.ones(2, 3), record={key: "normalized", "method": "x"}).save(path)
    loaded = load_head(path)
    assert type(loaded) is LinearHead
    assert loaded.record["method"] == "x"
