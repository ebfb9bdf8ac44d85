"""Arrays that do not fit are refused in one line, and leave no file of rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from featurecache import FeatureCache, write

N, D, K = 6, 3, 4
FEATURES = np.arange(N * D, dtype=np.float32).reshape(N, D)
LABELS = np.array([0, 1, 2, 3, -1, 0])
HEAD = (torch.arange(12.0).reshape(K, D), torch.arange(4.0))


def wrong(**entries: Any) -> dict[str, Any]:
    """Arguments of write, with these changed."""
    return {"split": "train", "features": FEATURES, "labels": LABELS, **entries}


NAN, LARGE = FEATURES.copy(), FEATURES.copy()
NAN[3, 1], LARGE[4, 0] = np.nan, 1e5
NAN_LOGITS = np.zeros((N, K))
NAN_LOGITS[5, 0] = np.inf
WRONG = {
    "nan": (wrong(features=NAN, sample_ids=list("abcdef")), ["'d'", "nan"]),
    "nan, no ids": (wrong(features=NAN), ["'3'"]),
    "nan in logits": (wrong(logits=NAN_LOGITS, sample_ids=list("abcdef")), ["logits", "'f'", "inf"]),
    "overflow": (wrong(features=LARGE, sample_ids=list("abcdef")), ["'e'", "100000", "--dtype float32"]),
    "split outside": (wrong(split="../x"), ["'../x'"]),
    "split without a name": (wrong(split=""), ["split name"]),
    "split as a file of the cache": (wrong(split="cache.json"), ["cache.json"]),
    "split as the head": (wrong(split="head.safetensors"), ["head.safetensors"]),
    "dtype": (wrong(dtype="float64"), ["float64", "float16"]),
    "no rows": (wrong(features=FEATURES[:0], labels=LABELS[:0]), ["rows"]),
    "no columns": (wrong(features=FEATURES[:, :0]), ["(6, 0)"]),
    "too wide": (wrong(features=np.zeros((1, 2**20 + 1), np.float16), labels=[0]), [str(2**20 + 1)]),
    "flat features": (wrong(features=FEATURES.ravel()), ["(18,)", "(N, D)"]),
    "maps": (wrong(features=FEATURES[..., None]), ["(6, 3, 1)", "(N, D)"]),
    "integer features": (wrong(features=FEATURES.astype(int)), ["int64"]),
    "complex features": (wrong(features=FEATURES.astype(complex)), ["complex128"]),
    "fewer labels": (wrong(labels=LABELS[:5]), ["5 labels", "6 rows"]),
    "float labels": (wrong(labels=LABELS.astype(float)), ["float64"]),
    "one-hot labels": (wrong(labels=np.eye(N, dtype=int)), ["(6, 6)"]),
    "negative label": (wrong(labels=LABELS - 1), ["-2"]),
    "wrapping label": (wrong(labels=np.array([2**64 - 1] * N, np.uint64)), ["label"]),
    "huge label": (wrong(labels=LABELS + 10**9), ["label"]),
    "label beyond the head": (wrong(labels=LABELS + 1, head=HEAD), ["label 4", "0..3"]),
    "label beyond the logits": (wrong(logits=FEATURES), ["label 3", "0..2"]),
    "label beyond the names": (wrong(class_names=["a", "b"]), ["label 3", "0..1"]),
    "no names": (wrong(labels=[-1] * N, class_names=[]), ["class"]),
    "logits of no class": (wrong(labels=[-1] * N, logits=np.zeros((N, 0))), ["(6, 0)"]),
    "fewer logits": (wrong(logits=np.zeros((5, K))), ["(5, 4)", "(6, K)"]),
    "flat logits": (wrong(logits=np.zeros(N)), ["(6,)"]),
    "logits of text": (wrong(logits=np.full((N, K), "1")), ["logits"]),
    "complex logits": (wrong(logits=np.full((N, K), 1j)), ["logits"]),
    "head of another width": (wrong(head=nn.Linear(5, K)), ["(4, 5)", "(K, 3)"]),
    "head of one vector": (wrong(head=(torch.zeros(D), torch.zeros(1))), ["(3,)"]),
    "head with another bias": (wrong(head=(HEAD[0], torch.zeros(3))), ["(3,)"]),
    "head of no class": (wrong(labels=[-1] * N, head=(torch.zeros(0, D), torch.zeros(0))), ["(0, 3)"]),
    "head with nan": (wrong(head=(HEAD[0] * torch.nan, HEAD[1])), ["head"]),
    "head and names": (wrong(head=HEAD, class_names=list("abcde")), ["4", "5"]),
    "head and logits": (wrong(head=HEAD, logits=np.zeros((N, 5))), ["4", "5"]),
    "fewer ids": (wrong(sample_ids=list("abcde")), ["5 sample ids", "6 rows"]),
    "an id too long": (wrong(sample_ids=["x" * 5000, *"bcdef"]), ["sample id", "4096"]),
    "an id with a zero byte": (wrong(sample_ids=["\0", *"bcdef"]), ["sample id"]),
    "a name that is no unicode": (wrong(class_names=["a\udcff", *"bcd"]), ["class name"]),
}


@pytest.mark.parametrize(("arguments", "parts"), WRONG.values(), ids=WRONG.keys())
def test_what_does_not_fit_is_refused(
    arguments: dict[str, Any], parts: list[str], tmp_path: Path, refused: Any, tree: Any
) -> None:
    with refused(*parts):
        write(tmp_path / "new", **arguments)
    assert [name for name in tree(tmp_path) if name not in ("new/", "new/head.safetensors")] == []


def test_a_split_that_is_there_is_refused(tmp_path: Path, refused: Any, tree: Any) -> None:
    write(tmp_path, "train", FEATURES, LABELS, head=HEAD)
    before = tree(tmp_path)
    with refused("'train'", "already there", str(tmp_path)):
        write(tmp_path, "train", FEATURES, LABELS, head=HEAD)
    assert tree(tmp_path) == before


@pytest.mark.parametrize(
    ("entries", "part"),
    [
        ({"head": (HEAD[0] + 1, HEAD[1])}, "head"),
        ({"head": None}, "head"),
        ({"head": nn.Linear(D, 7)}, "head"),
        ({"features": np.zeros((N, 5)), "head": nn.Linear(5, K)}, "features width"),
        ({"dtype": "float32"}, "features dtype"),
        ({"logits": np.zeros((N, K))}, "logits"),
        ({"class_names": list("wxyz")}, "class names"),
    ],
)
def test_a_split_that_does_not_belong_to_the_others_is_refused(
    entries: dict[str, Any], part: str, tmp_path: Path, refused: Any, tree: Any
) -> None:
    write(tmp_path, "train", FEATURES, LABELS, head=HEAD, class_names=list("abcd"))
    before = tree(tmp_path)
    with refused(part, str(tmp_path)):
        write(tmp_path, **{"split": "val", "features": FEATURES, "labels": LABELS, "head": HEAD, **entries})
    assert tree(tmp_path) == before


def test_a_refusal_in_a_later_shard_leaves_no_shard(
    tmp_path: Path, refused: Any, tree: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("featurecache.plan.SHARD_BYTES", 1)
    monkeypatch.setattr("featurecache.writing.table.BLOCK_ROWS", 2)
    with refused("'3'", "nan"):
        write(tmp_path / "c", "train", NAN, LABELS)
    assert set(tree(tmp_path)) <= {"c/"}
    write(tmp_path / "c", "train", FEATURES[:2], LABELS[:2])
    write(tmp_path / "fresh", "train", FEATURES[:2], LABELS[:2])
    assert tree(tmp_path / "c") == tree(tmp_path / "fresh")


def test_a_refused_write_does_not_decide_the_head(tmp_path: Path, refused: Any) -> None:
    with refused("nan"):
        write(tmp_path, "train", NAN, LABELS, head=HEAD)
    other = nn.Linear(D, K)
    write(tmp_path, "train", FEATURES, LABELS, head=other)
    assert torch.equal(FeatureCache(tmp_path).head[0], other.weight)


def test_a_file_in_the_place_of_the_folder(tmp_path: Path, refused: Any) -> None:
    (tmp_path / "file").touch()
    with refused(str(tmp_path / "file"), error=OSError):
        write(tmp_path / "file", "train", FEATURES, LABELS)
