"""The file of an unfinished training: whole, plain, and of one training only."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from featurecache.training.state import read_state, write_state

RUN: dict[str, Any] = {"lr": 0.1, "classes": ["a", "b"], "parts": None}
VALUES: dict[str, Any] = {"history": [{"epoch": 0, "score": None}], "model": {"w": torch.arange(6.0)}, "best": None}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "joint.pt.training"
    write_state(file, RUN, VALUES)
    return file


def test_it_comes_back(path: Path) -> None:
    found = read_state(path, RUN)
    assert found["history"] == VALUES["history"]
    assert torch.equal(found["model"]["w"], VALUES["model"]["w"])
    assert found.keys() == VALUES.keys() == read_state(path).keys()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"lr": 0.2}, "'lr' was 0.1, now it is 0.2"),
        ({"classes": ["a"]}, "'classes' was ['a', 'b'], now it is ['a']"),
        ({"mixup": 0.2}, "'mixup' was None, now it is 0.2"),
    ],
)
def test_another_training_is_refused(change: dict[str, Any], says: str, path: Path, refused: Any) -> None:
    with refused("joint.pt.training' is of another training", says, "remove the file to begin anew"):
        read_state(path, {**RUN, **change})


def test_a_long_difference_is_cut(path: Path, refused: Any) -> None:
    with refused("'classes'"):
        read_state(path, {**RUN, "classes": [f"class {k}" for k in range(9999)]})


@pytest.mark.parametrize("size", [0, 1, 100, 0.5, 0.99])
def test_a_damaged_file_is_refused(size: float, path: Path, refused: Any) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(size * len(data)) if size < 1 else int(size)])
    with refused("is no state of a training, or a damaged one", "remove it to begin anew"):
        read_state(path, RUN)


class Evil:
    """Runs code where it is unpickled."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return Path.touch, (Path("marker"),)  # type: ignore[return-value]


@pytest.mark.parametrize("how", ["torch", "pickle"])
def test_nothing_in_it_is_run(how: str, path: Path, refused: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(path.parent)
    with path.open("wb") as file:
        (torch.save if how == "torch" else pickle.dump)({"format": 1, "run": "{}", "model": Evil()}, file)
    with refused("is no state of a training"):
        read_state(path)
    assert not Path("marker").exists()


@pytest.mark.parametrize(
    "content",
    [[1], {}, {"format": 2, "run": "{}"}, {"format": 1, "run": "[]"}, {"format": 1, "run": "{}", "w": torch.zeros(1)}],
)
def test_other_contents(content: Any, path: Path, refused: Any) -> None:
    torch.save(content, path)
    if isinstance(content, dict) and "w" in content:
        assert read_state(path).keys() == {"w"}
        return
    with refused("is no state of a training"):
        read_state(path)


def test_a_tensor_larger_than_its_bytes_is_refused(path: Path, refused: Any) -> None:
    sparse = torch.zeros(3).to_sparse()
    torch.save({"format": 1, "run": "{}", "w": [{"x": sparse}]}, path)
    with refused("unknown format"):
        read_state(path)


def test_it_is_written_whole_or_not_at_all(path: Path, refused: Any) -> None:
    before = path.read_bytes()
    with pytest.raises(AttributeError):
        write_state(path, RUN, {"model": lambda: None})
    with refused("is not plain JSON"):
        write_state(path, {"lr": float("nan")}, VALUES)
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == [path.name]
