"""The rows of a cache with their logits: whichever head, program, or number of files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from featurecache import FeatureCache, write
from featurecache.export import export_program
from rebalance import LinearHead, NormalizedHead
from rebalance_cli.options import Common
from rebalance_cli.predicting.cached import is_cache, of_cache

CPU = Common(False, 0, "cpu")
ROWS = 11


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two splits of features (N, 3), each in several files; two classes."""
    monkeypatch.setattr("featurecache.plan.SHARD_BYTES", 1)
    monkeypatch.setattr("featurecache.writing.table.BLOCK_ROWS", 3)
    random = np.random.default_rng(0)
    path = tmp_path / "x.cache"
    head = (torch.tensor([[1.0, -1.0, 0.5], [0.0, 1.0, 1.0]]), torch.tensor([0.1, -0.1]))
    for name, rows in (("train", 4), ("new", ROWS)):
        labels = np.full(rows, -1) if name == "new" else np.array([0, 1, 0, -1])
        features = random.normal(size=(rows, 3)).astype(np.float32)
        write(path, name, features, labels, head=head, sample_ids=[f"{name}-ä{i}" for i in range(rows)])
    return path


def test_what_is_a_cache(cache: Path, tmp_path: Path) -> None:
    assert is_cache(str(cache))
    assert is_cache(str(tmp_path / "no.cache"))  # what is wrong with it is told by who opens it
    assert not is_cache(str(tmp_path))
    assert not is_cache("cifar10:folder")


@pytest.mark.parametrize("kind", [LinearHead, NormalizedHead, None])
def test_rows_and_logits(kind: Any, cache: Path, tmp_path: Path) -> None:
    name = "joint" if kind is None else str(tmp_path / "h.safetensors")
    head = LinearHead(*FeatureCache(cache).head) if kind is None else kind(torch.randn(2, 3))
    if kind is not None:
        head.save(name)
    subject = of_cache(cache, name, [], CPU)
    parts = list(subject.parts)
    assert (subject.rows, subject.num_classes, subject.split_names) == (4 + ROWS, 2, ("train", "new"))
    assert subject.labelled
    assert subject.counts is not None
    assert subject.counts.tolist() == [2, 1]
    for split in ("train", "new"):
        mine, stored = [part for part in parts if part.split == split], FeatureCache(cache)[split]
        assert [each for part in mine for each in part.ids] == stored.sample_id.tolist()
        assert np.concatenate([part.labels for part in mine]).tolist() == stored.labels.tolist()
        assert torch.equal(torch.cat([part.logits for part in mine]), head(stored.features))
        assert all(part.readable.all() for part in mine)


def test_some_splits(cache: Path) -> None:
    subject = of_cache(cache, "joint", ["new", "new"], CPU)
    assert (subject.split_names, subject.rows, subject.labelled) == (("new",), ROWS, False)


def test_a_program_of_a_head(cache: Path, tmp_path: Path) -> None:
    head = NormalizedHead(torch.randn(2, 3), center=torch.ones(3))
    path = tmp_path / "h.pt2"
    export_program(
        head.to_module(), torch.randn(2, 3), path, about={"record": {"method": "ncm"}, "class_names": ["a", "b"]}
    )
    subject = of_cache(cache, str(path), ["new"], CPU)
    made = torch.cat([part.logits for part in subject.parts])
    torch.testing.assert_close(made, head(FeatureCache(cache)["new"].features))
    assert (subject.record, subject.class_names) == ({"method": "ncm"}, ("a", "b"))


@pytest.mark.parametrize(("shape", "says"), [((2, 5), "features of 3 numbers"), ((4, 3), "a program of 4 classes")])
def test_a_program_for_something_else(shape: tuple[int, int], says: str, cache: Path, tmp_path: Path) -> None:
    path = tmp_path / "h.pt2"
    export_program(torch.nn.Linear(shape[1], shape[0]), torch.randn(2, shape[1]), path)
    with pytest.raises(ValueError, match=says):
        of_cache(cache, str(path), [], CPU)


def test_no_joint_head(tmp_path: Path) -> None:
    write(tmp_path / "x.cache", "new", np.eye(3, dtype=np.float32), np.arange(3))
    with pytest.raises(ValueError, match=r"has no joint head; name one, such as ncm\.safetensors"):
        of_cache(tmp_path / "x.cache", "joint", [], CPU)


def test_weights_of_a_model(cache: Path, tmp_path: Path) -> None:
    torch.save({"fc.weight": torch.zeros(2, 3)}, tmp_path / "m.pt")
    with pytest.raises(ValueError, match=r"m\.pt: not a head, .* a model takes images"):
        of_cache(cache, str(tmp_path / "m.pt"), [], CPU)
